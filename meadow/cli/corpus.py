"""What is asked of a finished folder: `show`, `check`, `diff`, `card`, `report` and `browse`."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meadow.cli.app import PATH, Finish, dry_run_option, json_option, list_option, log, telling
from meadow.errors import ExitCode, UsageError
from meadow.schema import messages_of, split_turns

if TYPE_CHECKING:
    from meadow.corpus.folder import Corpus
    from meadow.quality.check import Finding
    from meadow.quality.diff import Difference


@click.command()
@click.argument("folder", metavar="DIR|REPO@REV")
@click.option("--source", help="Only rows of this source.")
@click.option(
    "-n", "count", type=click.IntRange(min=1), default=5, show_default=True, help="So many rows."
)
@click.option("--id", "record_id", help="The row with this id (its beginning will do).")
@click.option("--seed", type=int, default=0, show_default=True, help="Another draw of rows.")
@click.option(
    "--removed", is_flag=True, help="What was removed as a greeting or farewell, counted."
)
@click.option(
    "--why", is_flag=True, help="With --id: where the row comes from, and what became of it."
)
@list_option("--mix", "mixes", metavar="DIR", help="With --why: mixes to look into, too.")
@json_option
def show(
    folder: str, source: str | None, record_id: str | None, as_json: bool, **given: Any
) -> None:
    """Show rows of a corpus.

    The rows are drawn by a hash of seed and id, so that the same command shows the same rows.
    """
    from meadow.api import open_corpus

    finish = Finish(as_json=as_json)
    corpus = open_corpus(folder)
    if given["removed"]:
        found = _removed(corpus, source)
        lines = (f"{n['times']:>7,}  {n['form']:<13}  {_visible(n['text'])}" for n in found)
        finish({"removed": found}, page="\n".join(lines))
    elif given["why"]:
        if record_id is None:
            raise UsageError("--why needs a row", fix="--id with the beginning of its id")
        known = corpus.why(record_id, mixes=[open_corpus(place) for place in given["mixes"]])
        finish(known.to_json(), page=_visible(str(known)))
    elif record_id is not None:
        row = corpus.find(record_id)
        if row is None:
            raise UsageError(
                f"no row whose id begins with {record_id!r}",
                where=folder,
                fix="`meadow show DIR` shows some ids",
            )
        finish({"rows": [row]}, page=_page(row))
    else:
        rows = corpus.sample(given["count"], seed=given["seed"], source=source).to_dicts()
        finish({"rows": rows}, page="\n".join(map(_page, rows)))


def _removed(corpus: Corpus, source: str | None) -> list[dict[str, Any]]:
    """Every courtesy that was removed from a row, with its form, the most frequent first."""
    found: Counter[tuple[str, str]] = Counter()
    for table in corpus.iter_tables(columns=["source", "meta"]):
        for name, meta in zip(table["source"].to_pylist(), table["meta"].to_pylist(), strict=True):
            if source in (None, name) and '"removed":' in meta:
                for form, texts in json.loads(meta).get("removed", {}).items():
                    found.update((form, text) for text in texts)
    return [
        {"form": form, "text": text, "times": times}
        for (form, text), times in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]


def _page(row: dict[str, Any]) -> str:
    """One row for reading: the texts, then where they come from."""
    lines = [click.style(f"── {row['source']} {row['id']}", bold=True)]
    texts = [(name, row[name]) for name in ("instruction", "input", "output")]
    if split_turns(row["input"] or "", row["meta"]):
        said = messages_of(row["instruction"], row["input"], row["output"], row["meta"])
        texts = [(turn["role"], turn["content"]) for turn in said]
    for name, text in texts:
        if text:
            lines.append(click.style(f"{name}:", fg="cyan"))
            lines.append(_visible(text))
    facts = [
        f"{name} {row[name]}" for name in ("task", "subset", "license", "source_id") if row[name]
    ]
    lines.append(click.style(" · ".join(map(_visible, facts)), dim=True))
    if row["url"]:
        lines.append(click.style(_visible(row["url"]), dim=True))
    for author in row["authors"] or ():
        name = f"{author['role']}: {author['name']} {author['url'] or ''}".rstrip()
        lines.append(click.style(_visible(name), dim=True))
    lines.append(click.style(f"meta {_visible(row['meta'])}", dim=True))
    return "\n".join(lines) + "\n"


def _visible(text: str) -> str:
    """Text without control characters: a row must not steer the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)


@click.command()
@click.argument("folder", metavar="DIR|REPO@REV")
@click.option(
    "--privacy",
    "sample",
    is_flag=False,
    flag_value=2000,
    type=click.IntRange(1),
    metavar="ROWS",
    help="Also look for personal data in a sample of rows (2,000) with presidio; extra pii.",
)
@click.option(
    "--against-raw",
    "raw",
    is_flag=False,
    flag_value="",
    metavar="RAW",
    help="Also compare every row of a build with its raw text, read a second time by other "
    "parsers; RAW is the folder of raw files (default: as for build).",
)
@json_option
@click.pass_context
def check(
    ctx: click.Context, /, folder: str, sample: int | None, raw: str | None, as_json: bool
) -> None:
    """Verify a corpus folder.

    Hashes, schema, counts, duplicates, empty fields, licences and the card are checked
    against the manifest; a finding ends with exit code 1. What --privacy sees is a rate with its
    interval and no finding: its patterns mistake numbers for personal data. --against-raw traces
    each row to its raw text: a word, number or symbol that is missing, added or changed, and not by
    a repair or a rule of the source, is a finding. A source that cannot be read a second time is
    named.
    """
    from meadow import api
    from meadow.quality.audit import require_presidio

    finish = Finish(as_json=as_json)
    if sample is not None:
        require_presidio()
    with telling(lambda: f"checking {folder}"):
        findings = api.check(folder)
    document: dict[str, Any] = {}
    if raw is not None:
        document["against_raw"] = _against_raw(folder, Path(raw) if raw else None, findings)
    corpus = api.open_corpus(folder)
    rows = corpus.rows()
    log_findings(findings, f"checked {rows:,} rows in {folder}")
    document |= {"rows": rows, "findings": [asdict(finding) for finding in findings]}
    if sample is not None:
        document["privacy"] = _privacy(corpus, sample)
    finish(document)
    if findings:
        ctx.exit(ExitCode.FAILED)


def log_findings(findings: Sequence[Finding], what: str) -> None:
    """Every finding, and what was done with how many of them."""
    for finding in findings:
        log(f"{finding.kind}: {finding.where}: {finding.detail}")
    log(f"{what}: {f'{len(findings)} findings' if findings else 'no finding'}")


def _against_raw(folder: str, raw: Path | None, findings: list[Finding]) -> dict[str, Any]:
    """Compare rows with their raw texts, say what was done of each source, add the findings."""
    from meadow.api import open_corpus
    from meadow.config import read_config
    from meadow.quality.against_raw import compare_with_raw

    told = {}
    for name, found in compare_with_raw(open_corpus(folder), read_config().raw_folder(raw)).items():
        findings += found.findings
        reasons = ", ".join(f"{key} {count:,}" for key, count in sorted(found.explained.items()))
        log(
            f"against raw: {name}: "
            + (f"not checked: {found.not_checked}; " if found.not_checked else "")
            + f"{found.compared:,} of {found.rows:,} rows compared, "
            + (f"{found.rewritten:,} not, since a model worked on them, " * bool(found.rewritten))
            + f"{len(found.findings):,} findings; explained: {reasons or 'nothing'}"
        )
        names = ("rows", "compared", "rewritten", "columns", "explained", "not_checked")
        told[name] = {each: getattr(found, each) for each in names}
        told[name]["findings"] = len(found.findings)
    return told


def _privacy(corpus: Corpus, sample: int) -> dict[str, Any]:
    """Audit a sample of rows, say what was found, and give it as JSON."""
    from meadow.quality.audit import audit, row_texts

    found = audit(row_texts(corpus), size=sample)
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in found.kinds.items()) or "nothing"
    log(
        f"privacy: {found.hits:,} of {found.rows:,} sampled rows ({found.rate:.2%}, 95 % interval "
        f"{found.low:.2%} to {found.high:.2%}) hold what presidio takes for personal data: {kinds}"
    )
    return {**asdict(found), "rate": found.rate}


@click.command()
@click.argument("old")
@click.argument("new")
@click.option(
    "--examples", type=click.IntRange(min=0), default=3, show_default=True, help="Rows per kind."
)
@click.option(
    "--freeze", is_flag=True, help="End with exit code 5 if a row was removed, changed or renamed."
)
@json_option
@click.pass_context
def diff(
    ctx: click.Context, /, old: str, new: str, examples: int, freeze: bool, as_json: bool
) -> None:
    """Compare two corpora row by row.

    OLD and NEW are folders, or OWNER/NAME@REVISION. Rows are added, removed, changed (same id,
    other content) or renamed (same texts, other id). A missing column ends with exit code 5.
    """
    from meadow import api

    finish = Finish(as_json=as_json)
    one, other = api.open_corpus(old), api.open_corpus(new)
    found = api.diff(one, other, examples=examples)
    finish(found.to_json(), page="\n".join(describe(found)))
    total = found.total
    if freeze and (broken := {k: total[k] for k in ("removed", "changed", "renamed") if total[k]}):
        counts = ", ".join(f"{rows:,} {kind}" for kind, rows in broken.items())
        log(f"frozen, and not the same: {counts}")
        ctx.exit(ExitCode.UPSTREAM_CHANGED)


def describe(found: Difference) -> list[str]:
    """The comparison as lines for a terminal."""
    from meadow.quality.diff import KINDS

    lines = [f"{'source':<28}" + "".join(f"{kind:>11}" for kind in KINDS)]
    for name, counts in [*found.sources.items(), ("all", found.total)]:
        lines.append(f"{name:<28}" + "".join(f"{counts[kind]:>11,}" for kind in KINDS))
    if found.columns:
        columns = ", ".join(f"{name} {rows:,}" for name, rows in found.columns.items())
        lines.append(f"changed columns: {columns}")
    for name, changes in found.inputs.items():
        lines += [f"raw file of {name}: {change}" for change in changes]
    for kind, rows in found.examples.items():
        for row in rows:
            lines.append(f"{kind} {row['source']} {row['id']}")
            lines += [
                f"  {name}: {_short(value['old'])} -> {_short(value['new'])}"
                for name, value in row.items()
                if isinstance(value, dict)
            ]
    return lines


def _short(value: Any) -> str:
    text = " ".join(str(value).split()) if value is not None else "(none)"
    return text if len(text) <= 100 else f"{text[:99]}…"


@click.command()
@click.argument("folder", type=PATH)
@click.option(
    "--tokenizer",
    metavar="NAME=PATH",
    help="Count the tokens of every source with this tokenizer.json, and say so on the card.",
)
@dry_run_option
@json_option
def card(folder: Path, tokenizer: str | None, dry_run: bool, as_json: bool) -> None:
    """Render the dataset card again.

    The card and the other documents are rendered from the manifest, the files and the prose in
    data_cards/, and the manifest is brought up to date.
    """
    from meadow.atomic import locked
    from meadow.cards.documents import render_documents
    from meadow.corpus.commit import changed_documents, commit_folder
    from meadow.corpus.manifest import read_manifest

    finish = Finish(as_json=as_json)
    read_manifest(folder)  # no lock is laid into a folder that is no corpus
    with contextlib.nullcontext() if dry_run else locked(folder):
        manifest = read_manifest(folder)
        if tokenizer is not None:
            from meadow.cards.tokens import count_tokens

            tokens = count_tokens(manifest, lambda path: folder / path, tokenizer)
            manifest = replace(manifest, details={**manifest.details, "tokens": tokens})
        documents = render_documents(manifest, lambda path: folder / path)
        changed = changed_documents(folder, manifest, documents)
        if not dry_run:
            commit_folder(folder, manifest, {}, documents)
        for name in changed:
            log(f"{'would render' if dry_run else 'rendered'} {folder / name}")
    if not changed:
        log(f"unchanged: the documents in {folder} are those of its manifest")
    finish({"changed": changed})


@click.command("report")
@click.argument("folder", metavar="DIR|REPO@REV")
@click.option("--out", type=PATH, help="Where to; default: DIR/report.")
@click.option(
    "--corpus",
    metavar="DIR|REPO@REV",
    help="The build that a mix was drawn from: it knows the sources of dropped duplicates.",
)
@click.option("--page", default="", metavar="URL", help="A browse page to link example rows to.")
@dry_run_option
@json_option
def report(
    folder: str, out: Path | None, corpus: str | None, page: str, dry_run: bool, as_json: bool
) -> None:
    """Write the quality report.

    One self-contained HTML page, a Markdown twin and report.json, which the browse page shows as
    its Overview. Without --out they go to DIR/report and the manifest names them; of a published
    corpus they go to --out.
    """
    from meadow import api
    from meadow.quality.page import verdict
    from meadow.quality.report import FOLDER, build_report

    finish = Finish(as_json=as_json)
    target = out or Path(folder) / FOLDER
    opened = api.open_corpus(folder)
    if dry_run:
        document = build_report(opened, api.open_corpus(corpus) if corpus is not None else None)
        log(f"would write report.json, report.html and report.md to {target}")
    else:
        with telling(lambda: f"writing the report of {folder}"):
            document = api.report(folder, out=out, corpus=corpus, page=page)
        log(f"wrote report.json, report.html and report.md to {target}")
    log(verdict(document))
    finish(document, rows_in=opened.rows(), rows_out=document["rows"])


@click.command("browse")
@click.argument("corpus", metavar="DIR|REPO@REV")
@list_option(
    "--corpus",
    "origins",
    metavar="DIR",
    help="The builds that a mix was drawn from, to show the rows that it dropped.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 takes a free port.")
@click.option("--no-open", is_flag=True, help="Print the address; open no browser.")
@json_option
def browse(corpus: str, origins: tuple[str, ...], port: int, no_open: bool, as_json: bool) -> None:
    """Browse a corpus in the browser.

    DIR is a built or mixed corpus; OWNER/NAME@REVISION a published one, which is pulled first. The
    page is served on loopback alone until you press Ctrl-C. Rows are read by HTTP ranges and found
    by a full-text search.
    """
    from meadow.api import is_published, open_corpus
    from meadow.quality.browse import serve

    finish = Finish(as_json=as_json)
    opened = open_corpus(corpus)

    def ready(address: str) -> None:
        log(f"{opened.rows():,} rows at {address} (Ctrl-C ends)")
        finish({"address": address, "rows": opened.rows()})
        if not no_open:
            import webbrowser

            webbrowser.open(address)

    serve(
        opened,
        origins=[open_corpus(place) for place in origins],
        port=port,
        title=corpus if is_published(corpus) else "Medical Meadow",
        ready=ready,
    )
