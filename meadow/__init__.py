"""Medical Meadow: medical instruction records with provenance.

`meadow.build`, `meadow.open_corpus` and the other names of `__all__` are the way in from Python.
Nothing but this file is imported until one of them is used.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meadow.api import (
        build,
        check,
        convert,
        diff,
        mix,
        open_corpus,
        publish,
        pull,
        reason,
        rephrase,
        report,
        verify,
    )
    from meadow.corpus.folder import Corpus
    from meadow.errors import MeadowError
    from meadow.exams.contamination import find_contamination
    from meadow.exams.items import load_exam
    from meadow.licenses import LICENSES
    from meadow.mix.duplicates import find_duplicates
    from meadow.schema import Reason, Record, Reject, Task
    from meadow.source import Source
    from meadow.sources import SOURCES

__all__ = [
    "LICENSES",
    "SOURCES",
    "Corpus",
    "MeadowError",
    "Reason",
    "Record",
    "Reject",
    "Source",
    "Task",
    "build",
    "check",
    "convert",
    "diff",
    "find_contamination",
    "find_duplicates",
    "load_exam",
    "mix",
    "open_corpus",
    "publish",
    "pull",
    "reason",
    "rephrase",
    "report",
    "verify",
]

__version__ = "0.1.0"


class _Library(ModuleType):
    """This module, whose public names stay what they are.

    `build`, `mix` and `rephrase` name a function here and a room of the house. Python binds a
    package to its name in the parent when it is first imported; that would put the room in the
    function's place as soon as anybody wrote `from meadow.build.worker import ...`. Such an import
    needs no binding: it finds the room by its full name.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Library


def __getattr__(name: str) -> Any:
    home: ModuleType
    if name not in __all__:
        raise AttributeError(f"module 'meadow' has no attribute {name!r}")
    if name in {"Reason", "Record", "Reject", "Task"}:
        from meadow import schema as home
    elif name == "MeadowError":
        from meadow import errors as home
    elif name == "LICENSES":
        from meadow import licenses as home
    elif name == "Source":
        from meadow import source as home
    elif name == "SOURCES":
        from meadow import sources as home
    elif name == "find_contamination":
        from meadow.exams import contamination as home
    elif name == "load_exam":
        from meadow.exams import items as home
    elif name == "find_duplicates":
        from meadow.mix import duplicates as home
    else:
        from meadow import api as home
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
