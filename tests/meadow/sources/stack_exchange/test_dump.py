"""Data dumps: good rows survive bad neighbours, hostile files end quickly, nothing is guessed."""

import os
import subprocess
import sys
from collections import Counter
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
import py7zr
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stopwatch import Stopwatch

from meadow.errors import FileError, UpstreamChangedError, UsageError
from meadow.readers.spans import Span
from meadow.schema import Fact, Reason, Reject
from meadow.source import Cutting, Input, Options
from meadow.sources.stack_exchange import dump as stack_dump
from meadow.sources.stack_exchange.dump import MAX_ROW_BYTES

HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'


def row(**attributes: object) -> str:
    fields = " ".join(
        f"{name}={quoteattr(str(value), {chr(10): '&#xA;'})}" for name, value in attributes.items()
    )
    return f"  <row {fields} />\n"


def question(number: int, body: str = "<p>Why?</p>", **more: object) -> str:
    return row(
        Id=number,
        PostTypeId=1,
        CreationDate="2015-01-01T00:00:00.000",
        Score=3,
        Body=body,
        OwnerUserId=7,
        Title=f"Question {number}",
        Tags="<a>",
        **more,
    )


def answer(number: int, parent: int, score: int = 5, body: str = "<p>So.</p>") -> str:
    return row(
        Id=number,
        PostTypeId=2,
        ParentId=parent,
        CreationDate="2015-01-02T00:00:00.000",
        Score=score,
        Body=body,
        OwnerUserId=8,
    )


def dump(
    path: Path, *rows: str, head: str = HEAD, root: str = "posts", newline: str = "\n"
) -> Path:
    text = f"{head}<{root}>\n{''.join(rows)}</{root}>"
    path.write_bytes(text.replace("\n", newline).encode("utf-8", "surrogateescape"))
    return path


def read(*paths: Path, site: str = "health", users: Path | None = None, **options: str):
    inputs = [Input(path, path.name, site) for path in paths]
    if users is not None:
        inputs.append(Input(users, users.name, site, "users"))
    found = list(stack_dump.read(inputs, Options(**options)))
    pairs = [item for item in found if not isinstance(item, Reject | Fact)]
    return pairs, [item for item in found if isinstance(item, Reject)], found


def ids(pairs: list) -> list[str]:
    return [pair["answer"]["Id"] for pair in pairs]


def test_pairs_meet_the_score_and_stand_by_answer_id(tmp_path: Path) -> None:
    path = dump(
        tmp_path / "Posts.xml",
        answer(9, 1),
        question(1),
        answer(2, 1, 4),
        answer(3, 1, 50),
        row(Id=4, PostTypeId=4, CreationDate="x", Score=9, Body=""),
        question(5),
    )
    pairs, rejects, found = read(path)
    assert ids(pairs) == ["3", "9"]
    assert not rejects
    assert pairs[0]["question"]["Title"] == "Question 1"
    assert pairs[0]["_where"] == "Posts.xml:6"
    counted = {item.value: item.count for item in found if isinstance(item, Fact)}
    assert counted == {"question": 2, "answer": 3, "type 4": 1}


def test_selection_rules(tmp_path: Path) -> None:
    path = dump(
        tmp_path / "Posts.xml",
        question(1, AcceptedAnswerId=3),
        answer(2, 1, 9),
        answer(3, 1, 9),
        answer(4, 1, 5),
        question(5),
        answer(6, 5, 7),
        answer(7, 5, 7),
    )
    assert ids(read(path)[0]) == ["2", "3", "4", "6", "7"]
    assert ids(read(path, answers="top")[0]) == ["3", "6"]
    assert ids(read(path, answers="accepted")[0]) == ["3"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('  <row Id="50" PostTypeId="2" Bo\n', Reason.BAD_XML),
        ("  rubbish\n", Reason.BAD_XML),
        ("  <row Id='51' PostTypeId='2' Score='9' Body='&#x0;<' />\n", Reason.BAD_XML),
        (answer(52, 1).replace("So.", "a\x0bb"), Reason.BAD_XML),
        (answer(53, 1).replace("So.", "a & b"), Reason.BAD_XML),
        (answer(54, 1).replace("So.", "a &bogus; b"), Reason.BAD_XML),
        (answer(55, 1).replace("So.", 'a "quoted" b'), Reason.BAD_XML),
        (answer(56, 1).replace("&lt;p&gt;", "<p>"), Reason.BAD_XML),
        (answer(57, 1).replace('Score="5"', 'Score="5" Score="6"'), Reason.BAD_XML),
        (answer(58, 1).replace("So.", "a\udcffb"), Reason.BAD_ENCODING),
        (answer(59, 1).replace('Score="5"', 'Score="many"'), Reason.BAD_VALUE),
        (answer(60, 1).replace(' Score="5"', ""), Reason.MISSING_FIELD),
        (answer(61, 1).replace(' ParentId="1"', ""), Reason.MISSING_FIELD),
        (answer(62, 1, body="x" * 1_100_000), Reason.TOO_LARGE),
        (answer(63, 404), Reason.ORPHAN),
        (answer(65, 1).rstrip("\n") + answer(66, 1), Reason.BAD_XML),
        (question(64, body="a\x01b"), Reason.BAD_XML),
    ],
)
def test_one_bad_line_is_one_reject(tmp_path: Path, line: str, reason: Reason) -> None:
    path = dump(tmp_path / "Posts.xml", question(1), answer(2, 1), line, answer(3, 1), question(4))
    pairs, rejects, _ = read(path)
    assert ids(pairs) == ["2", "3"]
    assert [reject.reason for reject in rejects] == [reason]
    assert rejects[0].where == "Posts.xml:5"
    assert len(rejects[0].excerpt) <= 500


@pytest.mark.parametrize(
    "line",
    [
        answer(5, 1).replace("  <row", "\t<row").replace(" />", "/>"),
        answer(5, 1).replace('"', "'"),
        answer(5, 1).replace("So.", "&#233;t&#xe9; &#x1F600;"),
        answer(5, 1).replace(" />", "></row>"),
        '  <row Body="&lt;p&gt;So.&lt;/p&gt;" Score="5" ParentId="1" PostTypeId="2" Id="5"/>\n',
        "<!-- a comment -->\n" + answer(5, 1),
        answer(5, 1, body="ends in ="),
        answer(5, 1, body='x="y" z="w"'),
    ],
)
def test_lines_in_another_form_are_rows_too(tmp_path: Path, line: str) -> None:
    path = dump(tmp_path / "Posts.xml", question(1), line, answer(9, 1))
    pairs, rejects, _ = read(path)
    assert ids(pairs) == ["5", "9"]
    assert not rejects
    expected = {
        element.get("Id"): dict(element.attrib) for element in ElementTree.parse(path).getroot()
    }
    for pair in pairs:
        assert pair["answer"] == expected[pair["answer"]["Id"]]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("head", ["", HEAD, "\ufeff" + HEAD, HEAD + "<!DOCTYPE posts>\n"])
def test_prologues_of_real_dumps(tmp_path: Path, head: str, newline: str) -> None:
    path = dump(tmp_path / "p.xml", question(1), answer(2, 1), head=head, newline=newline)
    assert ids(read(path)[0]) == ["2"]


BOMB = '<!DOCTYPE posts [\n<!ENTITY a "lol">\n<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">\n]>\n'
EXTERNAL = '<!DOCTYPE posts [<!ENTITY x SYSTEM "http://127.0.0.1:9/x">]>\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + BOMB + "<posts>\n" + question(1, "&b;") + "</posts>", "entities"),
        (HEAD + EXTERNAL + "<posts>\n" + question(1, "&x;") + "</posts>", "entities"),
        (HEAD + "<posts>\n" + question(1) + answer(2, 1)[:40], "truncated"),
        (HEAD + "<posts>\n" + question(1), "truncated"),
        ("", "no Posts.xml"),
        ("\n\n", "no Posts.xml"),
        ("<!DOCTYPE html>\n<html>\n<p>404</p></html>\n", "no Posts.xml"),
        ("Id,Score\n1,2\n", "no Posts.xml"),
        ("<a>" * 200_000, "no Posts.xml"),
        (HEAD + "<users>\n" + row(Id=1, DisplayName="x") + "</users>", "no Posts.xml"),
        ('<?xml version="1.0" encoding="latin-1"?>\n<posts>\n</posts>', "latin-1"),
        (f"{HEAD}<posts>\n</posts>\n{HEAD}<posts>\n</posts>", "two documents"),
    ],
)
def test_bad_files_are_one_error(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "Posts.xml"
    path.write_text(content, encoding="utf-8")
    watch = Stopwatch()
    with pytest.raises(FileError, match=message) as caught:
        read(path)
    assert caught.value.fix
    assert watch.within(2)


HOSTILE = """
import resource, sys
from pathlib import Path
import lxml.etree, polars, pyarrow
from meadow.sources.stack_exchange import dump as stack_dump
from meadow.schema import Fact, Reject
from meadow.source import Input, Options
from support.stopwatch import Stopwatch
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
watch = Stopwatch()
found = list(stack_dump.read([Input(Path(sys.argv[1]), "p", "health")], Options()))
kinds = ["fact" if isinstance(i, Fact) else i.reason if isinstance(i, Reject) else "pair"
         for i in found]
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024
print(int(watch.within(2)), grown, ",".join(k for k in kinds if k != "fact"))
"""


def measured(path: Path) -> tuple[bool, float, list[str]]:
    """Whether it was quick, MiB beyond the imports, and what came out, in a process alone."""
    result = subprocess.run(
        [sys.executable, "-c", HOSTILE, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    quick, grown, *kinds = result.stdout.split()
    return quick == "1", float(grown), kinds[0].split(",") if kinds else []


@pytest.mark.parametrize("shape", ["one attribute", "many quotes", "nested rows", "one line"])
def test_hostile_rows_cost_little(tmp_path: Path, shape: str) -> None:
    hostile = {
        "one attribute": answer(3, 1, body="a" * 30_000_000),
        "many quotes": '  <row Id="3" ' + 'a="" ' * 6_000_000 + "/>\n",
        "nested rows": '<row Id="3">' * 200_000 + "\n",
        "one line": "x" * 30_000_000,  # the row after it stands on the same line
    }[shape]
    path = dump(tmp_path / "Posts.xml", question(1), hostile, answer(9, 1))
    quick, grown, kinds = measured(path)
    assert quick
    assert grown < 64
    assert kinds == [Reason.TOO_LARGE, "pair"][: 1 if shape == "one line" else 2]


def test_memory_does_not_grow_with_the_dump(tmp_path: Path) -> None:
    grown = []
    for copies in (1, 6):
        path = tmp_path / f"{copies}.xml"
        filler = "y" * 4000
        with path.open("w", encoding="utf-8") as file:
            file.write(HEAD + "<posts>\n" + question(1))
            for number in range(2, 2 + copies * 5000):
                file.write(answer(number, 1, 1, body=filler))
            file.write(answer(10**6, 1) + "</posts>")
        grown.append(measured(path)[1])
    assert grown[1] < grown[0] + 16  # 20 MB against 120 MB of posts


def test_blocks_that_end_anywhere(tmp_path: Path) -> None:
    """Rows survive block borders: about 9 MB of rows whose lengths differ."""
    rows = [question(1)]
    size = 0
    number = 2
    while size < 2 * MAX_ROW_BYTES + 100_000:
        rows.append(answer(number, 1, 5, body="z" * (number * 7919 % 20_000)))
        size += len(rows[-1])
        number += 1
    pairs, rejects, _ = read(dump(tmp_path / "Posts.xml", *rows))
    assert not rejects
    assert ids(pairs) == [str(n) for n in range(2, number)]


text = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")) | st.sampled_from("<>&\"'=\n\t"),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(text, st.integers(0, 9)), max_size=8), st.data())
def test_conservation_and_content_under_corruption(tmp_path_factory, bodies, data) -> None:
    """Good rows come back as written; every corrupted answer line is exactly one reject."""
    path = tmp_path_factory.mktemp("posts") / "Posts.xml"
    lines = [answer(number + 10, 1, score, body) for number, (body, score) in enumerate(bodies)]
    broken = {
        number for number in range(len(lines)) if data.draw(st.booleans(), label=f"break {number}")
    }
    written = [
        line.replace(" Body=", " Body", 1) if number in broken else line
        for number, line in enumerate(lines)
    ]
    pairs, rejects, _ = read(dump(path, question(1), *written))
    assert len(rejects) == len(broken)
    due = [n for n, (_, score) in enumerate(bodies) if n not in broken and score >= 5]
    assert ids(pairs) == [str(n + 10) for n in due]
    for pair, number in zip(pairs, due, strict=True):
        # a raw tab or line break in an attribute is a space to XML; quoteattr escapes both
        assert pair["answer"]["Body"].split() == bodies[number][0].split()


ODD = (
    *("", '"', "'", "<", ">", "&", "\t", "\r", "\n", "\x0b", "\x7f", "\x85", "\ufffe", "\uffff"),
    *("\udcff", "é", "=", "/", " ", "--", "<!--", "-->", "&amp;", "&amp;lt", "&apos;", "&#xA;"),
    *("&#xD;", "&#x9;", "&#10;", "&#x1D;", "&nbsp;", "&#xa;", ' Id="3"', ' Score="3"'),
    *(' Body="&#xD;&#x9;&lt;"', ' DeletionDate="3"', ' Other="3"', ' Tags="3"', "-", "0", "9" * 18),
)


@pytest.mark.parametrize(("deletes", "block"), [(True, 1_000), (False, stack_dump._BLOCK_BYTES)])
def test_no_line_passes_that_the_parser_would_turn_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deletes: bool, block: int
) -> None:
    """Everything odd at every place of a row: what comes out is what parsing every line gives."""
    good = (
        '  <row Id="1" PostTypeId="2" AcceptedAnswerId="7" ParentId="8" '
        'CreationDate="x" Score="5" Body="&lt;b&gt; a &amp;quot;&#xA;" Tags="" CommentCount="0" />'
    )
    task = stack_dump._Range(
        tmp_path / "Posts.xml", "p", "posts", Span(0, sys.maxsize, 1), whole=True
    )
    quick = stack_dump._plain_rows
    monkeypatch.setattr(stack_dump, "_BLOCK_BYTES", block)

    def none(block, root):
        return quick(block, root)[0] & False, np.empty((0, len(stack_dump._COLUMNS)), np.int64)

    for odd in ODD:
        places = (*range(3), *range(6, len(good)))  # other names are another kind of file
        lines = [good[:place] + odd + good[place + len(odd) * deletes :] for place in places]
        dump(task.path, *(f"{line}\n{good}\n-->\n" for line in lines))
        monkeypatch.setattr(stack_dump, "_plain_rows", quick)
        found = stack_dump._scan_range(task)
        monkeypatch.setattr(stack_dump, "_plain_rows", none)
        parsed = stack_dump._scan_range(task)
        assert found.rows[:, :-1].tolist() == parsed.rows[:, :-1].tolist()
        assert (found.rejects, found.kinds) == (parsed.rejects, parsed.kinds)
        data = task.path.read_bytes()
        for *_, offset, size, _, plain in found.rows.tolist():
            line = data[offset : offset + size].strip()
            assert not plain or stack_dump._parse_plain(line) == stack_dump.parse_row(line)


def test_rows_of_dumps_need_no_parser(tmp_path: Path, upstream: Path) -> None:
    """All but the few odd ones: else the expression would have no use."""
    for path in (upstream / "stack_exchange").glob("*.xml"):
        task = stack_dump._Range(path, "p", "posts", Span(0, sys.maxsize, 1), whole=True)
        assert stack_dump._scan_range(task).rows[:, -1].mean() > 0.99
    users = dump(
        tmp_path / "Users.xml", row(Id=-1, Reputation=1, DisplayName="Ann & Co"), root="users"
    )
    task = stack_dump._Range(users, "u", "users", Span(0, sys.maxsize, 1), whole=True)
    assert stack_dump._scan_range(task).rows[:, [0, -1]].tolist() == [[-1, 1]]


def seven_zip(path: Path, **members: Path) -> Path:
    with py7zr.SevenZipFile(path, "w") as archive:
        for name, file in members.items():
            archive.write(file, name.replace("_", "."))
    return path


def test_an_archive_gives_what_its_files_give(tmp_path: Path) -> None:
    posts = dump(tmp_path / "Posts.xml", question(1), answer(2, 1))
    users = dump(
        tmp_path / "Users.xml",
        row(Id=7, DisplayName="Ann & Co"),
        row(Id=-1, DisplayName="Community"),
        root="users",
    )
    archive = seven_zip(
        tmp_path / "health.stackexchange.com.7z", Badges_xml=users, Posts_xml=posts, Users_xml=users
    )
    plain = read(posts, users=users)[0]
    packed = read(archive)[0]
    assert packed[0] | {"_where": ""} == plain[0] | {"_where": ""}
    assert packed[0]["question_name"] == "Ann & Co"
    assert packed[0]["answer_name"] is None
    unnamed = read(archive, site="")[0]
    assert unnamed[0]["site"] == "health"


def test_bad_archives_are_one_error(tmp_path: Path) -> None:
    posts = dump(tmp_path / "Posts.xml", question(1, "random " * 9000), answer(2, 1))
    good = seven_zip(tmp_path / "good.7z", Posts_xml=posts).read_bytes()
    wrong = good[:60] + bytes([good[60] ^ 255]) + good[61:]
    for data in (good[: len(good) // 2], good[:20], wrong, good[:6] + b"\0" * 100):
        path = tmp_path / "bad.7z"
        path.write_bytes(data)
        with pytest.raises(FileError) as caught:
            read(path)
        assert caught.value.where
    empty = seven_zip(tmp_path / "empty.7z", Tags_xml=posts)
    with pytest.raises(FileError, match=r"no Posts\.xml"):
        read(empty)
    locked = tmp_path / "locked.7z"
    with py7zr.SevenZipFile(locked, "w", password="secret") as archive:
        archive.write(posts, "Posts.xml")
    with pytest.raises(FileError, match="encrypted"):
        read(locked)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    huge = tmp_path / "zeros"
    with huge.open("wb") as file:
        file.truncate(40_000_000)
    bomb = seven_zip(tmp_path / "bomb.7z", Posts_xml=huge)
    assert bomb.stat().st_size * 200 < 40_000_000
    with pytest.raises(FileError, match="bomb"):
        read(bomb)


def test_an_archive_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    posts = dump(tmp_path / "Posts.xml", question(1), answer(2, 1))
    archive = seven_zip(tmp_path / "evil.7z", Posts_xml=posts)
    monkeypatch.chdir(tmp_path)
    stack = stack_dump.read([Input(archive, "a", "health")], Options())
    next(iter(stack))
    stack.close()
    assert list(scratch.iterdir()) == []


def test_sites_must_be_clear(tmp_path: Path) -> None:
    path = dump(tmp_path / "Posts.xml", question(1))
    with pytest.raises(UsageError, match="which site"):
        read(path, site="")
    with pytest.raises(UsageError, match="two dumps"):
        read(path, path)
    with pytest.raises(UsageError, match="one file of posts"):
        list(stack_dump.read([Input(path, "u", "health", "users")], Options()))


def in_pieces(folder: Path, size: int, *inputs: Input, **options: str) -> list[object]:
    cutting = Cutting(folder, size)
    pieces = list(stack_dump.read.pieces(inputs, Options(**options), cutting))
    assert all(ForkingPickler.dumps(piece) for piece in pieces)
    return [item for piece in pieces for item in piece()]


@pytest.mark.parametrize("size", [150, 700, 5_000])
@pytest.mark.parametrize("options", [{}, {"answers": "top"}, {"answers": "accepted"}])
def test_pieces_give_what_the_whole_gives(
    tmp_path: Path, size: int, options: dict[str, str]
) -> None:
    rows = []
    for number in range(1, 120, 4):
        rows += [
            question(number, AcceptedAnswerId=number + 2),
            answer(number + 2, number, 5 + number % 3),
            answer(number + 1, number, 5 + number % 2),
            "  <row Id=bad />\n" if number % 3 else answer(number + 3, 999),
        ]
    posts = dump(tmp_path / "Posts.xml", *rows)
    users = dump(
        tmp_path / "Users.xml",
        *(row(Id=number, DisplayName=f"Ann {number}") for number in range(40)),
        root="users",
    )
    archive = seven_zip(tmp_path / "both.7z", Posts_xml=posts, Users_xml=users)
    for inputs in (
        [Input(posts, "p", "health")],
        [Input(posts, "p", "health"), Input(users, "u", "health", "users")],
        [Input(archive, "p", "health")],
    ):
        (folder := tmp_path / inputs[-1].path.name.replace(".", "")).mkdir(exist_ok=True)
        whole = list(stack_dump.read(inputs, Options(**options)))
        assert in_pieces(folder, size, *inputs, **options) == whole
    assert len(whole) > 30


def test_a_comment_over_many_lines_is_read_as_one(tmp_path: Path) -> None:
    rows = [question(1), "<!--\n", *(answer(n, 1) for n in range(2, 20)), "-->\n", answer(30, 1)]
    path = dump(tmp_path / "Posts.xml", *rows)
    item = Input(path, path.name, "health")
    assert in_pieces(tmp_path, 300, item) == list(stack_dump.read([item], Options()))
    path.write_bytes(path.read_bytes().removesuffix(b"</posts>"))
    with pytest.raises(FileError, match="truncated: it ends on line 24"):
        in_pieces(tmp_path, 300, item)


def preferences(path: Path) -> Path:
    site = "https://health.stackexchange.com"
    answers = [
        {"answer_id": number, "author": author, "author_id": number, "pm_score": pm_score,
         "author_profile": f"{site}/users/{number}", "selected": selected, "text": "<p>So.</p>"}
        for number, author, pm_score, selected in (
            (11, "ann", 3, False),
            (12, "ben", 3, True),  # four votes and accepted
            (13, "cem", 4, True),
            (14, "dan", -1, False),
        )
    ]  # fmt: skip
    row = {"qid": 1, "question": "<p>Why?</p>", "answers": answers, "date": "2016/01/12",
           "metadata": [f"{site}/questions/1", site, f"{site}/users/16/"]}  # fmt: skip
    pq.write_table(pa.Table.from_pylist([row]), path)
    return path


def test_the_parquet_route_of_2023(tmp_path: Path) -> None:
    path = preferences(tmp_path / "part-0.parquet")
    pairs, rejects, _ = read(path)
    assert ids(pairs) == ["11", "13"]
    assert not rejects
    assert pairs[0]["answer_name"] == "ann"
    assert pairs[0]["question"]["OwnerUserId"] == "16"
    assert ids(read(path, answers="accepted")[0]) == ["13"]
    assert ids(read(path, answers="top")[0]) == ["13"]


def test_parquet_of_another_layout_is_a_change_of_upstream(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"qid": [1], "question": ["x"]}), path)
    with pytest.raises(UpstreamChangedError, match="answers"):
        read(path)
    path.write_bytes(b"PAR1" + b"\0" * 100)
    with pytest.raises(FileError):
        read(path)


def test_a_reference_that_xml_has_not_costs_its_character_and_no_row(tmp_path: Path) -> None:
    bad = answer(4, 1).replace("So.", "a&#x1D;b&#0;&#xD83D;&#xDC8A;c&#xDC8A;d&#10;e&#xFFFF;")
    pairs, rejects, _ = read(dump(tmp_path / "p.xml", question(1), bad, answer(5, 1)))
    assert not rejects
    first, second = (pair["answer"] for pair in pairs)
    assert "ab\N{PILL}cd\ne" in first["Body"]
    assert first[stack_dump.REPAIRED] == "5"
    assert stack_dump.REPAIRED not in second


@pytest.mark.parametrize("whole", [True, False])
def test_deleted_posts_are_no_pairs(tmp_path: Path, whole: bool) -> None:
    gone = question(9, DeletionDate="2020-02-02T00:00:00.000")
    late = answer(3, 1, 99).replace("Score", 'DeletionDate="2020-02-02T00:00:00.000" Score')
    path = dump(tmp_path / "p.xml", question(1), answer(2, 1), late, gone, answer(10, 9))
    pairs, rejects, _ = read(path, answers="all" if whole else "top")
    assert ids(pairs) == ["2"]
    assert [reject.reason for reject in rejects] == [Reason.DELETED] * 2


@pytest.mark.parametrize(
    ("before", "inside"),
    [
        ("<!-- one\ntwo -->\n", ""),
        ("<!--\n<posts>\n-->", ""),
        ("", "<!--\n<row Id='77' PostTypeId='2' Score='9' ParentId='1' />\n-->\n"),
        ("", "<!--\n\n--> "),
        ("", "<!-- a --><!-- b\n-->\n"),
    ],
)
def test_comments_of_several_lines(tmp_path: Path, before: str, inside: str) -> None:
    path = dump(tmp_path / "p.xml", question(1), inside, answer(2, 1), head=HEAD + before)
    pairs, rejects, _ = read(path)
    assert (ids(pairs), rejects) == (["2"], [])
    assert pairs[0]["answer"]["Body"] == "<p>So.</p>"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Fitness.StackExchange.com", "fitness"),
        ("fitness.stackexchange", "fitness"),
        ("https://fitness.stackexchange.com/", "fitness"),
        ("cooking.meta", "cooking.meta.stackexchange.com"),
        ("https://askubuntu.com", "askubuntu.com"),
        *((wrong, None) for wrong in ("our site", "a_b", "a..com", "-a.com", "fitness (2)")),
    ],
)
def test_names_of_sites(given: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(UsageError, match="is no site"):
            stack_dump.site_name(given)
    else:
        assert stack_dump.site_name(given) == name


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("askubuntu.com-Posts.7z", "askubuntu.com"),
        ("fitness.stackexchange.com (2).7z", "fitness"),
        ("fitness.meta.stackexchange.com.7z", "fitness.meta.stackexchange.com"),
    ],
)
def test_an_archive_says_its_site(name: str, site: str) -> None:
    ((found, _, users),) = stack_dump.group_by_site(
        [Input(Path(name), name), Input(Path("askubuntu.com-Users.7z"), "u", site)]
    )
    assert found == site
    assert users is not None


def test_an_address_as_a_site_is_whole_again() -> None:
    item = Input(Path("p.xml"), "p.xml", "https", "//fitness.stackexchange.com")
    assert stack_dump.group_by_site([item])[0][0] == "fitness"


@pytest.mark.parametrize(
    ("name", "head", "message"),
    [
        ("Posts.xml", (HEAD + "<posts>\n").encode("utf-16"), "UTF-8"),
        ("Posts.xml.packed", b"\x1f\x8b\x08", "gzip"),
        ("Posts.xml.packed", b"BZh9", "bzip2"),
        ("Posts.xml.packed", b"PK\x03\x04", "zip"),
        ("Posts.xml.packed", b"\x28\xb5\x2f\xfd", "Zstandard"),
        ("fitness.7z.001", b"7z\xbc\xaf\x27\x1c", "one part of a split 7z"),
    ],
)
def test_what_is_no_plain_dump_is_named(
    tmp_path: Path, name: str, head: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(head + b"x" * 40)
    with pytest.raises(FileError, match=message):
        read(path)


def test_the_real_dumps_against_pandas(upstream: Path) -> None:
    import pandas as pd

    found: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    for path in sorted((upstream / "stack_exchange").glob("*.xml")):
        pairs, rejects, _ = read(path, site=path.name.split("_")[0])
        assert not rejects
        found[path.name] = len(pairs)
        frame = pd.read_xml(path, xpath="/posts/row", parser="lxml")
        answers = frame[(frame.PostTypeId == 2) & (frame.Score >= 5)]
        questions = frame[frame.PostTypeId == 1]
        merged = answers.merge(questions, left_on="ParentId", right_on="Id")
        expected[path.name] = len(merged)
        assert ids(pairs) == [str(n) for n in sorted(merged.Id_x)]
    assert found == expected
    assert sum(found.values()) == 2140


def test_utf_16_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "Posts.xml"
    path.write_text(HEAD + "<posts>\n</posts>", encoding="utf-16")
    with pytest.raises(FileError, match="UTF-8"):
        read(path)


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (b"\x1f\x8b\x08", "gzip"),
        (b"BZh9", "bzip2"),
        (b"PK\x03\x04", "zip"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
    ],
)
def test_a_packed_dump_is_named(tmp_path: Path, head: bytes, form: str) -> None:
    path = tmp_path / "Posts.xml.packed"
    path.write_bytes(head + b"x" * 40)
    with pytest.raises(FileError, match=form):
        read(path)
