"""What `make demo` installs: distributions and their unpacked size, as this environment has them.

The requirements of the project with the extras of the demo are followed to their ends among the
installed distributions, and the files of each are added up, what Python compiles left out (the
Makefile does not let it). pip itself is counted once. The build of torch decides most of the size.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

EXTRAS = ("train", "eval")
LIMITS = {"distributions": 110, "unpacked MB": 1_800}
LARGEST = 8


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Follow the requirements and print what is largest.

    Args:
        size_mb: Not used.
    """
    del size_mb
    sizes = {name: size(name) / 1e6 for name in [*closure("medical-meadow", EXTRAS), "pip"]}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:LARGEST]
    note = "Largest: " + ", ".join(f"{name} {sizes[name]:,.0f} MB" for name in largest) + "."
    print(f"{len(sizes)} distributions, {sum(sizes.values()):,.0f} MB. {note}")
    return {
        "bench": "setup",
        "ratios": {"distributions": len(sizes), "unpacked MB": round(sum(sizes.values()))},
        "targets": {},
        "limits": LIMITS,
        "input_text": f"The project with the extras {' and '.join(EXTRAS)}.",
        "notes": [note],
    }


def closure(name: str, extras: tuple[str, ...]) -> list[str]:
    """All that a distribution needs with these extras, itself included, under canonical names."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    seen: dict[str, set[str]] = {}
    ahead = [(canonicalize_name(name), set(extras))]
    while ahead:
        found, asked = ahead.pop()
        if found in seen and asked <= seen[found]:
            continue
        seen.setdefault(found, set()).update(asked)
        for line in metadata.requires(found) or []:
            one = Requirement(line)
            chosen = [{"extra": extra} for extra in seen[found] or {""}]
            if one.marker is None or any(map(one.marker.evaluate, chosen)):
                ahead.append((canonicalize_name(one.name), set(one.extras)))
    return sorted(seen)


def size(name: str) -> int:
    """Bytes of a distribution's files, compiled Python left out."""
    paths = [
        Path(str(path.locate())) for path in metadata.files(name) or [] if path.suffix != ".pyc"
    ]
    return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
    print(main())
