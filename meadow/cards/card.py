"""The dataset card: prose from data_cards/, every number from the manifest and the files.

Generated parts stand between markers, so that `lint_card` can see whether a number was changed by
hand: it compares a card with the one that the manifest would give, part by part. The YAML in front
is `meadow.cards.header`'s.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.cards.command import conditions, regenerate
from meadow.cards.header import (
    ALL,
    COLUMN_TEXTS,
    columns_of,
    front_matter,
    license_counts,
    pretty_name,
)
from meadow.cards.rows import Locate, SourceRows
from meadow.corpus.manifest import Manifest, SourceEntry, Step
from meadow.corpus.shards import check_rows, read_parquet, read_rows
from meadow.errors import CheckError, FileError, UpstreamChangedError
from meadow.licenses import LICENSES, License
from meadow.source import OriginName, Source
from meadow.text.markdown import Markdown, escape_cell, fenced, number_of, plain_cell

if TYPE_CHECKING:
    import jinja2


CARD = "README.md"


def render_card(manifest: Manifest, locate: Locate, counted: list[SourceRows]) -> str:
    """README.md for a corpus or mix: YAML front matter and Markdown.

    `counted` are its rows by source, as `rows_by_source` counts them.
    """
    import yaml

    class Plain(yaml.SafeDumper):
        """Writes a repeated value again: readers of cards do not expect YAML aliases."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    head = yaml.dump(
        front_matter(manifest, locate, counted),
        Dumper=Plain,
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )
    return f"---\n{head}---\n\n{_body(manifest, locate, counted)}"


def _body(manifest: Manifest, locate: Locate, counted: list[SourceRows]) -> str:
    # of a build the sources without a row have their section, too
    sources = list(manifest.sources) if manifest.stage == "build" else [s.name for s in counted]
    rows = sum(shard.rows for shard in manifest.shards())
    configs = list(manifest.splits())
    config = configs[0] if len(configs) == 1 else ALL
    text = (
        card_environment()
        .get_template("card.md.j2")
        .render(
            stage=manifest.stage,
            published=manifest.published,
            pretty_name=pretty_name(manifest),
            summary=_summary(manifest, rows, len(sources)),
            config=config,
            shards=f"data/{'*' if config not in configs else config}/train-*.parquet",
            composition=_composition(manifest, locate, counted),
            structure=markdown_table(
                ["column", "what it holds"],
                [[Markdown(f"`{n}`"), COLUMN_TEXTS[n]] for n in columns_of(manifest, locate)],
            ),
            example=_example(manifest, locate),
            command=_command(manifest),
            losses=losses_part(manifest),
            rewritten=_rewritten(manifest, counted),
            reasoned=_reasoned(manifest, counted),
            study=manifest.details.get("worth"),
            worth=_worth,
            plain=plain_cell,
            sources=[_source_section(name, manifest) for name in sources],
            contamination=_contamination(manifest),
            privacy=privacy_part(counted),
            licenses="\n\n".join([_licenses(counted), *answered_part(counted)]),
            spoken=languages_part(counted),
            takedown=takedown_part(manifest),
        )
    )
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


@functools.cache
def card_environment() -> jinja2.Environment:
    """The template engine of cards: every value is escaped, and a missing one is an error."""
    import jinja2

    # the output is Markdown, not HTML: values are escaped for Markdown where they are inserted
    return jinja2.Environment(  # noqa: S701
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def data_cards() -> Path:
    """The folder of hand-written prose: inside the wheel, or at the root of a checkout."""
    inside = Path(__file__).parents[1] / "data_cards"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "data_cards"


def _summary(manifest: Manifest, rows: int, sources: int) -> str:
    if manifest.stage == "mix":
        prose = (data_cards() / "mix.md").read_text(encoding="utf-8").strip()
        lead = f"{rows:,} rows from {number_of(sources, 'source')}, mixed by recipe."
        return "\n\n".join([lead, prose, _mixed(manifest)])
    return (
        f"{rows:,} medical instruction examples from {number_of(sources, 'source')}, regenerated "
        "from the raw files, each with its provenance and its licence."
    )


def render_prose(name: str, entry: SourceEntry | None, source: Source) -> str:
    """The hand-written prose of a source with what the build counted in it; without, with zeros.

    Raises:
        FileError: There is no card for the source.
    """
    if source.prose:
        # of a folder that anybody may have made: nothing in it is markup
        return "\n\n".join(map(escape_cell, re.split(r"\n\s*\n", source.prose.strip())))
    path = data_cards() / f"{name}.md"
    if entry is not None and entry.own:
        return "Its TOML file says no more of it than stands here."
    if not path.is_file():
        raise FileError(f"{name} has no card", where=str(path), fix="write it: CONTRIBUTING.md")
    counted = entry.to_json() if entry else {}
    facts: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for group, counts in counted.get("facts", {}).items():
        facts[group] = defaultdict(int, counts)
    template = card_environment().from_string(path.read_text(encoding="utf-8"))
    return template.render(
        rows_in=counted.get("rows_in", 0),
        rows_out=counted.get("rows_out", 0),
        rejected=defaultdict(int, counted.get("rejected", {})),
        repaired=defaultdict(int, counted.get("repaired", {})),
        facts=facts,
        published_rows=source.published_rows or 0,
    ).strip()


def _source_section(name: str, manifest: Manifest) -> dict[str, str]:
    from meadow.sources import with_own

    source = with_own(manifest.own_sources).get(name)
    if source is None:
        raise UpstreamChangedError(
            f"the corpus has a source that is not known here: {name[:80]!r}",
            fix="upgrade medical-meadow, or install the package that the source came from",
        )
    entry = manifest.sources.get(name)
    # what a TOML file says stands in a manifest that anybody may have written
    said = plain_cell if name in manifest.own_sources else str
    return {
        "name": name,
        "title": said(source.title),
        "citation": said(source.citation),
        "homepage": source.homepage,
        "prose": render_prose(name, entry, source),
        "counts": _source_counts(entry, source, manifest.stage) if entry else "",
    }


def _source_counts(entry: SourceEntry, source: Source, stage: str) -> str:
    cut = f" (cut: --limit {entry.limit})" if entry.limit is not None else ""
    rows = [[f"candidate rows in{cut}", f"{entry.rows_in:,}"]]
    rows.append(["records out", f"{entry.rows_out:,}"])
    rows += [[f"rejected: {r}", f"{n:,}"] for r, n in sorted(entry.rejected.items())]
    rows += [[f"repaired: {kind}", f"{n:,}"] for kind, n in sorted(entry.repaired.items())]
    if source.published_rows is not None:
        rows.append(["rows of the 2023 release", f"{source.published_rows:,}"])
    where = "the corpus that the mix was drawn from, " if stage == "mix" else ""
    return markdown_table([f"{where}origin: {entry.origin}", "rows"], rows)


def _composition(manifest: Manifest, locate: Locate, counted: list[SourceRows]) -> str:
    tokens = manifest.details.get("tokens")

    def of(source: str) -> list[str]:
        """Its tokens, where they were counted."""
        return [f"{sum(tokens['sources'].get(source, {}).values()):,}"] if tokens else []

    last = ["tokens"] if tokens else []
    mixed = manifest.stage == "mix"
    rows = []
    for config, splits in manifest.splits().items():
        for split, shards in splits.items():
            licenses: Counter[str] = Counter()
            for shard in shards:
                licenses.update(read_rows(locate(shard.path), ["license"])["license"].to_list())
            count = sum(shard.rows for shard in shards)
            size = f"{sum(shard.bytes for shard in shards) / 1e6:.2f}"
            more = [] if mixed else of(config)  # a build has a config for each source
            rows.append([config, split, f"{count:,}", size, _rows_under(licenses) or "none", *more])
    heads = ["config", "split", "rows", "MB", "licence (rows)"]
    parts = [markdown_table(heads if mixed else [*heads, *last], rows)]
    if mixed:
        total = max(1, sum(source.rows for source in counted))
        own = [
            [
                source.name,
                f"{source.rows:,}",
                f"{source.rows / total:.1%}",
                _rows_under(source.licenses),
                *of(source.name),
            ]
            for source in sorted(counted, key=lambda source: -source.rows)
        ]
        parts.append(
            markdown_table(["source", "rows in this mix", "share", "licence (rows)", *last], own)
        )
    return "\n\n".join([*parts, *_forms(counted), *([_tokens(tokens)] if tokens else [])])


def _forms(counted: list[SourceRows]) -> Iterator[str]:
    """How many rows are conversations and how many show a reasoning, where there are any."""
    forms = sum((source.forms for source in counted), Counter[str]())
    if turns := forms["turns"]:
        yield (
            f"{number_of(turns, 'row')} of several turns: the last message is the `instruction`, "
            "the turns before it stand in `input`, and as turns in `messages` where the mix has it."
        )
    if reasoned := forms["reason"]:
        yield f"{number_of(reasoned, 'row')} with a teacher's reasoning before the answer (below)."


def _rows_under(licenses: Mapping[str, int]) -> str:
    return ", ".join(f"{key} ({count:,})" for key, count in sorted(licenses.items()))


def _tokens(tokens: Mapping[str, Any]) -> str:
    count = sum(sum(licenses.values()) for licenses in tokens["sources"].values())
    return (
        f"{count:,} tokens of {plain_cell(tokens['tokenizer'])} (tokenizer.json with the SHA-256 "
        f"{plain_cell(tokens['sha256'])}): instruction, input and output of every row, each by "
        "itself and without a chat template's own tokens."
    )


def _mixed(manifest: Manifest) -> str:
    """What was done about duplicates and exams, as the settings of the mix have it."""
    asked = manifest.settings.get("mix", {})
    exact = "rows whose question and answer have the same words"
    near = (
        f"{exact}, and rows that say the same: the same question, and word 3-grams with a Jaccard "
        f"similarity of at least {plain_cell(str(asked.get('threshold', '')))}, where no number, "
        "name or negation differs"
    )
    what = {"exact": exact, "near": near}.get(str(asked.get("deduplicate")))
    said = (
        f"Duplicates were left out: {what}. Of two the one with the better licence stays, then the "
        "one with the longer answer, then the one with the smaller id. `duplicates.parquet` names "
        "both with their questions, and `clusters.parquet` shows the groups, none of which is "
        f"parted between train and validation. {_dropped(manifest)}"
        if what
        else "Duplicates were not looked for."
    )
    order = (
        "Rows stand shuffled, by a hash of the seed and their id."
        if asked.get("order") == "shuffled"
        else "Rows stand source by source, as in the corpus: shuffle them before training."
    )
    if (quota := asked.get("quota")) is not None and not asked.get("parts"):
        first = ", those with a reasoning first" if asked.get("format") == "reasoning" else ""
        order += f" At most {quota:,} rows of each source were drawn, by a hash too{first}."
    exams = manifest.settings.get("exams", ())
    if not exams:
        return f"{said} No exam was given: no row was compared with exam items.\n\n{order}"
    names = ", ".join(plain_cell(str(name)) for name in exams)
    return (
        f"{said}\n\nEvery row was compared with every item that was read of these exams: {names} "
        "(below, file by file). `contamination.parquet` says what matched before anything was "
        f"dropped.\n\n{order}"
    )


def _dropped(manifest: Manifest) -> str:
    """How many duplicates went, where the mix says so."""
    told = manifest.details.get("duplicates", {})
    counts = [told.get(name, 0) for name in ("dropped", "another_question", "held_elsewhere")]
    dropped, asked, held = (count if isinstance(count, int) else 0 for count in counts)
    return (
        f"{number_of(dropped, 'row')} went, {asked:,} of them with another question than the row "
        f"that stayed, {held:,} as a duplicate of what is held elsewhere."
    )


def _example(manifest: Manifest, locate: Locate) -> str:
    for shard in manifest.shards():
        if shard.rows:
            table = read_parquet(locate(shard.path), first=1)
            check_rows(table, locate(shard.path))
            row = table.to_pylist()[0]
            return f"A row as it is:\n\n{fenced(_shortened(row), 'json')}"
    return "There are no rows."


def _shortened(row: dict[str, Any], length: int = 400) -> str:
    for key, value in row.items():
        if isinstance(value, str) and len(value) > length:
            row[key] = f"{value[:length]} [...]"
    return json.dumps(row, ensure_ascii=False, indent=2)


def _command(manifest: Manifest) -> str:
    versions = ", ".join(
        plain_cell(f"{name} {version}") for name, version in manifest.versions.items()
    )
    first = f"Regenerate it, byte for byte, with {versions}:\n\n{fenced(regenerate(manifest))}"
    return "\n\n".join([first, *conditions(manifest)])


def split_warning(name: str, entry: SourceEntry) -> str:
    """What to say of a source whose files tell of another split; "" where there is nothing."""
    from meadow.sources import with_own

    source = with_own({name: entry.own} if entry.own else {}).get(name)
    if source is None or entry.origin not in set(OriginName):
        return ""
    names = [item.path for item in entry.inputs]
    return source.split_warning(source.origin(OriginName(entry.origin)), names, entry.rows_in)


def losses_part(manifest: Manifest) -> str:
    """The table of steps and sources with what each rejected, and every warning."""
    warnings = [split_warning(name, entry) for name, entry in manifest.sources.items()]
    warnings += [
        f"{name} was cut after {entry.limit:,} candidate rows (--limit)."
        for name, entry in manifest.sources.items()
        if entry.limit is not None
    ]
    return "\n\n".join([_loss_table(manifest), *map(plain_cell, filter(None, warnings))])


def _loss_table(manifest: Manifest) -> str:
    named: list[tuple[str, Step | SourceEntry]] = [(step.name, step) for step in manifest.steps]
    return markdown_table(
        ["step" if named else "source", "rows in", "rows out", "rejected by reason"],
        [
            [name, f"{counted.rows_in:,}", f"{counted.rows_out:,}", _reasons(counted.rejected)]
            for name, counted in named or manifest.sources.items()
        ],
    )


def _reasons(rejected: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {n:,}" for reason, n in sorted(rejected.items())) or "none"


def _contamination(manifest: Manifest) -> str:
    record = manifest.details.get("contamination")
    if not record:
        return (
            "Not measured in this folder: `meadow mix` measures it against the exams given with "
            "`--exam`."
        )
    kinds = list(dict.fromkeys(kind for found in record.values() for kind in found.get("rows", {})))
    rows = []
    for exam, found in record.items():
        levels = found.get("rows", {})
        rows.append(
            [exam, str(found.get("verdict", "")), f"{found.get('items', 0):,}"]
            + [f"{levels.get(level, 0):,}" for level in kinds]
            + [f"{sum((found.get('remaining') or {}).get('rows', {}).values()):,}"]
        )
    with_level = [f"rows with {level}" for level in kinds]
    parts = [
        markdown_table(["exam", "verdict", "items", *with_level, "rows still in the mix"], rows),
        *(part for exam, found in record.items() for part in _exam_files(exam, found)),
    ]
    return "\n\n".join(parts)


def _exam_files(exam: str, found: Mapping[str, Any]) -> Iterator[str]:
    """What was read of an exam, and what the search finds of its items when they are edited."""
    files = [
        [item["name"], item["sha256"], f"{item['rows']:,}", f"{item['items']:,}",
         _reasons(item["left_out"])]
        for item in found.get("files", ())
    ]  # fmt: skip
    recall = [
        [kind, f"{trial['found']:,} of {trial['planted']:,}"]
        for kind, trial in found.get("recall", {}).items()
    ]
    if files:
        yield markdown_table([f"{exam}: file", "sha256", "rows", "items", "left out"], files)
    if recall:
        yield markdown_table([f"{exam}: its own items, edited and looked for", "found"], recall)


def privacy_part(counted: list[SourceRows]) -> str:
    """Which sources were searched for personal data, and what was replaced."""
    free = [s.name for s in counted if s.known is not None and s.known.free_text]
    if not free:
        return "No source here is free text: no row was searched for personal data."
    searched = f"Searched, since people wrote freely there: {', '.join(free)}."
    counts = sum((Counter(source.scrubbed) for source in counted), Counter[str]())
    if not counts:
        return f"{searched} No placeholder was set."
    return (
        f"{searched} What looks like personal data was replaced by typed placeholders; values are "
        "never logged. A row counts once for each kind.\n\n"
        + markdown_table(["kind", "rows"], [[kind, f"{n:,}"] for kind, n in sorted(counts.items())])
    )


def languages_part(counted: list[SourceRows]) -> str:
    """The languages that were measured."""
    counts: Counter[str] = sum((source.languages for source in counted), Counter())
    if not counts:
        return "No text is long enough to tell its language."
    shares = ", ".join(f"{name} {n:,}" for name, n in counts.most_common())
    return f"Of {counts.total():,} rows that were looked at and long enough, by language: {shares}."


def _licenses(counted: list[SourceRows]) -> str:
    rows = []
    for key, count in sorted(license_counts(counted).items()):
        if known := LICENSES.get(key):
            linked = Markdown(f"[{known.name}]({known.url})") if known.url else known.name
            cells = [Markdown(f"`{key}`"), linked, f"{count:,}", known.redistribute]
        else:
            cells = [key, key, f"{count:,}", "unknown"]
        rows.append([*cells, *_asked(known)])
    head = ["key", "licence", "rows", "redistribute", "share alike", "name authors", "commercial"]
    return markdown_table(head, rows)


def _asked(known: License | None) -> list[str]:
    """Share alike, attribution and commercial use, as far as the licence states them."""
    if known is None or known.redistribute == "unknown":
        return ["not stated"] * 3
    free = "yes" if known.redistribute == "yes" else "not stated"
    return [
        "yes" if known.share_alike else "no",
        "yes" if known.attribution else "no",
        "no" if known.non_commercial else free,
    ]


def answered_part(counted: list[SourceRows]) -> Iterator[str]:
    """Who answers for licences that are not stated; and which are disputed, decided or not."""
    for source in counted:
        known = source.known
        disputed = known.disputed if known is not None else ""
        if disputed:
            yield (
                f"The licence of {source.name} is disputed: {plain_cell(source.license_note)} The "
                f"public question: <{disputed}>."
            )
            if left := source.rows - source.vouched.total():
                yield (
                    f"Nobody has decided it for {number_of(left, 'row')} here: they may not be "
                    "published until `[vouch]` in meadow.toml says who answers for it."
                )
        for (license, who, when), rows in sorted(source.vouched.items()):
            yield plain_cell(
                f"{source.name}: {who} answers for the licence {license} of "
                f"{number_of(rows, 'row')}, by a decision of {when}."
            )


def _work(
    manifest: Manifest, counted: list[SourceRows], kind: str
) -> Iterator[tuple[dict[str, Any], list[str | Markdown], list[str]]]:
    """What a model did to the rows of each source that is here: facts, first and last cells."""
    here = {source.name for source in counted if source.rewritten}
    jobs: dict[str, dict[str, Any]] = manifest.details.get(kind, {})
    for source, job in sorted(jobs.items()):
        if manifest.stage == "mix" and source not in here:
            continue
        kept = {name[5:]: count for name, count in job.items() if name.startswith("kept_")}
        digits = job["prompt_sha256"][:12]
        digest = f"`{digits}`" if digits.isalnum() else plain_cell(digits)
        prompt = Markdown(f"{plain_cell(job['prompt'])} ({digest})")
        counts = [f"{job['items']:,}", f"{job['rewritten']:,}"]
        last = [_reasons(kept), _review(job.get("review"))]
        yield job, [source, job["model"], prompt, *counts], last


def _rewritten(manifest: Manifest, counted: list[SourceRows]) -> str:
    """Which model rewrote rows, by which prompt, how many, how good; "" where none was."""
    rows = [[*first, *last] for _, first, last in _work(manifest, counted, "rephrase")]
    head = ["source", "model", "prompt", "offered", "rewritten", "kept", "error rate by review"]
    return markdown_table(head, rows) if rows else ""


def _reasoned(manifest: Manifest, counted: list[SourceRows]) -> str:
    """Which teacher reasoned about questions, how often it came upon the key; "" where none did."""
    rows, remarks = [], []
    for job, first, last in _work(manifest, counted, "reason"):
        accepted = [
            f"{number}: {count:,} ({count / max(1, job['items']):.1%})"
            for number, count in enumerate(job["at_try"], start=1)
        ]
        rows.append([*first, ", ".join(accepted), f"{job['guessing']:.1%}", *last])
        held = ", ".join(plain_cell(name) for name in job["exams"]) or "no exam"
        repeated = (
            f"; {number_of(job['repeated'], 'question')} given up where the teacher gave the same "
            "answer again, word for word"
        )
        remarks.append(
            f"- {plain_cell(first[0])}: held against {held} before anything was asked; not asked "
            f"about: {plain_cell(_reasons(job['left_out']))}. {number_of(job['tried'], 'answer')} "
            f"in all{repeated if job['repeated'] else ''}."
        )
    head = ["source", "teacher", "prompt", "asked about", "with reasoning", "by number of tries",
            "a guesser", "without", "error rate by review"]  # fmt: skip
    return "\n".join([markdown_table(head, rows), "", *remarks]) if rows else ""


def _worth(entry: Mapping[str, Any]) -> str:
    """What a source added to a model's scores in a study, as a line."""
    low, high = (100 * bound for bound in entry["ci95"])
    return (
        f"- {plain_cell(entry['about'])}: {100 * entry['difference']:+.1f} points "
        f"[{low:+.1f}, {high:+.1f}] on {plain_cell(entry['exam'])} "
        f"({entry['n']:,} items, p {entry['p_holm']:.3f} after Holm)"
    )


def _review(review: dict[str, Any] | None) -> str:
    if review is None:
        return "not reviewed"
    low, high = review["interval_95"]
    return (
        f"{review['error_rate']:.1%} ({review['bad']:,} of {review['marked']:,} marked bad; "
        f"95 % interval {low:.1%} to {high:.1%})"
    )


def takedown_part(manifest: Manifest) -> str:
    """Whom to ask, and what a takedown does."""
    contact = manifest.details.get("contact")
    asked = f"Write to {plain_cell(contact)}." if contact else (
        "No contact is set: whoever publishes this folder sets `contact` in meadow.toml."
    )  # fmt: skip
    return (
        f"{asked} A record's `id`, `source_id` or `url`, or the DOI or PubMed number of its paper, "
        "in `exclude_ids.txt` keeps it out of the next build, counted under the reason `excluded`; "
        "`meadow takedown` writes it there and says which mixes and training runs hold the row."
    )


def license_page(counted: list[SourceRows]) -> str:
    """LICENSES/README.md: the licences of this folder's rows, with what each asks for."""
    return (
        "# Licences of the rows\n\nEach row names its licence in the column `license`.\n\n"
        + _licenses(counted)
        + "\n"
    )


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; nothing in a cell is markup."""
    lines = [" | ".join(map(plain_cell, head)), " | ".join("---" for _ in head)]
    lines += [" | ".join(map(plain_cell, row)) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


_BLOCK = re.compile(r"<!-- generated:([\w-]+) -->\n(.*?)\n<!-- /generated -->", re.DOTALL)


def lint_card(text: str, expected: str) -> list[str]:
    """What is wrong with a card, given the card that the manifest would give."""
    import yaml

    findings = []
    if "[More Information" in text:
        findings.append("the card has a placeholder: [More Information")
    head, body = split_card(text)
    expected_head, expected_body = split_card(expected)
    try:
        values = yaml.safe_load(head)
        if yaml.safe_load(yaml.safe_dump(values)) != values:
            findings.append("the card's YAML does not round-trip")
        if values != yaml.safe_load(expected_head):
            findings.append("the card's YAML is not what the files give")
    except yaml.YAMLError as error:
        findings.append(f"the card's YAML cannot be read: {error}")
    blocks, wanted = dict(_BLOCK.findall(body)), dict(_BLOCK.findall(expected_body))
    for name, content in wanted.items():
        if name not in blocks:
            findings.append(f"the card lacks its generated part {name}")
        elif blocks[name] != content:
            findings.append(f"the card's generated part {name} is not what the manifest says")
    return findings


def merge_card(edited: str, rendered: str) -> str:
    """A card that was edited by hand, with the YAML and the generated parts of the rendered one.

    Raises:
        CheckError: The edited card lacks a generated part.
    """
    _, body = split_card(edited)
    head, rendered_body = split_card(rendered)
    blocks = dict(_BLOCK.findall(rendered_body))

    def renewed(match: re.Match[str]) -> str:
        content = blocks.get(match[1], "")
        return f"<!-- generated:{match[1]} -->\n{content}\n<!-- /generated -->"

    merged = f"---\n{head}\n---\n{_BLOCK.sub(renewed, body)}"
    if findings := lint_card(merged, rendered):
        raise CheckError(
            f"the edited card cannot be brought up to date: {findings[0]}",
            where=CARD,
            fix="put the markers of that part back into the card, or use --card replace",
        )
    return merged


def split_card(text: str) -> tuple[str, str]:
    """The YAML in front, "" where there is none, and the rest."""
    head, closed, body = text.removeprefix("---\n").partition("\n---\n")
    return (head, body) if closed and text.startswith("---\n") else ("", text)
