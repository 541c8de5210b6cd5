"""Is a card still what the manifest says? Its YAML and each generated part are rendered again."""

from __future__ import annotations

import re

_BLOCK = re.compile(r"<!-- generated:([\w-]+) -->\n(.*?)\n<!-- /generated -->", re.DOTALL)


def lint_card(text: str, expected: str) -> list[str]:
    """What is wrong with a card, given the card that the manifest would give.

    Args:
        text: The card as it stands.
        expected: What `render_card` gives for the folder.
    """
    import yaml

    findings = []
    if "[More Information" in text:
        findings.append("the card has a placeholder: [More Information")
    head, body = _split_card(text)
    expected_head, expected_body = _split_card(expected)
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


def _split_card(text: str) -> tuple[str, str]:
    if not text.startswith("---\n"):
        return "", text
    head, _, body = text[4:].partition("\n---\n")
    return head, body
