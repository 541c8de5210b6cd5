"""The second pair of eyes: planted losses are found, and a clean build has none."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pyarrow as pa
import pytest
from click.testing import CliRunner

import meadow
from meadow.cli.corpus import check
from meadow.corpus.folder import Corpus
from meadow.corpus.shards import write_parquet
from meadow.errors import UsageError
from meadow.quality.against_raw import Comparison, compare_with_raw
from meadow.quality.raw_words import html_words, tokens
from meadow.samples import FOLDER
from meadow.schema import arrow_schema

ANSWER = """<p>Give 10<sup>5.5</sup> units of drug A (&lt; 5 mg/kg) at &minus;20&nbsp;°C, then see
<a href="https://example.org/a_b">the label</a>.</p>
<ol><li>first, <b>2.5 mg</b></li><li>then C<sub>max</sub> &plusmn; 3 %</li></ol>
<table><tr><th>Route</th><th>Dose</th></tr><tr><td>oral</td><td>20 mg</td></tr></table>
<pre><code>dose = weight * 0.5  # not 0.7
</code></pre>
<p>It is seen on the <em>second</em> day.</p>"""


def dump(answer: str) -> str:
    rows = (
        f'<row Id="1" PostTypeId="1" Score="9" CreationDate="2020-01-02T00:00:00" Title="How much'
        f' of it?" Body={quoteattr("<p>What is the usual dose in adults, please?</p>")} />\n'
        f'<row Id="2" PostTypeId="2" ParentId="1" Score="9" CreationDate="2020-01-02T00:00:00"'
        f" Body={quoteattr(answer)} />\n"
    )
    return f'<?xml version="1.0" encoding="utf-8"?>\n<posts>\n{rows}</posts>\n'


def medqa(question: str) -> str:
    options = {"A": "5 mg of it", "B": "50 mg of it"}
    row = {"question": question, "options": options, "answer_idx": "A", "answer": options["A"]}
    other = {**row, "question": "Which of these is the first drug of choice in a child?"}
    return "".join(json.dumps(each) + "\n" for each in (row, other))


QUESTION = "A 45-year-old man has a potassium of 2.9 mEq/L.\nWhat is the dose of drug A?"


def built(folder: Path, name: str, file: str, content: str) -> Corpus:
    (folder / file).write_text(content)
    return meadow.build(out=folder / "corpus", files={name: folder / file})


def planted(corpus: Corpus, file: Path, content: str | bytes) -> dict[str, Comparison]:
    """What is found where the raw file says something else than the rows that were made of it."""
    data = content.encode() if isinstance(content, str) else content
    file.write_bytes(data)
    path = corpus.folder / "MANIFEST.json"
    manifest: dict[str, Any] = json.loads(path.read_text())
    for entry in manifest["sources"].values():
        entry["inputs"][0] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(manifest))
    return compare_with_raw(Corpus.open(corpus.folder), file.parent)


WIKI = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/"><siteinfo><sitename>W</sitename>
<base>https://www.example.org/wiki/Main</base></siteinfo><page><title>Asthma</title><ns>0</ns>
<id>1</id><revision><id>2</id><timestamp>2020-01-02T00:00:00Z</timestamp><text>Lead text.

== Treatment ==
Give [[Drug A|drug A]], '''20''' mg/kg{{Citation needed}}, or
10&lt;sup&gt;5.5&lt;/sup&gt; units, {{convert|70|to|80|kg|lb|0}} and
{{val|3|e=4}} cells.&lt;ref&gt;A paper&lt;/ref&gt;
# first a dose of 5 mg
# then a dose of 10 mg
{| class="wikitable"
! Route !! Dose
|-
| oral || 20 mg
|}
</text></revision></page></mediawiki>
"""
NOTE = (
    "#separator:tab\n#html:true\n#guid column:1\n#notetype column:2\na1\tCloze\tThe {{c1::kidney "
    "makes {{c2::epo}} of 165 parts}} when {{c1,3::oxygen::gas}} is low.\t\n"
)
RAW: dict[str, tuple[str, str, int]] = {
    "stack_exchange:biology": ("Posts.xml", dump(ANSWER), 1),
    "medqa": ("train.jsonl", medqa(QUESTION), 2),  # told by its words: it has no upstream id
    "anki": ("notes.txt", NOTE, 3),  # gaps are read from the inside out
    "wikidoc": ("pages.xml", WIKI, 1),
}
PLANTED = {
    "stack_exchange:biology": [
        ("10&lt;sup&gt;5.5&lt;/sup&gt;", "105.5", "missing '105.5', added '10 ^5.5'"),
        ("2.5 mg", "25 mg", "missing '25', added '2.5'"),
        ("C&lt;sub&gt;max&lt;/sub&gt;", "C&lt;sup&gt;max&lt;/sup&gt;", "missing '^max', added"),
        ("&amp;minus;20", "20", "missing '20', added '-20'"),
        ("&amp;lt; 5", "&amp;gt; 5", "missing '>', added '<'"),
        ("20 mg&lt;/td&gt;", "20 mg&lt;/td&gt;&lt;td&gt;daily&lt;/td&gt;", "missing 'daily'"),
        ("&lt;li&gt;first, ", "&lt;li&gt;zero&lt;/li&gt;&lt;li&gt;first, ", "missing 'zero 2'"),
        ("weight * 0.5", "weight * 0.6", "missing '0.6', added '0.5'"),
        ("&lt;em&gt;second", "&lt;em&gt;very second", "missing 'very', added ''"),
    ],
    "medqa": [
        ("2.9", "29", "missing '29', added '2.9'"),
        ("of drug A", "of the drug A", "missing 'the', added ''"),
    ],
    "anki": [("165", "156", "156"), ("oxygen", "nitrogen", "nitrogen")],
    "wikidoc": [
        ("20 mg", "2 mg", "missing '2', added '20'"),
        ("drug A]]", "drug B]]", "missing 'B', added 'A'"),
        # the numbers of a template, though not its words
        ("|70|to", "|71|to", ""),
        ("|to|80", "|to|90", ""),
        ("{{val|3|e=4}}", "{{val|3|e=5}}", ""),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new", "shown"),
    [(name, *change) for name, changes in PLANTED.items() for change in changes],
)
def test_a_planted_difference_is_found_and_shown(
    tmp_path: Path, name: str, old: str, new: str, shown: str
) -> None:
    file, content, rows = RAW[name]
    assert old in content
    corpus = built(tmp_path, name, file, content)
    source = name.partition(":")[0]
    clean = compare_with_raw(corpus, tmp_path)[source]
    assert (clean.compared, clean.findings, clean.not_checked) == (rows, [], "")
    found = planted(corpus, tmp_path / file, content.replace(old, new))[source]
    assert shown in found.findings[0].detail
    ids = corpus.to_arrow(columns=["id"])["id"].to_pylist()
    wrong = {finding.where for finding in found.findings}
    assert wrong <= set(ids)
    assert len(wrong) == (1 if source == "medqa" else rows)


OWN = """name = "mine"
title = "Mine"
license = "cc0-1.0"
free_text = false
[read]
format = "jsonl"
parse = ["asked"]
[row]
task = "open_qa"
instruction = "{asked.text}"
output = "{answer}"
"""


def test_a_column_of_json_texts_is_read_a_second_time(tmp_path: Path) -> None:
    asked = json.dumps({"text": "What is the dose of drug A in adults?"})
    line = json.dumps({"asked": asked, "answer": "Take 5 mg of it twice a day."})
    (tmp_path / "mine.toml").write_text(OWN)
    (tmp_path / "rows.jsonl").write_text(f"{line}\n")
    files = {"mine": tmp_path / "rows.jsonl"}
    corpus = meadow.build(own=[tmp_path / "mine.toml"], out=tmp_path / "corpus", files=files)
    assert compare_with_raw(corpus, tmp_path)["mine"].findings == []
    found = planted(corpus, tmp_path / "rows.jsonl", line.replace("drug A", "drug B"))["mine"]
    assert "missing 'B', added 'A'" in found.findings[0].detail


def test_rows_that_a_model_worked_on_are_counted_and_not_compared(tmp_path: Path) -> None:
    corpus = built(tmp_path, "medqa", "train.jsonl", medqa(QUESTION))
    (shard,) = corpus.files()
    rows = corpus.to_polars().to_dicts()
    rows[0] |= {"output": "Words of its own.", "rephrased_by": "m"}
    write_parquet(pa.Table.from_pylist(rows, arrow_schema()), shard)
    found = compare_with_raw(corpus, tmp_path)["medqa"]
    assert (found.rows, found.rewritten, found.compared, found.findings) == (2, 1, 1, [])


def test_a_damaged_raw_file_is_a_finding(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl.gz"
    packed = gzip.compress(medqa(QUESTION).encode())
    file.write_bytes(packed)
    corpus = meadow.build(out=tmp_path / "corpus", files={"medqa": file})
    assert compare_with_raw(corpus, tmp_path)["medqa"].findings == []
    found = planted(corpus, file, packed[:-20])["medqa"]
    assert "truncated or damaged" in found.findings[0].detail
    assert {finding.kind for finding in found.findings} == {"raw_unreadable", "untraced_row"}


def test_a_row_that_no_raw_text_is_like_is_a_finding(tmp_path: Path) -> None:
    corpus = built(tmp_path, "stack_exchange:biology", "Posts.xml", dump(ANSWER))
    content = dump(ANSWER).replace('Id="2"', 'Id="3"')
    found = planted(corpus, tmp_path / "Posts.xml", content)["stack_exchange"]
    assert [finding.kind for finding in found.findings] == ["untraced_row"]


def test_what_a_counted_repair_did_is_explained_and_counted(tmp_path: Path) -> None:
    answer = "<p>Write to me at someone.else@example-clinic.org about the dose of 5 mg.</p>"
    corpus = built(tmp_path, "stack_exchange:biology", "Posts.xml", dump(answer))
    found = compare_with_raw(corpus, tmp_path)["stack_exchange"]
    assert (dict(found.explained), found.findings) == ({"scrubbed_email": 1}, [])


COURTESY = "Hello. Thanks for your question on Health Care Magic. {} Take 5 mg of it twice a day."


def chat(answer: str) -> str:
    row = {"instruction": "", "input": "What is the dose of drug A in adults?", "output": answer}
    return json.dumps([row])


def test_a_courtesy_is_explained_by_what_is_noted_of_it_and_no_more(tmp_path: Path) -> None:
    content = chat(COURTESY.format(""))
    corpus = built(tmp_path, "chatdoctor", "chatdoctor5k.json", content)
    found = compare_with_raw(corpus, tmp_path)["chatdoctor"]
    assert (dict(found.explained), found.findings) == ({"removed_courtesy": 1}, [])
    content = chat(COURTESY.format("Call 911 now."))
    found = planted(corpus, tmp_path / "chatdoctor5k.json", content)["chatdoctor"]
    assert "911" in found.findings[0].detail


SIGNED = "Take 5 mg of it twice a day, with food. Hope this helps. Regards, Dr. {}"


def test_a_name_is_gone_only_from_the_place_that_its_courtesy_notes(tmp_path: Path) -> None:
    corpus = built(tmp_path, "chatdoctor", "chatdoctor5k.json", chat(SIGNED.format("Anna O'Neil")))
    found = compare_with_raw(corpus, tmp_path)["chatdoctor"]
    assert (dict(found.explained), found.findings) == ({"removed_courtesy": 1}, [])
    for other in (SIGNED.format("911"), SIGNED.format("Anna").replace("Hope", "Stop it. Hope")):
        found = planted(corpus, tmp_path / "chatdoctor5k.json", chat(other))["chatdoctor"]
        assert len(found.findings) == 1, other


def test_rows_behind_a_damaged_line_are_still_compared(tmp_path: Path) -> None:
    damaged = '<row Id="7" PostTypeId="2" Body="cut short &lt;p />\n<row Id=8 />\n'
    content = dump(ANSWER).replace("<posts>\n", f"<posts>\n{damaged}")
    corpus = built(tmp_path, "stack_exchange:biology", "Posts.xml", content)
    found = compare_with_raw(corpus, tmp_path)["stack_exchange"]
    assert (found.rows, found.compared, found.findings) == (1, 1, [])
    changed = planted(corpus, tmp_path / "Posts.xml", content.replace("2.5 mg", "25 mg"))
    assert "missing '25', added '2.5'" in changed["stack_exchange"].findings[0].detail


def test_a_row_that_begins_where_another_broke_off_is_compared(tmp_path: Path) -> None:
    content = dump(ANSWER).replace("<row", '<row Id="7" PostTypeId="2" Body="cut sh\n<row', 1)
    corpus = built(tmp_path, "stack_exchange:biology", "Posts.xml", content)
    found = compare_with_raw(corpus, tmp_path)["stack_exchange"]
    assert (found.rows, found.compared, found.findings) == (1, 1, [])


def test_the_samples_say_what_stands_upstream(tmp_path: Path) -> None:
    corpus = meadow.build(out=tmp_path / "corpus", raw=FOLDER)
    compared = compare_with_raw(corpus, FOLDER)
    assert {name: found.findings for name, found in compared.items() if found.findings} == {}
    for name, found in compared.items():
        assert found.compared == (0 if found.not_checked else found.rows), name
    told = {name for name, found in compared.items() if found.not_checked}
    assert told == {"wikidoc", "wikidoc_patient_information"}  # pages as HTML


def test_the_documents_of_a_folder_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for place, dose in (("1_A_QA", "5 mg"), ("2_B_QA", "7 mg")):
        (tmp_path / "raw" / place).mkdir(parents=True)
        (tmp_path / "raw" / place / "0000001.xml").write_text(
            f'<Document id="0000001" source="S" url="https://example.org/{place}"><Focus>Drug A'
            f'</Focus><QAPairs><QAPair pid="1"><Question qid="0000001-1" qtype="usage">'
            f"What is the dose in {place}?</Question><Answer>Take {dose} of it twice a day, with "
            "some food.</Answer></QAPair></QAPairs></Document>"
        )
    corpus = meadow.build(out=tmp_path / "corpus", files={"medquad": tmp_path / "raw"})
    found = compare_with_raw(corpus, tmp_path / "raw")["medquad"]
    assert (found.rows, found.compared, found.findings) == (2, 2, [])


def test_the_command_names_what_it_did_and_what_it_could_not_do(tmp_path: Path) -> None:
    built(tmp_path, "medqa", "train.jsonl", medqa(QUESTION))
    arguments = [str(tmp_path / "corpus"), "--against-raw", str(tmp_path), "--json"]
    result = CliRunner().invoke(check, arguments)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["against_raw"]["medqa"]
    assert (told["compared"], told["rows"], told["findings"]) == (2, 2, 0)
    (tmp_path / "train.jsonl").unlink()
    result = CliRunner().invoke(check, arguments)
    assert result.exit_code == 1
    assert "not checked: no raw file train.jsonl" in result.stderr


def test_tokens_tell_raised_from_plain_and_signs_from_dashes() -> None:
    assert tokens("10⁵·⁵") == tokens("10^(5)·^(5)")
    assert tokens("10⁻⁶") == tokens("10^(-6)") == tokens(html_words("10<sup>–6</sup>"))
    assert tokens("10⁶") == tokens("10^6") != tokens("106")
    assert tokens("a −5, 5–10") == ["a", "-5", "5", "10"]
    assert tokens("p<0.05") == ["p", "<", "0.05"]
    assert tokens("**5** mg", marked=True) == tokens("5 mg")


REAL = {
    "stack_exchange:coffee": "stack_exchange/Yoav-Shafir_Posts.xml",
    "stack_exchange:ai": "stack_exchange/sasiddiqui_Posts.xml",
    "stack_exchange:alcohol": "stack_exchange/kevswanberg_Posts.xml",
    "stack_exchange:matheducators": "stack_exchange/jrfoster_Posts.xml",
    "stack_exchange:quantumcomputing": "stack_exchange/Jean-Low_Posts.xml",
    "stack_exchange:mattly.meta": "stack_exchange/mattly_Posts.xml",
    "stack_exchange:stevenrskelton.meta": "stack_exchange/stevenrskelton_Posts.xml",
    "wikidoc:pages": "mediawiki/xml/enwiki-latest*.bz2",
    "wikidoc:tables": "mediawiki/xml/enwiki-table-markup.xml.bz2",
    "anki": "anki/mcat_exports/notes_html_True.txt",
    "anki:deck": "anki/MCAT_High_Yield.apkg",
    "wikidoc_patient_information": "wikidoc/medical_meadow_wikidoc_patient_info.json",
    "medqa": "medqa/questions_US_dev.jsonl",
    "mmmlu:anatomy": "mmlu/anatomy_test.csv",
    "pubmed_causal": "pubmed_causal/data/pubmed_causal_language_use.csv",
    "health_advice": "health_advice/data/annotations_discussion.csv",
    "mediqa_qa": "mediqa/MEDIQA_Task3_QA/MEDIQA2019-Task3-QA-ValidationSet.xml",
    "medquad": "medquad/medquad.tar.gz",
    "alpaca": "alpaca/llamafactory_alpaca_en_demo.json",
    "chatdoctor": "chatdoctor/chatdoctor5k.json",
    "cord19": "cord19/metadata_a.csv",
}


@pytest.mark.realdata
@pytest.mark.parametrize("most", [25, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", REAL)
def test_real_rows_say_what_stands_upstream(
    tmp_path: Path, upstream: Path, name: str, most: int | None
) -> None:
    (file,) = upstream.glob(REAL[name])
    corpus = meadow.build(out=tmp_path / "corpus", files={name: file})
    ((_, found),) = compare_with_raw(corpus, file.parent, most=most).items()
    assert [finding.detail for finding in found.findings] == []
    assert found.not_checked == ""
    assert found.compared == found.rows > 0


def test_a_folder_without_raw_files_of_its_own_is_refused(tmp_path: Path) -> None:
    corpus = built(tmp_path, "medqa", "train.jsonl", medqa(QUESTION))
    mixed = Corpus(corpus.folder, replace(corpus.manifest, stage="mix"))
    with pytest.raises(UsageError, match="no raw files of its own"):
        compare_with_raw(mixed, tmp_path)


def test_what_has_no_second_reader_is_named_and_is_no_finding(tmp_path: Path) -> None:
    page = (
        '<div class="mw-parser-output"><h2 id="Treatment">Treatment'
        f"</h2><p>{'Give 5 mg of drug A once a day, with food. ' * 3}</p></div>"
    )
    store = json.dumps({"title": "Asthma", "html": page, "url": "https://example.org/Asthma"})
    corpus = built(tmp_path, "wikidoc", "pages.jsonl", store)
    found = compare_with_raw(corpus, tmp_path)["wikidoc"]
    assert (found.rows, found.compared, found.findings) == (1, 0, [])
    assert "no second reader" in found.not_checked
