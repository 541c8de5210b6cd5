"""The public API: what a command does, said in Python. `meadow` gives every name of it.

A place is a folder or file of this machine, or an address (OWNER/NAME@REVISION, s3://...):
addresses are this module's business, the rooms below work on folders. `progress` is told one line
at a time. The examples run on the embedded samples, in one folder, from the top.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.corpus.folder import Corpus
from meadow.errors import UsageError

if TYPE_CHECKING:
    from meadow.build.plan import Answers, BuildPlan, Images
    from meadow.corpus.lines import Form
    from meadow.corpus.manifest import NamedFile
    from meadow.exams.items import ExamItem
    from meadow.exams.meaning import AnswerIs
    from meadow.hub.publish import Card, Gate, Publication
    from meadow.hub.pull import Pulled
    from meadow.hub.verify import Verification
    from meadow.mix.recipe import MixRecipe
    from meadow.quality.check import Finding
    from meadow.quality.diff import Difference
    from meadow.source import Input

Place = str | Path
Places = Place | Sequence[Place]
Progress = Callable[[str], None]
_quiet: Progress = lambda line: None  # noqa: E731


def open_corpus(location: Place, *, verify: bool = False) -> Corpus:
    """Open a corpus folder, a published one as OWNER/NAME@REVISION, or one in a store.

    >>> from meadow.samples import FOLDER
    >>> meadow.build(["medqa"], raw=FOLDER, out="corpus").folder.name
    'corpus'
    >>> meadow.open_corpus("corpus", verify=True).to_polars()["source"].unique().to_list()
    ['medqa']

    Args:
        location: A folder with a MANIFEST.json, `OWNER/NAME@REVISION` with or without `hf://`, or
            an address such as `s3://...`.
        verify: Check every shard against its hash first.

    Raises:
        FileError: The folder holds no finished corpus.
        CheckError: A shard is not what the manifest says.
    """
    return Corpus.open(_folder(location), verify=verify)


def _folder(location: Place) -> Path:
    """The folder on this machine; what an address names is pulled to the cache first."""
    from meadow.net.stores import is_remote

    text = str(location)
    if is_published(text):
        from meadow.hub.pull import pull_to_cache

        return pull_to_cache(text)
    if is_remote(text):
        from meadow.corpus.stored import pull_corpus

        return pull_corpus(text)
    return Path(location)


def is_published(text: str) -> bool:
    """Whether a place is a data set of the Hub: OWNER/NAME@REVISION, and no folder of that name."""
    from meadow.net.hub import SCHEME

    shape = re.fullmatch(r"[\w.-]+/[\w.-]+@\S+", text, re.ASCII)
    return text.startswith(SCHEME) or (shape is not None and not Path(text).exists())


def plan_build(
    sources: Sequence[str] = (),
    *,
    files: Mapping[str, Places] | None = None,
    recipe: Place | None = None,
    own: Sequence[Place] = (),
    config: Path | None = None,
    **wanted: Any,
) -> BuildPlan:
    """What `build` with the same arguments would do; raw files at an address are fetched."""
    from meadow.build import plan
    from meadow.config import read_config
    from meadow.fetch.lockfile import NAME, read_lock
    from meadow.mix.recipe import load_build_recipe

    settings = read_config(config)
    # what is named says itself what is built; otherwise a recipe does
    named = files or sources or own
    outline = load_build_recipe(recipe or "full") if recipe or not named else None
    lock = read_lock(settings.folder / NAME)
    return plan.plan_build(
        sources,
        files=files,
        outline=outline,
        own=own,
        config=settings,
        locked={label: entry.sha256 for label, entry in lock.items()},
        **wanted,
    )


def build(
    sources: Sequence[str] = (),
    *,
    out: Place,
    files: Mapping[str, Places] | None = None,
    raw: Place | None = None,
    recipe: Place | None = None,
    origin: str | None = None,
    style: str | None = None,
    answers: Answers | None = None,
    images: Images | None = None,
    limit: int | None = None,
    errata: Sequence[Place] = (),
    available: bool = False,
    own: Sequence[Place] = (),
    config: Path | None = None,
    workers: int | None = None,
    engine: str = "local",
    progress: Progress = _quiet,
) -> Corpus:
    """Build verified shards from raw files, or continue to; a finished source is not built again.

    >>> from meadow.samples import FOLDER
    >>> corpus = meadow.build(["medqa"], files={"medqa": FOLDER / "medqa"}, out="named")
    >>> corpus.configs
    ['medqa']

    Args:
        sources: The sources; none: those that `files` names, else the recipe's.
        out: The corpus folder, new or of the same options: it keeps the sources that are not asked
            for. Or an address to copy it to.
        files: `SOURCE[:SUBSET[:ROLE]]` -> raw files or folders, or their addresses.
        raw: The folder of the other raw files; else meadow.toml's, else the cache's.
        recipe: A name or a TOML file; `full` where neither sources nor files are named.
        origin: upstream or published.
        style: Which instruction texts: meadow or 2023.
        answers: Which answers of a question: all, top or accepted.
        images: What becomes of questions that show an image: refuse or keep.
        limit: Candidate rows per source.
        errata: Whose faulty questions are left out: `known`, or files beside the known ones.
        available: Leave out sources whose raw files are missing; `progress` is told which.
        own: TOML files of sources of your own, or folders of them (docs/own-source.md).
        config: A meadow.toml to use.
        workers: Processes; the bytes do not depend on them. None: as many as there are cores to
            use, from 50 MB of raw files on.
        engine: Where the work runs: local, ray, ray://auto or ray://HOST:PORT.
        progress: Told one line at a time.

    Raises:
        UsageError: A source, an option or a recipe is wrong, or `out` holds something else.
        FileError, UpstreamChangedError: A raw file is missing or not what it should be.
        LockedError: Another run holds `out`.
    """
    from meadow.build.build import build_corpus
    from meadow.build.engine import check_engine
    from meadow.corpus.manifest import NAME
    from meadow.corpus.stored import check_target, copy_corpus, working_folder
    from meadow.net.stores import is_remote

    check_engine(engine)
    plan = plan_build(
        sources,
        files=files,
        raw=raw,
        recipe=recipe,
        origin=origin,
        style=style,
        answers=answers,
        images=images,
        limit=limit,
        errata=errata,
        available=available,
        own=own,
        config=config,
        progress=progress,
    )
    address = str(out) if is_remote(str(out)) else None
    folder = Path(out)
    if address:
        check_target(address, plan.settings.identity, plan.settings.sources)
        folder = working_folder(address)
        progress(f"building in {folder}")
    manifest = build_corpus(
        plan.settings,
        plan.inputs,
        folder,
        workers=workers,
        engine=engine,
        expected=plan.expected,
        contact=plan.contact,
        progress=progress,
    ).manifest
    for line in plan.misses(manifest):
        progress(f"warning: {line}")
    if address:
        count, size = copy_corpus(folder, address, report=progress)
        progress(f"copied {count:,} files, {size:,} bytes: {address.rstrip('/')}/{NAME}")
    else:
        progress(f"wrote {folder / NAME}")
    return Corpus(folder, manifest)


def mix(
    recipe: Place | MixRecipe,
    *,
    corpus: Place | Corpus | Sequence[Place | Corpus],
    out: Place,
    exams: Mapping[str, Places | Sequence[ExamItem]] | None = None,
    accept: Sequence[str] = (),
    keep_from: Sequence[Place | Corpus] = (),
    answer_is: Mapping[str, AnswerIs] | None = None,
    progress: Progress = _quiet,
    **changes: Any,
) -> Corpus:
    """Mix a corpus into a training set; a folder that holds exactly this mix is left alone.

    >>> mixed = meadow.mix("demo", corpus="corpus", out="mix", seed=7)
    >>> sorted(mixed.manifest.configs["demo"])
    ['train', 'validation']

    Args:
        recipe: A name, a TOML file, or the recipe itself.
        corpus: The corpus to mix from, or several: of rows with one id the first is taken.
        out: The folder to write.
        exams: Name -> files of an exam that every row is compared with, or its items.
        accept: Sources whose rows are taken though they may not be redistributed.
        keep_from: Corpora or mixes that are at hand already: what they hold is dropped.
        answer_is: Exam -> what its answers are, where its files do not tell.
        progress: Told one line at a time.
        changes: drop, deduplicate, threshold, seed, validation, format, order, errata, semantic,
            semantic_threshold and the recipe's other keys (parts, exclude, ...): other values than
            the recipe's.

    Raises:
        UsageError: The recipe is wrong, or `out` holds something else.
        RefusedError: A licence does not allow it.
        LockedError: Another run holds `out`.
    """
    from meadow.mix.recipe import MixRecipe, changed, load_mix_recipe
    from meadow.mix.write import mix_corpus

    wanted = changed(
        recipe if isinstance(recipe, MixRecipe) else load_mix_recipe(recipe), **changes
    )
    items = load_exams(exams or {}, answer_is)
    held = [_opened(place) for place in keep_from]
    several = [corpus] if isinstance(corpus, str | Path | Corpus) else corpus
    opened = [_opened(one) for one in several]
    manifest = mix_corpus(wanted, opened, Path(out), items, accept, held, progress=progress)
    return Corpus(Path(out), manifest)


def convert(mix: Place | Corpus, *, to: Form, out: Place, split: str = "train") -> NamedFile:
    """Write a split of a mix as lines of JSON, for trainers that read no Parquet.

    >>> mixed = meadow.mix("demo", corpus="corpus", out="mix", seed=7)
    >>> file = meadow.convert("mix", to="openai", out="train.jsonl")
    >>> file.path, file.bytes > 0
    ('train.jsonl', True)

    Args:
        mix: A mix or a build.
        to: jsonl (instruction, input, output and where a row is from), sharegpt or openai (turns),
            or rows (every column).
        out: The file, new or of the same lines.
        split: train or validation.
    """
    from meadow.corpus.lines import write_lines

    return write_lines(_opened(mix), to, Path(out), split)


def load_exams(
    exams: Mapping[str, Places | Sequence[ExamItem]],
    answer_is: Mapping[str, AnswerIs] | None = None,
) -> dict[str, list[ExamItem]]:
    """Name -> items, read from files where they are not items already."""
    from meadow.exams.items import ALIASES, Exam, ExamItem, load_exam

    found: dict[str, list[ExamItem]] = {}
    for called, given in exams.items():
        name = ALIASES.get(called, called)
        if isinstance(given, Exam):  # it knows its files
            found[name] = given
            continue
        parts = [given] if isinstance(given, str | Path) else list(given)
        items = [part for part in parts if isinstance(part, ExamItem)]
        files = [Path(str(part)) for part in parts]
        found[name] = items or load_exam(name, files, answer_is=(answer_is or {}).get(name))
    return found


def _opened(corpus: Place | Corpus) -> Corpus:
    return corpus if isinstance(corpus, Corpus) else open_corpus(corpus)


def rephrase(
    source: str,
    *,
    corpus: Place | Corpus,
    model: str,
    files: Mapping[str, Places] | None = None,
    raw: Place | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Rewrite a source's rows with a language model; what was asked, rewritten, kept and spent.

    >>> from meadow.samples import FOLDER
    >>> cards = meadow.build(["anki"], raw=FOLDER, out="cards")
    >>> planned = meadow.rephrase(
    ...     "anki", corpus=cards, model="any", cache="rephrase.sqlite", dry_run=True
    ... )
    >>> planned["estimate"]["items"] == cards.rows("anki")
    True

    Args:
        source: A source whose rows may be rewritten.
        corpus: A built corpus.
        model: As the server names it.
        files: As for `build`: raw files, where sections of the source are read from them again.
        raw: The folder of raw files otherwise.
        options: out, base_url, allow_remote, budget_usd, dry_run and the others of
            `meadow.rephrase.run.Asking`.
    """
    from meadow.build.plan import raw_inputs
    from meadow.config import read_config
    from meadow.rephrase.items import rewriting
    from meadow.rephrase.rewrite import rephrase_corpus
    from meadow.sources import with_own

    inputs: Sequence[Input] = ()
    opened = _opened(corpus)
    if rewriting(source, with_own(opened.manifest.own_sources)).kind == "heading":
        folder = read_config().raw_folder(Path(raw) if raw is not None else None)
        inputs = raw_inputs(source, files or {}, folder.expanduser())
    return rephrase_corpus(opened, source, inputs, model=model, **options)


def reason(
    source: str,
    *,
    corpus: Place | Corpus,
    model: str,
    exams: Mapping[str, Places | Sequence[ExamItem]] | None = None,
    answer_is: Mapping[str, AnswerIs] | None = None,
    tries: int = 4,
    **options: Any,
) -> dict[str, Any]:
    """Let a language model reason about multiple choice questions; what misses the key goes.

    >>> planned = meadow.reason(
    ...     "medqa", corpus="corpus", model="any", cache="reason.sqlite", dry_run=True
    ... )
    >>> planned["estimate"]["items"] == meadow.open_corpus("corpus").rows("medqa")
    True

    Args:
        source: A source of multiple choice questions with a key.
        corpus: A built corpus.
        model: As the server names it.
        exams: As for `mix`: rows that touch one are not asked about.
        answer_is: Exam -> what its answers are, where its files do not tell.
        tries: Times that a question is asked, until the answer is the key.
        options: out, base_url, allow_remote, budget_usd, dry_run and the others of
            `meadow.rephrase.run.Asking`.
    """
    from meadow.rephrase.reason import reason_corpus

    held = load_exams(exams or {}, answer_is)
    return reason_corpus(_opened(corpus), source, held, model=model, tries=tries, **options)


def check(folder: Place) -> list[Finding]:
    """Validate a corpus folder: files, rows, counts, licences and card against its manifest.

    >>> meadow.check("corpus")
    []
    """
    from meadow.quality.check import check_corpus

    return check_corpus(_folder(folder))


def diff(old: Place | Corpus, new: Place | Corpus, *, examples: int = 3) -> Difference:
    """Compare two corpora row by row: added, removed, changed, renamed.

    >>> meadow.diff("corpus", "named").identical
    True
    """
    from meadow.quality.diff import diff_corpora

    return diff_corpora(_opened(old), _opened(new), examples=examples)


def report(
    folder: Place, *, out: Place | None = None, corpus: Place | None = None, page: str = ""
) -> dict[str, Any]:
    """Write the quality report: an HTML page, a Markdown twin and report.json, which it returns.

    >>> meadow.report("corpus")["rows"] == meadow.open_corpus("corpus").rows()
    True

    Args:
        folder: A built or mixed corpus.
        out: Where to; None: `report/` in the folder, and the manifest names the files. For an
            address a folder has to be named.
        corpus: The build that a mix was drawn from: it knows the sources of dropped duplicates.
        page: A browse page to link example rows to.
    """
    import contextlib

    from meadow.atomic import locked
    from meadow.quality.report import write_report

    place = _folder(folder)
    if out is None and place != Path(folder):
        raise UsageError(
            "a corpus from elsewhere keeps the report that it came with",
            where=str(folder),
            fix="--out DIR for one of your own",
        )
    origin = _opened(corpus) if corpus is not None else None
    Corpus.open(place)  # no lock is laid into a folder that is no corpus
    with locked(place) if out is None else contextlib.nullcontext():
        target = Path(out) if out is not None else None
        return write_report(Corpus.open(place), target, origin=origin, page=page)


def publish(
    folder: Place,
    name: str,
    *,
    public: bool = False,
    gated: Gate | None = None,
    create_pr: bool = False,
    card: Card | None = None,
    space: str | None = None,
    progress: Progress = _quiet,
) -> Publication:
    """Publish a corpus to the Hub in one commit, load it back, then set the tag.

    >>> meadow.publish("corpus", "me/corpus@v1")
    Traceback (most recent call last):
    meadow.errors.UsageError: me/corpus@v1: 'v1' is neither a version nor a branch
      fix:   write me/corpus@v1.2.0, me/corpus@BRANCH, or no revision

    Args:
        folder: A corpus without findings, of rows that may be redistributed.
        name: OWNER/NAME; with @vX.Y.Z for a tag, which never moves, or @BRANCH for a branch.
        public: Open it to everybody; a new data set is private otherwise.
        gated: auto or manual: readers ask for access first.
        create_pr: Open a pull request: for who may not write.
        card: keep or replace a card that was edited on the Hub; else that is refused.
        space: OWNER/SPACE: then push the browse page as a static Space; needs a tag.
        progress: Told one line at a time.
    """
    from meadow.hub.publish import Publisher

    publisher = Publisher(
        public=public, gated=gated, create_pr=create_pr, card=card, report=progress, space=space
    )
    return publisher.publish(Path(folder), name)


def pull(name: str, out: Place | None = None, *, progress: Progress = _quiet) -> Pulled:
    """Download a published corpus, OWNER/NAME@REVISION, every file checked by its manifest.

    >>> meadow.pull("somebody")
    Traceback (most recent call last):
    meadow.errors.UsageError: ...

    Args:
        name: The data set and its revision.
        out: The folder; None: the data set's name in the working folder.
        progress: Told one line at a time.
    """
    from meadow.hub.pull import pull as pull_into
    from meadow.net.hub import parse_reference

    reference = parse_reference(name)
    folder = Path(out) if out is not None else Path(reference.repository.partition("/")[2])
    return pull_into(reference, folder, report=progress)


def verify(name: str, *, content: bool = False) -> Verification:
    """Validate a published corpus, OWNER/NAME@REVISION, against its manifest, from outside.

    >>> meadow.verify("somebody")
    Traceback (most recent call last):
    meadow.errors.UsageError: ...

    Args:
        name: The data set and its revision.
        content: Download every shard and hash it, instead of trusting the Hub's stated hashes.
    """
    from meadow.hub.verify import verify as verify_commit
    from meadow.net.hub import parse_reference

    return verify_commit(parse_reference(name), content=content)
