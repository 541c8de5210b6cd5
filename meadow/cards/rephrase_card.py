"""The card's section on rewritten rows: which model, which prompt, how many, how good."""

from __future__ import annotations

from typing import Any

from meadow.corpus.manifest import Manifest
from meadow.text.markdown import plain_cell


def rephrase_section(manifest: Manifest) -> str:
    """Markdown, or "" where no row was rewritten."""
    jobs: dict[str, dict[str, Any]] = manifest.details.get("rephrase", {})
    if not jobs:
        return ""
    lines = [
        "## Rewritten by a language model",
        "",
        "Every rewritten row names the model in `rephrased_by`, and the prompt, its hash and the "
        "hash of the request in `meta`. The untouched originals are in the config `raw_pairs`, "
        "under the same ids. A rewrite that lost a number, unit, drug-like word or negation, or "
        "failed another check, was not used: the row kept its text (a section stayed out).",
        "",
        "| source | model | prompt | offered | rewritten | kept | error rate by review |",
        "|---|---|---|---|---|---|---|",
    ]
    for source, job in sorted(jobs.items()):
        kept = {
            name.removeprefix("kept_"): count
            for name, count in job.items()
            if name.startswith("kept_")
        }
        reasons = ", ".join(f"{name} {count:,}" for name, count in sorted(kept.items())) or "none"
        cells = (
            plain_cell(source),
            plain_cell(job["model"]),
            f"{plain_cell(job['prompt'])} ({_digest(job['prompt_sha256'])})",
            f"{job['items']:,}",
            f"{job['rewritten']:,}",
            plain_cell(reasons),
            _review(job.get("review")),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _review(review: dict[str, Any] | None) -> str:
    if review is None:
        return "not reviewed"
    low, high = review["interval_95"]
    return (
        f"{review['error_rate']:.1%} ({review['bad']:,} of {review['marked']:,} marked bad; "
        f"95 % interval {low:.1%} to {high:.1%})"
    )


def _digest(sha256: str) -> str:
    digits = sha256[:12]
    return f"`{digits}`" if digits.isalnum() else plain_cell(digits)
