"""Licences as data: what each one permits and asks for. Facts for a gate, not legal advice.

>>> meadow.LICENSES["cc-by-sa-4.0"].share_alike
True
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Redistribute = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class License:
    """One licence and the four questions that the pipeline asks of it.

    Args:
        key: What the `license` column holds: an SPDX id in lower case where there is one.
        name: The full name.
        url: The text.
        redistribute: Whether rows may be published.
        share_alike: Whether derived rows keep the licence.
        attribution: Whether authors must be named.
        non_commercial: Whether commercial use is excluded.
    """

    key: str
    name: str
    url: str
    redistribute: Redistribute
    share_alike: bool = False
    attribution: bool = False
    non_commercial: bool = False


def _creative_commons(kind: str, version: str) -> License:
    return License(
        f"cc-{kind}-{version}",
        f"Creative Commons {kind.upper()} {version}",
        f"https://creativecommons.org/licenses/{kind}/{version}/",
        "yes",
        share_alike="sa" in kind,
        attribution=True,
        non_commercial="nc" in kind,
    )


_CREATIVE_COMMONS = "https://creativecommons.org/licenses/"
"""All versions: where none is stated, none is pointed to."""
_ALL = (
    License("cc0-1.0", "CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/", "yes"),
    *(_creative_commons("by-sa", version) for version in ("2.5", "3.0", "4.0")),
    _creative_commons("by", "4.0"),
    _creative_commons("by-nc", "4.0"),
    _creative_commons("by-nc-sa", "4.0"),
    License(
        "cc-by", "Creative Commons BY, version not stated",
        _CREATIVE_COMMONS, "yes", attribution=True,
    ),
    License(
        "cc-by-sa", "Creative Commons BY-SA, version not stated",
        _CREATIVE_COMMONS, "yes",
        share_alike=True, attribution=True,
    ),
    License(
        "cc-by-nc", "Creative Commons BY-NC, version not stated",
        _CREATIVE_COMMONS, "yes",
        attribution=True, non_commercial=True,
    ),
    License("mit", "MIT", "https://opensource.org/license/mit", "yes"),
    License("apache-2.0", "Apache 2.0", "https://www.apache.org/licenses/LICENSE-2.0", "yes"),
    License("gpl-3.0", "GPL 3.0", "https://www.gnu.org/licenses/gpl-3.0", "yes", share_alike=True),
    License(
        "chatdoctor-research", "Apache 2.0 file; README forbids commercial and clinical use",
        "https://github.com/Kent0n-Li/ChatDoctor", "no", non_commercial=True,
    ),
    License(
        "cord19-tdm", "CORD-19 agreement: text and data mining only",
        "https://github.com/allenai/cord19", "no",
    ),
    License("user-supplied", "Supplied by the user; no stated licence", "", "unknown"),
    License("unknown", "No licence stated", "", "unknown"),
)  # fmt: skip

LICENSES: dict[str, License] = {license.key: license for license in _ALL}
