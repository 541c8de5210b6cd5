"""A source of one's own on the Hub: gated, published, pulled and rebuilt without its TOML file."""

from pathlib import Path

from support.hub.server import running
from support.hub.session import Session

from meadow.samples import FOLDER

OWN = FOLDER / "own"
NAME = "meadow/quiz@v1.0.0"

FROM_THE_HUB = """name = "rows_of_the_hub"
title = "Rows of the Hub"
license = "cc0-1.0"
free_text = false
[read]
format = "parquet"
[[files]]
name = "quiz.parquet"
url = "hf://datasets/meadow/quiz@v1.0.0/data/quiz/train-00000-of-00001.parquet"
[row]
task = "open_qa"
instruction = "{instruction}"
input = "{input}"
output = "{output}"
id = "{id}"
"""


def test_a_stranger_gets_checks_mixes_and_rebuilds_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running(tmp_path / "hub") as hub:
        one = Session(hub, home)
        one.meadow("source", "new", OWN / "quiz.parquet", "--edited", "--license", "cc0-1.0")
        one.meadow(
            "source", "new", OWN / "chats.jsonl", "--free-text", "--license", "user-supplied"
        )
        files = ("--file", f"quiz={OWN / 'quiz.parquet'}", "--file", f"chats={OWN / 'chats.jsonl'}")
        one.meadow("build", "--source", home, *files, "--out", "both", fault=True)
        refused = one.meadow("publish", "both", NAME, fault=True)
        assert refused.returncode == 6
        assert "chats: 5 rows under user-supplied" in refused.stderr
        one.meadow("build", "--source", "quiz.toml", *files[:2], "--out", "corpus", fault=True)
        one.meadow("publish", "corpus", NAME)
        other = Session(hub, tmp_path / "other")
        other.meadow("pull", NAME, "--out", "pulled")
        assert "7 rows" in other.meadow("check", "pulled").stderr
        other.meadow("mix", "clean", "--corpus", NAME, "--out", "mix")
        assert "quiz.parquet" in (other.home / "mix" / "README.md").read_text()
        found = other.meadow("verify", NAME, "--rebuild", *files[:2], "--out", "mine.json")
        assert "the same bytes" in found.stderr
        other.meadow("build", "--source", "pulled", *files[:2], "--out", "again", fault=True)
        other.meadow("diff", "pulled", "again")

        (other.home / "hub.toml").write_text(FROM_THE_HUB)
        other.meadow("fetch", "--source", "hub.toml", "--raw", "raw")
        other.meadow("build", "--source", "hub.toml", "--raw", "raw", "--out", "third")
        assert "7 rows" in other.meadow("check", "third").stderr
