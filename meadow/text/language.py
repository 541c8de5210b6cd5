"""Is a text English? Function words answer it for almost every text, py3langid for the rest.

py3langid is langid.py's maintained fork: BSD-3, its model inside the package, numpy its only
dependency. On the medical texts of the test files it calls no English text foreign, which smaller
trigram detectors do wherever drug names are listed. A text too short to be decided counts as
English: a wrong reject costs more than a foreign line.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from meadow.atomic import locked, replacing
from meadow.errors import FileError, MeadowError

CACHE = Path("~/.cache/medical-meadow/languages")
MIN_LETTERS = 100
FIRST_LOOK = 400
_ENOUGH_WORDS = 20
MAX_CHARACTERS = 2000
LOOKED_AT = 500
"""Rows of a shard whose language is measured, about; they stand evenly in it."""
_DISTINCTIVE = (
    "the of and to is that it for you with are be this have can not but if your from they "
    "what which there would should may has when these those been were their who how because"
)
_FUNCTION_WORDS = frozenset(_DISTINCTIVE.split())
_SHARE_OF_ENGLISH = 0.12
_MOST_ENGLISH = 0.001
_OTHER_SCRIPT = re.compile(r"[^\W\d_\u0000-\u024f]")
_WORD = re.compile(r"[^\W\d_]+")
_FUNCTION_BYTES = frozenset(map(str.encode, _FUNCTION_WORDS))
_LOWERED = bytes(c if c > 127 or chr(c).isalpha() else 32 for c in bytes(range(256)).lower())
"""ASCII as small letters and spaces; what is beyond stays."""
_NOISE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|\$[^$]{1,500}\$", re.DOTALL)


def is_foreign(text: str) -> bool:
    """Whether a text is long enough to be decided and certainly not English."""
    start = _without_noise(text[:FIRST_LOOK])
    if _is_plain_english(start):
        return False
    words = _WORD.findall(start)
    if len(words) >= _ENOUGH_WORDS and _looks_english(words):
        return False
    if len(text) > FIRST_LOOK:
        words = _words(text[:MAX_CHARACTERS])
    if not words:
        return False
    letters = sum(map(len, words))
    other_scripts = len(_OTHER_SCRIPT.findall(" ".join(words)))
    if other_scripts > letters / 2:
        return letters >= MIN_LETTERS / 5
    if letters < MIN_LETTERS or _looks_english(words):
        return False
    # languages near to each other share the probability; what counts is how much English has
    ranked = dict(_identifier().rank(" ".join(words)))
    return bool(ranked["en"] <= _MOST_ENGLISH)


def language_of(text: str) -> str | None:
    """The language of a text as ISO 639-1; None where it is too short to be decided."""
    if _is_plain_english(_without_noise(text[:FIRST_LOOK])):
        return "en"
    words = _words(text[:MAX_CHARACTERS])
    if len(words) >= _ENOUGH_WORDS and _looks_english(words):
        return "en"
    if sum(map(len, words)) < MIN_LETTERS:
        return None
    return str(_identifier().classify(" ".join(words))[0]) if is_foreign(text) else "en"


def languages_of(pairs: Iterable[tuple[str, str]]) -> Counter[str]:
    """Language -> rows, of the inputs and outputs of some rows of one source."""
    counts: Counter[str] = Counter()
    short: list[str] = []
    for given, answer in pairs:
        text = f"{answer[:1000]}\n{given[:1000]}"
        if language := language_of(text):
            counts[language] += 1
        else:
            short.append(text)
    # rows of a few words tell together what none tells alone
    if short and not counts and (language := language_of("\n".join(short))):
        counts[language] = len(short)
    return counts


def looked_at(rows: int) -> int:
    """Each so-manieth of the rows of a shard is looked at for its language."""
    return max(1, rows // LOOKED_AT)


def _is_plain_english(text: str) -> bool:
    """Whether a text surely has words enough and looks English; told from its bytes, for less.

    A character beyond ASCII counts as a letter here. It may part two words or be none at all, so
    that there is at most one word more, or one less, for each of them.
    """
    data = text.encode("utf-8", "surrogatepass")
    words, beyond = data.translate(_LOWERED).split(), len(data) - len(text)
    if len(words) - beyond < _ENOUGH_WORDS:
        return False
    # a third of English words are function words: with enough of them the rest need no look
    enough = math.ceil(_SHARE_OF_ENGLISH * (len(words) + beyond))
    known = islice(filter(_FUNCTION_BYTES.__contains__, words), enough)
    return len(list(known)) == enough


def _words(text: str) -> list[str]:
    return _WORD.findall(_without_noise(text))


def _without_noise(text: str) -> str:
    # one character is found for far less than three
    noisy = "`" in text or "$" in text or ("/" in text and "://" in text)
    return _NOISE.sub(" ", text) if noisy else text


def _looks_english(words: list[str]) -> bool:
    known = sum(map(_FUNCTION_WORDS.__contains__, map(str.lower, words)))
    return known >= _SHARE_OF_ENGLISH * len(words)


@lru_cache(maxsize=1)
def _identifier() -> Any:
    """The model, mapped from where it lies unpacked: the library unpacks 68 MB at each start."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    name = f"py3langid-{version('py3langid')}.npy"
    with suppress(OSError, ValueError, RuntimeError):
        return _unpacked(CACHE.expanduser() / name)
    try:
        model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    except OSError as error:  # it unpacks its model into a temporary file
        raise FileError(
            f"the model of languages cannot be unpacked: {error.strerror or error}",
            where=tempfile.gettempdir(),
            fix="make room there, or name another folder with TMPDIR",
        ) from error
    # another process that does the same, and a home that is not there or full, cost time alone
    with suppress(OSError, RuntimeError, MeadowError), locked(CACHE.expanduser()):
        _unpack(model, CACHE.expanduser() / name)
    return model


_ARRAYS = {
    "tk_nextmove": "uint32",
    "tk_output": "int32",
    "nb_pc": "float32",
    "nb_ptc": "float16",
    "tk_row": "uint16",
    "nb_classes": "str",
}
"""What a `LanguageIdentifier` is made of; the largest numbers first, so that all lie aligned."""


def _unpack(model: Any, path: Path) -> None:
    """Write a model as one record of arrays, which can be mapped."""
    import numpy as np

    arrays = {name: np.asarray(getattr(model, name), kind) for name, kind in _ARRAYS.items()}
    record = np.zeros(1, [(name, value.dtype, value.shape) for name, value in arrays.items()])
    for name, value in arrays.items():
        record[name] = value
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, record)


def _unpacked(path: Path) -> Any:
    """The model that `_unpack` wrote, its large arrays in memory that processes share."""
    import numpy as np
    from py3langid.langid import LanguageIdentifier

    record = np.asarray(np.load(path, mmap_mode="r"))[0]
    return LanguageIdentifier(
        *(record["nb_ptc"], record["nb_pc"], record["nb_classes"].tolist()),
        *(memoryview(record["tk_nextmove"]), record["tk_output"].tolist()),
        norm_probs=True,
        tk_row=record["tk_row"].tolist(),
    )
