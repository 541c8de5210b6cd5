"""Why does a model answer so? The rows of its training mix that are nearest to a question.

From an evaluation run to the training run of its model (told by hashes, never guessed), from there
to the mix that it was trained on, which has to hold the very shards that the run manifest names,
and in the mix to the rows nearest to the question (`meadow.exams.nearest`). Of each row is said all
that is known of it (`Corpus.why`), what it holds of the item, and which optimizer steps saw it.

Nearness is not cause. A row that a model saw and that resembles a question is where to look first,
no more: whether it made the answer shows only a twin run without it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from evaluation.results import item_of, read_run
from meadow.corpus.folder import CONTAMINATION, Corpus
from meadow.corpus.shards import read_rows
from meadow.corpus.why import Why, explain
from meadow.errors import FileError, UpstreamChangedError, UsageError
from meadow.exams.items import ExamItem
from meadow.exams.nearest import Near, Progress, open_index
from meadow.exams.overlap import FOUND
from meadow.models.loading import RUN_MANIFEST, trained_as
from meadow.quality.runs import Trained

NOT_CAUSE = (
    "Nearness is not cause: these rows resemble the question, and the model may have seen them; "
    "that one of them made the answer would show only in a twin trained without it."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and what a model said to it."""

    item: ExamItem
    exam: Sequence[ExamItem]  # all items of its exam
    # per mode what was answered; none where the model was not asked
    answers: Sequence[Mapping[str, Any]]
    model: str  # the model's name, for people
    trained: Trained  # the folder that its weights come from
    notes: tuple[str, ...] = ()  # what a reader has to know of all this


_SAID = ("item_id", "mode", "pred", "gold", "correct", "status", "text")


def asked_in_run(folder: Path, name: str, training: Path | None = None) -> Asked:
    """A question of an evaluation run.

    `name` is the item's id, its beginning, or its number in the exam; `training`, the training run
    of the model, where it cannot be found from here.

    Raises:
        FileError: It is no finished run, or the training run cannot be found.
        UsageError: There is no such item, or several; or `training` is another model's.
    """
    run = read_run(folder)
    try:
        exam = [item_of(stored) for stored in run.items.values()]
        said = [{key: row[key] for key in _SAID} for row in run.rows if not row["variant"]]
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(
            f"its tables are not those of a run: {type(error).__name__} {error}", where=str(folder)
        ) from error
    item = find_item(exam, name, str(folder))
    answers = [row for row in said if row["item_id"] == item.item_id]
    trained, notes = find_training(run.run, folder, training)
    if not answers:
        reason = run.items[item.item_id]["exclusion_reason"] or "the run had a --limit"
        notes = (*notes, f"The model was not asked: {reason}.")
    return Asked(item, exam, answers, run.name, trained, notes)


def asked_of_model(folder: Path, name: str, exam: Sequence[ExamItem]) -> Asked:
    """A question of an exam that the model of a training run was not asked (or not here)."""
    trained = Trained.read(folder)
    recipe = trained.document.get("recipe", {})
    told = str(recipe.get("name") if isinstance(recipe, Mapping) else "") or folder.name
    return Asked(find_item(exam, name, "the exam"), exam, (), told, trained)


def find_item(exam: Sequence[ExamItem], name: str, where: str) -> ExamItem:
    """The item of that id, or whose id begins so, or of that number.

    Raises:
        UsageError: There is none, or there are several.
    """
    found = [item for item in exam if item.item_id == name]
    found = found or [item for item in exam if item.number == name]
    found = found or [item for item in exam if name and item.item_id.startswith(name)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(item.item_id for item in (found or exam)[:3])
    raise UsageError(
        f"{len(found):,} items of the exam are called {name!r}"
        if found
        else f"no item of the exam is called {name!r}",
        where=where,
        fix=f"an id or its beginning, such as {listed}; `meadow compare A B --flips` lists some",
    )


def find_training(
    run: Mapping[str, Any], folder: Path, given: Path | None = None
) -> tuple[Trained, tuple[str, ...]]:
    """The folder that an evaluated model came from, and what is to be said of it.

    The run's description has the hash of the model's run manifest, which is looked for where the
    command found the model, beside the evaluation, and in `given`.

    Raises:
        FileError: It is nowhere, or the model was not trained by this project.
        UsageError: `given` is another run.
    """
    known = run["model"].get("trained")
    if known is None and given is None:  # a known one is what `trained_as` gave
        raise FileError(
            "run.json names no training run of this model: it is a base, or was served",
            where=str(folder),
            fix="name its training run with --training, if there is one",
        )
    if given is not None:
        places = [at for at in (given / "model", given) if (at / RUN_MANIFEST).is_file()]
        if not places or known is None:
            said = "That this run trained the model is your word: run.json does not say it."
            return Trained.read((*places, given)[0]), (said,)
        same = _of_run(known.get("run"), places)
    else:
        command = map(str, run.get("command") or [])
        named = [Path(b) for a, b in pairwise(command) if a in _MODELS]
        named += [at.parent for at in named]
        same = _of_run(known.get("run"), [Path(run["model"].get("adapter") or "."), *named])
        if not any(one.plan() for one in same):  # an export has none, and its run may be near
            same += _of_run(known.get("run"), _around(folder.resolve()))
    if not same:
        raise (FileError if given is None else UsageError)(
            "the training run of the evaluated model is not at hand"
            if given is None
            else "the training run is not that of the evaluated model: their hashes differ",
            where=str(given or folder),
            fix="name the --out folder of its `meadow train` with --training",
        )
    # the very folder that was scored before others of its run, and weights before the run's own
    same.sort(key=lambda one: (one.manifest != known.get("manifest"), one.kind == "run"))
    planned = next((one for one in same if one.plan()), same[0])
    return replace(same[0], around=planned.folder), ()


_MODELS = ("--model", "--adapter")


def _of_run(run: str | None, places: Iterable[Path]) -> list[Trained]:
    """The folders of that run; what else lies around may be broken, and is not asked."""
    known = ((at, trained_as(str(at))) for at in dict.fromkeys(places))
    return [Trained.read(at) for at, found in known if found and found["run"] == run]


def _around(folder: Path) -> Iterator[Path]:
    """Folders of models up to two below the two that an evaluation lies in."""
    for up in folder.parents[:2]:
        for depth in (RUN_MANIFEST, f"*/{RUN_MANIFEST}", f"*/*/{RUN_MANIFEST}"):
            yield from (path.parent for path in sorted(up.glob(depth)) if up != up.parent)


def find_mix(trained: Trained, given: Path | None = None) -> Corpus:
    """The mix that a model was trained on, held to the shards that its run manifest names.

    `given` is where the mix lies now, if not where the run found it.

    Raises:
        FileError: It is gone.
        UpstreamChangedError: Its shards are others than they were.
    """
    shards = trained.shards()
    mix = trained.document.get("mix")
    folder = given or Path(str(mix.get("folder", "")) if isinstance(mix, Mapping) else "")
    if not shards or not folder.is_dir():
        raise FileError(
            "the mix of the training run is gone" if shards else "the run names no mix",
            where=str(folder),
            fix="name its folder with --mix, or mix again as its run manifest says",
        )
    corpus = Corpus.open(folder)
    now = {shard.path: shard.sha256 for shard in corpus.shards()}
    if now != shards:
        changed = sum(now.get(path) != sha256 for path, sha256 in shards.items())
        changed += len(now.keys() - shards.keys())
        raise UpstreamChangedError(
            f"the mix is not the one that the model was trained on: {changed:,} shards differ",
            where=str(folder),
            fix="name the folder of that mix with --mix, or mix again as the run manifest says",
        )
    return corpus


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A row near to the question, with what is known of it."""

    near: Near  # the row, how near it is, and what it holds of the item
    why: Why  # where it comes from and what became of it
    steps: list[int] | None  # the optimizer steps that saw it; None where no plan says

    @property
    def level(self) -> str:
        """What the row holds of the item."""
        return self.near.verdict.level.value

    def to_json(self) -> dict[str, Any]:
        """As a document."""
        verdict = self.near.verdict
        return {
            "id": self.why.id,
            "words": round(self.near.words, 4),
            "shared": list(self.near.shared),
            "cosine": None if self.near.cosine is None else round(self.near.cosine, 4),
            "level": self.level,
            "score": round(verdict.score, 4),
            "aligned": round(verdict.aligned, 4),
            "matched": verdict.matched,
            "steps": self.steps,
            "texts": {name: self.near.row[name] for name in ("instruction", "input", "output")},
            "why": self.why.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be said of a question."""

    asked: Asked
    mix: Corpus
    neighbours: Sequence[Neighbour]  # the rows, the nearest first
    # `held` (whether the mix was held against this exam), `level` (of the item, over the rows that
    # are in the mix), `rows` (of the ledger, in the mix) and `dropped` (how many of the ledger's
    # rows are not)
    contamination: Mapping[str, Any]

    @property
    def notes(self) -> list[str]:
        """What a reader has to know of it."""
        found = [*self.asked.notes, NOT_CAUSE]
        base = self.asked.trained.document.get("base")
        name = str(base.get("name", "")) if isinstance(base, Mapping) else ""
        if name and (Path(name) / RUN_MANIFEST).is_file():
            found.insert(0, f"Its base was trained too: `meadow why {name}` looks into that mix.")
        return found

    def to_json(self) -> dict[str, Any]:
        """As a document."""
        item, trained = self.asked.item, self.asked.trained
        return {
            "item": {
                "item_id": item.item_id,
                "exam": item.exam,
                "number": item.number,
                "question": item.question,
                "options": dict(item.options),
                "key": item.answer,
            },
            "model": self.asked.model,
            "answers": list(self.asked.answers),
            "training": {
                "folder": str(trained.folder),
                "steps": trained.until or trained.document.get("steps"),
                "mix": str(self.mix.folder),
                "rows": len(self.mix),
            },
            "contamination": dict(self.contamination),
            "nearest": [one.to_json() for one in self.neighbours],
            "notes": self.notes,
        }


def why(
    asked: Asked,
    mix: Corpus,  # as `find_mix` gives it
    *,
    count: int = 5,
    encoder: Path | None = None,  # an embedding model, for rows that are near by meaning
    cache: Path | None = None,  # the folder of indexes
    progress: Progress = lambda line: None,
) -> Answer:
    """The rows of a mix that are nearest to a question, and all that is known of them.

    Raises:
        FileError, CheckError: The mix, its ledgers, the plan or the index cannot be read.
    """
    found = _ledger(asked.item, mix)
    known = {row["row_id"]: row["level"] for row in found["rows"]}
    index = open_index(mix, cache, progress=progress)
    nearest = index.nearest(
        asked.item, asked.exam, count, known=known, encoder=encoder, progress=progress
    )
    plan = asked.trained.plan()
    ids = [near.row["id"] for near in nearest]
    steps = None if plan is None else asked.trained.steps(ids, plan)
    neighbours = []
    for near in nearest:
        record_id = near.row["id"]
        seen = None if steps is None else steps.get(record_id, [])
        neighbours.append(Neighbour(near, explain([mix], record_id, near.row), seen))
    if not found["held"]:
        found["level"] = max((one.level for one in neighbours), default="none")
    return Answer(asked, mix, neighbours, found)


def _ledger(item: ExamItem, mix: Corpus) -> dict[str, Any]:
    """What the mix's ledger says of an item, and of its rows which are in the mix."""
    import polars as pl

    held = item.exam in (mix.manifest.details.get("contamination") or {})
    rows: list[dict[str, Any]] = []
    if CONTAMINATION in mix.manifest.named():
        table = mix.contamination().filter(
            pl.col("item_id") == item.item_id, pl.col("level").is_in(FOUND)
        )
        rows = table.select("row_id", "level", "score", "matched").to_dicts()
    ids = [row["row_id"] for row in rows]
    present: set[str] = set()
    for path in mix.files() if ids else ():
        own = read_rows(path, ["id"])["id"]
        present |= set(own.filter(own.is_in(ids)))
    inside = [row for row in rows if row["row_id"] in present]
    level = max((row["level"] for row in inside), default="none")  # the worst is the last word
    return {"held": held, "level": level, "rows": inside, "dropped": len(rows) - len(inside)}


def lines(answer: Answer) -> Iterator[str]:
    """The answer for a terminal."""
    asked, item = answer.asked, answer.asked.item
    yield f"{item.exam} {item.number or ''}".rstrip() + f" {item.item_id}"
    yield item.question
    for label, text in item.options:
        yield f"  {label}  {text}{'   <- the key' if label == item.answer else ''}"
    for each in asked.answers:
        yield f"{asked.model} answered {said(each)}"
        if each["text"]:
            yield f"  {excerpt(each['text'])}"
    yield contamination_sentence(answer)
    yield training_sentence(answer)
    for number, one in enumerate(answer.neighbours, 1):
        yield ""
        yield f"{number}. {near_sentence(one)}"
        for name in ("instruction", "input", "output"):
            if text := excerpt(one.near.row[name], one.near.shared):
                yield f"   {name:<12}{text}"
        yield f"   {'seen':<12}{steps_sentence(one, asked.trained)}"
        yield from (f"   {line}" for line in str(one.why).splitlines()[1:])
    yield ""
    yield from answer.notes


def excerpt(text: str, words: Sequence[str] = (), size: int = 300) -> str:
    """A text on one line, cut to a size; of a long one the part around the first of these words."""
    line = " ".join(text.split())
    if len(line) <= size:
        return line
    low = line.lower()
    at = next((place for word in words if (place := low.find(word)) >= 0), 0)
    start = max(0, min(at - size // 3, len(line) - size))
    end = start + size
    return f"{'… ' if start else ''}{line[start:end]}{' …' if end < len(line) else ''}"


def said(answer: Mapping[str, Any]) -> str:
    """An answer in words."""
    told = answer["pred"] or f"no letter ({answer['status']})"
    verdict = "right" if answer["correct"] else f"wrong, the key is {answer['gold']}"
    return f"{told} in mode {answer['mode']}: {verdict}"


def contamination_sentence(answer: Answer) -> str:
    """Whether the mix holds the item, and who says so."""
    found = answer.contamination
    dropped = f"; {found['dropped']:,} rows that held it were dropped" if found["dropped"] else ""
    if not found["held"]:
        exam, hold = answer.asked.item.exam, sum(o.level != "none" for o in answer.neighbours)
        told = f"{hold or 'none'} of the rows below hold{'' if hold > 1 else 's'} the item"
        worst = f", at worst at level {found['level']}" if hold else ""
        return f"contamination: the mix was not held against {exam}; {told}{worst}{dropped}"
    if found["level"] == "none":
        return f"contamination: no row of the mix holds the item, as its ledger says{dropped}"
    rows = len({row["row_id"] for row in found["rows"]})
    return (
        f"contamination: {found['level']}: {rows:,} row{'' if rows == 1 else 's'} of the mix "
        f"hold{'s' if rows == 1 else ''} the item, as its ledger says{dropped}"
    )


def training_sentence(answer: Answer) -> str:
    """What the model was trained on."""
    trained = answer.asked.trained
    steps = trained.until or trained.document.get("steps")
    return (
        f"trained on {answer.mix.folder}: {len(answer.mix):,} rows, {steps or '?'} steps "
        f"({trained.folder})"
    )


def near_sentence(one: Neighbour) -> str:
    """How near a row is, and what it holds of the item."""
    shared = f" ({', '.join(one.near.shared)})" if one.near.shared else ""
    parts = [f"{one.why.source} {one.why.id}: {one.near.words:.0%} of the words by rarity{shared}"]
    if one.near.cosine is not None:
        parts.append(f"cosine {one.near.cosine:.2f}")
    aligned = one.near.verdict.aligned
    shares = f", {aligned:.0%} of the question in common runs" if aligned else ""
    holds = "nothing of the item" if one.level == "none" else f"the item at level {one.level}"
    return f"{', '.join(parts)}; holds {holds}{shares}"


def steps_sentence(one: Neighbour, trained: Trained, most: int = 20) -> str:
    """Which optimizer steps saw a row."""
    last = trained.until or trained.document.get("steps")
    if one.steps is None:
        return "not known: the run has no plan.parquet"
    if not one.steps:
        split = {place.split for place in one.why.places}
        held = " (it is held out for validation)" if split == {"validation"} else ""
        return f"by no step{held}"
    listed = ", ".join(map(str, one.steps[:most]))
    more = f" and {len(one.steps) - most:,} more" if len(one.steps) > most else ""
    word = "step" if len(one.steps) == 1 else "steps"
    return f"by {word} {listed}{more}{f' of {last}' if last else ''}"


def write_page(answer: Answer, path: Path, command: Sequence[str] = ()) -> None:
    """Write the answer as one page that loads nothing and runs nothing."""
    from evaluation.report import html_page
    from meadow.atomic import write_text

    page = html_page(
        "why.html.j2",
        answer=answer,
        asked=answer.asked,
        item=answer.asked.item,
        said=said,
        excerpt=excerpt,
        contamination=contamination_sentence(answer),
        training=training_sentence(answer),
        near=near_sentence,
        steps=steps_sentence,
        notes=answer.notes,
        command=shlex.join(command),
    )
    write_text(path, page)
