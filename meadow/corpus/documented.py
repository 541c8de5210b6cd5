"""A manifest as anybody may have written it, held part by part to what is documented of it.

`settings` and `details` are plain JSON in the hands of every room; what is documented of them
stands here, and what is not is left alone. Only who reads a manifest imports this module, since
pydantic takes a twentieth of a second.
"""

from __future__ import annotations

import functools
import json
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from meadow.corpus.manifest import (
    FIX,
    LARGEST,
    Count,
    Counts,
    Manifest,
    Name,
    Published,
    SourceEntry,
    Splits,
    Text,
)
from meadow.errors import FileError, UpstreamChangedError, UsageError
from meadow.schema import SCHEMA_VERSION

Share = Annotated[float, Field(ge=0, le=1)]


class _Open(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", defer_build=True)


class _Review(_Open):
    error_rate: Share
    bad: Count
    marked: Count
    interval_95: tuple[Share, Share]


class _Rewriting(_Open):
    model: Text
    prompt: Text
    prompt_sha256: Text
    items: Count
    rewritten: Count
    review: _Review | None = None


class _Reasoning(_Rewriting):
    tries: Count
    tried: Count
    at_try: list[Count]
    repeated: Count
    guessing: Share
    left_out: Counts
    exams: dict[Text, Any]


def _kept_counts(job: _Rewriting) -> _Rewriting:
    for name, count in (job.model_extra or {}).items():
        if name.startswith("kept_") and (type(count) is not int or not 0 <= count < LARGEST):
            raise ValueError(f"{name[:80]} should be a count")
    return job


class _Remaining(_Open):
    rows: Counts = {}


class _ExamFile(_Open):
    name: Text
    sha256: Text
    rows: Count
    items: Count
    left_out: Counts
    answer_is: Text | None = None


class _Trial(_Open):
    planted: Count
    found: Count


class _Exam(_Open):
    files: list[_ExamFile] = []
    recall: dict[Text, _Trial] = {}
    items: Count = 0
    rows: Counts = {}
    items_found: Counts = {}
    remaining: _Remaining | None = None
    verdict: Text | None = None


class _MixPart(_Open):
    part: Text
    found: Count | None = None
    expected: Count | None = None
    met: bool | None = None
    note: Text | None = None


class _Tokens(_Open):
    tokenizer: Text
    sha256: Text
    sources: dict[Text, Counts]


class _Details(_Open):
    contact: Text = ""
    published: Published | None = None
    tokens: _Tokens | None = None
    files: list[Text] = []
    warnings: Text | list[Text] = ""
    arithmetic: Text | list[Text] = ""
    parts: list[_MixPart] = []
    duplicates: dict[Text, Any] = {}
    contamination: dict[Text, _Exam] = {}
    rephrase: dict[Text, Annotated[_Rewriting, AfterValidator(_kept_counts)]] = {}
    reason: dict[Text, Annotated[_Reasoning, AfterValidator(_kept_counts)]] = {}
    sidecars: Splits = {}


class _Options(_Open):
    style: Text = ""
    answers: Text = ""
    images: Text = ""


class _Errata(_Open):
    own: list[Text]


class _Embedding(_Open):
    model: Text
    sha256: Text
    threshold: float


class _Mix(_Open):
    parts: list[dict[Text, Any]] = []
    quota: Count | None = None


class _Job(_Open):
    source: Text
    model: Text
    tries: Count = 1
    exams: dict[Text, Any] = {}


class _Settings(_Open):
    rephrase: list[_Job] = []
    reason: list[_Job] = []
    recipe: Text | None = None
    sources: list[Text] = []
    origins: dict[Text, Text] = {}
    options: _Options = Field(default_factory=_Options)
    limit: Count | None = None
    excluded_ids: Text | None = None
    excluded: Count = 0
    errata: _Errata | None = None
    semantic: _Embedding | None = None
    held: list[Any] = []
    corpora: Count = 1
    exams: list[Text] = []
    accepted_licences: list[Text] = []
    own_recipe: bool = False
    vouched: dict[Name, dict[Text, Text]] = {}
    mix: _Mix = Field(default_factory=_Mix)


class _Version(_Open):
    schema_version: Count


class _Documented(_Open):
    settings: _Settings
    details: _Details
    sources: dict[str, Any]
    files: list[Any]
    versions: dict[str, Any]


@functools.cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def check_published(published: Published) -> Published:
    """Where a folder is published, as a user said it, held to what a reader holds it to.

    Raises:
        UsageError: A reader would refuse it; what it says is not repeated, it may be a secret.
    """
    try:
        found: Published = _adapter(Published).validate_json(json.dumps(published.to_json()))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"MANIFEST.json cannot say where this is published: {place}: {first['msg']}",
            fix="address the repository and the Hub by plain names, without a user or a password",
        ) from None
    return found


def entry_of(text: str) -> SourceEntry:
    """A source's entry as read back.

    Raises:
        ValueError: It is none.
    """
    entry: SourceEntry = _adapter(SourceEntry).validate_json(text)
    return entry


def manifest_of(data: bytes, where: str) -> Manifest:
    """The manifest that these bytes are; `where` they lie stands in the message.

    Raises:
        FileError: They are none.
        UpstreamChangedError: A newer schema wrote them.
    """
    try:
        version = _Version.model_validate_json(data).schema_version
        if version > SCHEMA_VERSION:
            raise UpstreamChangedError(
                f"schema version {version} is newer than {SCHEMA_VERSION}",
                where=where,
                fix="upgrade medical-meadow",
            )
        _Documented.model_validate_json(data)
        manifest: Manifest = _adapter(Manifest).validate_json(data)
        return manifest
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part)[:80] for part in first["loc"]) or "the document"
        raise FileError(
            f"MANIFEST.json is not a manifest: {place}: {first['msg']}", where=where, fix=FIX
        ) from error
