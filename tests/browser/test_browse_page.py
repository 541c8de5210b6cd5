"""The browse page in a real browser: rows by ranges, search, filters, links, hostile text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import polars as pl
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from support.corpora import (
    HOSTILE,
    hostile_records,
    plain_records,
    source_entry,
    write_build,
    write_corpus,
    write_mix,
)

import meadow
from meadow.prompt import alpaca, medalpaca
from meadow.quality.browse import application, write_site
from meadow.samples import FOLDER as SAMPLES
from meadow.schema import Task, dump_meta, join_turns, make_record

pytestmark = pytest.mark.browser
ROWS = 60_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with one shard of 60,000 rows, one source in three shards, and hostile text."""
    folder = tmp_path_factory.mktemp("large")
    entries = {
        "wikidoc": source_entry(folder, "wikidoc", plain_records(ROWS), {"empty_output": 7}),
        "medqa": source_entry(folder, "medqa", plain_records(900, "medqa", 2), slices=3),
        "forum": source_entry(folder, "forum", hostile_records()),
    }
    return write_build(folder, entries)


@pytest.fixture(scope="module")
def site(large: Path, tmp_path_factory: pytest.TempPathFactory, serve_app: Any) -> str:
    """The static page on one origin, the shards on another: as a static Space has it."""
    shards = serve_app(
        Starlette(
            routes=[Mount("/", StaticFiles(directory=large))],
            middleware=[Middleware(CORSMiddleware, allow_origins=["*"], allow_headers=["Range"])],
        )
    )
    folder = tmp_path_factory.mktemp("site")
    write_site(folder, shard_origin=shards, title="Static <page>")
    address: str = serve_app(
        Starlette(routes=[Mount("/", StaticFiles(directory=folder, html=True))])
    )
    (folder / "shards.json").write_text(json.dumps(shards))
    return address


def test_first_fifty_rows_cost_less_than_a_fifth_of_the_shard(large: Path, visit: Any) -> None:
    watched = visit(large, "#source=wikidoc")
    assert "case 0?" in watched.row()
    watched.page.wait_for_load_state("networkidle")
    assert watched.page.locator(".rows li").count() == 50
    size = (large / "data/wikidoc/train-00000-of-00001.parquet").stat().st_size
    print(f"bytes for the first 50 rows: {watched.shard_bytes:,} of {size:,}")
    assert watched.shard_bytes < 0.2 * size


def test_jump_to_a_row_in_the_middle(large: Path, visit: Any) -> None:
    watched = visit(large, "#source=wikidoc")
    watched.row()
    watched.page.fill("#goto", "31234")
    watched.page.keyboard.press("Enter")
    watched.until("document.querySelector('.record h2')?.innerText.includes('31,234')")
    assert "What is known about case 31234?" in watched.row()
    assert watched.page.inner_text(".rows a[aria-current] .number") == "31,234"
    assert "row=31234" in watched.page.url
    size = (large / "data/wikidoc/train-00000-of-00001.parquet").stat().st_size
    assert watched.shard_bytes < 0.5 * size


def test_deep_links_by_row_and_by_id(large: Path, visit: Any) -> None:
    record = plain_records(900, "medqa", 2)[700]
    watched = visit(large, "#source=medqa&row=700")
    assert record.id in watched.row()
    other = visit(large, f"#source=medqa&id={record.id}")
    assert "case 700?" in other.row()
    assert "row=700" in other.page.url
    missing = visit(large, "#source=medqa&row=900")
    missing.page.wait_for_selector(".detail .problem")
    assert "the last one is 899" in missing.page.inner_text(".detail")


def test_rows_are_read_across_shards(large: Path, visit: Any) -> None:
    watched = visit(large, "#source=medqa&row=299")
    assert "case 299?" in watched.row()
    watched.page.keyboard.press("j")
    watched.until("document.querySelector('.record h2')?.innerText.includes('300')")
    assert "case 300?" in watched.row()


def test_a_conversation_is_read_from_its_beginning(tmp_path: Path, visit: Any) -> None:
    turns = ["Who sang \U0001f3b5?", "Assistant: a bird."]
    talk = plain_records(1)[0]._replace(
        instruction="And then?", input=join_turns(turns), output="It flew.", rephrased_by="teacher",
        meta=dump_meta({"turns": [len(turn) for turn in turns]}),
    )  # fmt: skip
    place = write_corpus(tmp_path / "corpus", [talk]).folder
    watched = visit(place, f"#source={talk.source}&row=0&template=fields")
    watched.row()
    shown = watched.page.eval_on_selector_all(
        ".field", "all => all.map(one => [one.querySelector('h3').firstChild.data, "
        "one.querySelector('.value').textContent])"
    )  # fmt: skip
    assert shown == [
        ["User", turns[0]], ["Assistant", turns[1]], ["User", "And then?"],
        ["Assistant: the response", "It flew."],
    ]  # fmt: skip


@pytest.mark.parametrize("template", ["medalpaca", "alpaca"])
def test_the_prompt_is_the_one_that_training_uses(large: Path, visit: Any, template: str) -> None:
    frame = {"medalpaca": medalpaca, "alpaca": alpaca}[template]
    record = plain_records(900, "medqa", 2)[7]
    watched = visit(large, f"#source=medqa&row=7&template={template}")
    watched.row()
    shown = watched.page.eval_on_selector(".prompt", "node => node.textContent")
    assert shown == frame(record.instruction, record.input) + record.output


def test_hostile_text_is_text(large: Path, serve: Any, watch: Any, visit: Any) -> None:
    watched = watch()
    for row, text in enumerate(HOSTILE):
        watched.page.goto(serve(large) + f"#source=forum&row={row}")
        watched.until(f"document.querySelector('.record h2')?.innerText.startsWith('Row {row} ')")
        shown = watched.page.eval_on_selector(".prompt", "node => node.textContent")
        assert text in shown
        assert watched.page.evaluate("window.hacked") is None
        assert watched.page.locator("main script, main img, main iframe").count() == 0
        hrefs = watched.page.eval_on_selector_all("a", "nodes => nodes.map(a => a.protocol)")
        assert set(hrefs) <= {"http:", "https:"}
    overview = visit(large)
    overview.page.wait_for_selector(".overview .card")
    assert HOSTILE[0] in overview.page.inner_text("main")
    assert overview.page.evaluate("window.hacked") is None


def numbers_of(watched: Any) -> tuple[str, list[int]]:
    """The status line and the row numbers of the first page, once a search is over."""
    page = watched.page
    watched.until(
        "(() => { const s = document.querySelector('.status')?.innerText ?? '';"
        " const due = Math.min(50, Number(s.split(' of ')[0].replaceAll(',', '')));"
        " return / of /.test(s) && !s.includes('…')"
        " && document.querySelectorAll('.rows a').length === due })()"
    )
    rows = page.eval_on_selector_all(".rows a", "nodes => nodes.map(a => Number(a.dataset.row))")
    return page.inner_text(".status"), rows


QUERIES: list[tuple[str, Callable[[Any], bool]]] = [
    ("q=%22case+12%22", lambda r: "case 12" in r.input.lower()),
    (
        "q=SEPSIS+stroke&task=open_qa",
        lambda r: (
            r.task == Task.OPEN_QA
            and all(
                w in f"{r.instruction}\n{r.input}\n{r.output}".lower() for w in ("sepsis", "stroke")
            )
        ),
    ),
    ("license=mit&max=40", lambda r: r.license == "mit" and len(r.output) <= 40),
    ("min=380", lambda r: len(r.output) >= 380),
    ("q=nothinghasthisword", lambda r: False),
]


@pytest.mark.parametrize(("query", "passes"), QUERIES, ids=[query for query, _ in QUERIES])
def test_server_and_static_page_find_the_same_rows(
    large: Path, serve: Any, site: str, watch: Any, query: str, passes: Callable[[Any], bool]
) -> None:
    wanted = [i for i, record in enumerate(plain_records(900, "medqa", 2)) if passes(record)]
    for address in (serve(large), site):
        watched = watch()
        watched.page.goto(f"{address}#source=medqa&{query}")
        status, rows = numbers_of(watched)
        assert status == f"{len(wanted):,} of 900 rows"
        assert rows == wanted[:50]
    if not wanted:
        assert watched.page.inner_text(".rows") == "No row passes."
    else:
        terms = re.findall(r"[a-zA-Z]+", query.split("&")[0].removeprefix("q="))
        if query.startswith("q=") and terms:
            watched.page.wait_for_selector(".rows mark, .prompt mark")
        else:
            assert watched.page.locator(".rows mark, .prompt mark").count() == 0


def test_search_by_hand_and_walk_the_results(large: Path, visit: Any) -> None:
    watched = visit(large, "#source=wikidoc")
    page = watched.page
    watched.row()
    page.keyboard.press("/")
    page.keyboard.type('"case 59999?"')
    page.keyboard.press("Enter")
    status, rows = numbers_of(watched)
    assert (status, rows) == ("1 of 60,000 rows", [59_999])
    watched.until("document.querySelector('.record h2')?.innerText.includes('59,999')")
    page.keyboard.press("f")
    page.wait_for_selector(".filters[open]")
    watched.until("document.querySelectorAll('#pick-task option').length === 3")
    page.click("text=Clear all")
    watched.until("document.querySelector('.status').innerText === '60,000 rows'")
    page.select_option("#pick-task", "summarization")
    status, rows = numbers_of(watched)
    assert status == "20,000 of 60,000 rows"
    assert rows == list(range(0, 150, 3))
    page.keyboard.press("Escape")
    page.eval_on_selector("#main", "node => node.focus()")
    page.keyboard.press("]")
    watched.until("document.querySelector('.range').innerText === '51 – 100'")
    watched.until("document.querySelector('.record h2')?.innerText.includes('Row 150')")


def test_the_page_asks_only_its_own_origin_and_the_shards(
    large: Path, site: str, watch: Any
) -> None:
    watched = watch()
    watched.page.goto(site + "#source=wikidoc&row=31234")
    assert "case 31234?" in watched.row()
    watched.page.goto(site + "#overview")
    watched.page.wait_for_selector(".overview .card")
    assert watched.page.inner_text("#title") == "Static <page>"
    watched.page.wait_for_load_state("networkidle")
    policy = watched.page.get_attribute("meta[http-equiv]", "content")
    origins = {f"{u.scheme}://{u.netloc}" for u in map(urlsplit, watched.requests)}
    shard_origin = re.search(r"connect-src 'self' (\S+);", policy)
    assert shard_origin is not None
    assert origins == {site.rstrip("/"), shard_origin.group(1)}
    blocked = watched.page.evaluate(
        "fetch('http://127.0.0.1:9/').then(() => 'sent', error => error.name)"
    )
    assert blocked == "TypeError"
    assert any("Content Security Policy" in text for text in watched.complaints)
    # The refusal is the point of the last step, and the missing report of a bare corpus is known.
    watched.complaints.clear()


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mix of two sources with findings of decontamination and rewritten rows."""
    folder = tmp_path_factory.mktemp("mix")
    records = plain_records(120) + plain_records(80, "medqa", 2)
    rewritten = make_record(
        source="anki",
        source_id="card-1",
        instruction="Answer this question truthfully",
        input="Which drug is given first for anaphylaxis?",
        output="Adrenaline 0.5 mg into the muscle is given first.",
        task=Task.OPEN_QA,
        license="user-supplied",
        rephrased_by="tiny-model",
    )
    records.append(rewritten)
    contamination = [
        {
            "exam": "medqa-test",
            "item_id": f"item-{index}",
            "row_id": records[index].id,
            "level": level,
            "score": 0.25 * (index % 4 + 1),
            "matched": "…",
        }
        for index, level in ((3, "stem"), (50, "stem+answer"), (51, "stem+answer"), (60, "none"))
    ]
    original = rewritten.with_text(
        instruction=rewritten.instruction,
        input="First drug for anaphylaxis?",
        output="Adrenaline 0.5 mg im",
    )
    return write_mix(
        folder,
        records[:-20],
        records[-20:],
        config="clean",
        matches=contamination,
        details={
            "contamination": {"medqa-test": {"items": 9, "rows": {"stem": 1, "stem+answer": 2}}}
        },
        pairs=[*plain_records(9), original],
    )


def test_contamination_splits_and_rewritten_rows(mix: Path, serve: Any, visit: Any) -> None:
    watched = visit(mix, "#source=clean&contamination=any")
    assert numbers_of(watched) == ("3 of 181 rows", [3, 50, 51])
    watched.page.goto(serve(mix) + "#source=clean&contamination=stem%2Banswer&row=50")
    assert numbers_of(watched)[1] == [50, 51]
    watched.page.wait_for_selector(".findings")
    assert "item-50" in watched.page.inner_text(".findings")
    watched.page.goto(serve(mix) + "#source=clean&origin=medqa")
    assert numbers_of(watched)[0] == "61 of 181 rows"
    watched.page.goto(serve(mix) + "#source=clean&split=validation&row=19")
    watched.page.wait_for_selector(".rewrite")
    rewrite = watched.page.inner_text(".rewrite")
    assert "First drug for anaphylaxis?" in rewrite
    assert "rewritten by tiny-model" in rewrite
    assert watched.page.locator(".rewrite del").count() > 0
    assert "raw_pairs" not in watched.page.inner_text("#pick-source")


def test_overview_leads_to_rows(large: Path, visit: Any) -> None:
    watched = visit(large)
    page = watched.page
    page.wait_for_selector(".overview .card")
    assert "60,907" in page.inner_text(".figures")
    page.click(".flag summary")
    page.click(".flag .examples a")
    watched.row()
    assert "source=forum" in page.url
    page.keyboard.press("o")
    page.wait_for_selector(".overview")
    page.click(".bars a >> text=wikidoc")
    # the row of before is on the page until the new one has been read
    page.wait_for_selector('.detail:has-text("case 0?")')
    page.go_back()
    page.wait_for_selector(".overview")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_and_themes(large: Path, serve: Any, visit: Any, scheme: str) -> None:
    watched = visit(
        large, "#source=wikidoc", color_scheme=scheme, viewport={"width": 390, "height": 800}
    )
    page = watched.page
    page.wait_for_selector(".rows a")
    assert not page.is_visible(".detail")
    page.click(".rows a >> nth=2")
    assert "case 2?" in watched.row()
    assert not page.is_visible(".list")
    page.click("text=‹ Rows")
    page.wait_for_selector(".rows a", state="visible")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(serve(large) + "#overview")
    page.wait_for_selector(".overview .card")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", ground)[0]) < 128) == (scheme == "dark")
    page.click("#theme")
    turned = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", turned)[0]) < 128) == (scheme == "light")


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A build and a mix of it, made by the program: rejects in the one, duplicates in the other."""
    folder = tmp_path_factory.mktemp("lost")
    corpus = meadow.build(["medquad", "mediqa"], raw=SAMPLES, out=folder / "corpus")
    meadow.mix("full", corpus=corpus, out=folder / "mix", accept=["mediqa"])
    return folder / "corpus", folder / "mix"


def test_the_rejects_can_be_looked_at(lost: tuple[Path, Path], visit: Any) -> None:
    corpus = meadow.open_corpus(lost[0])
    watched = visit(lost[0], "#losses")
    page = watched.page
    page.wait_for_selector(".losses li .chip")
    assert page.title().startswith("Losses")
    assert page.locator(".losses li").count() == corpus.rejects().height
    where, reason, detail = corpus.rejects("mediqa").row(0)[1:4]
    page.select_option("#lost-source", "mediqa")
    page.select_option("#lost-reason", reason)
    watched.until(f"document.querySelector('.losses').innerText.includes({json.dumps(where)})")
    assert detail in page.inner_text(".losses")
    page.fill("#lost-search", "nothing has these words")
    page.keyboard.press("Enter")
    watched.until("document.querySelector('.losses').innerText === 'None passes.'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_dropped_row_stands_beside_the_kept_one(
    lost: tuple[Path, Path], serve_app: Any, watch: Any, scheme: str
) -> None:
    corpus, mix = map(meadow.open_corpus, lost)
    watched = watch(color_scheme=scheme, viewport={"width": 390, "height": 800})
    page = watched.page
    page.goto(serve_app(application(mix, origins=[corpus])) + "#losses=duplicates")
    page.wait_for_selector(".losses summary")
    pairs = mix.duplicates()
    assert page.locator(".losses summary").count() == pairs.height
    differing = next(
        (n, kept, dropped)
        for n, pair in enumerate(pairs.iter_rows(named=True))
        if (kept := corpus.find(pair["kept_id"])) and (dropped := corpus.find(pair["dropped_id"]))
        and kept["output"] != dropped["output"]
    )  # fmt: skip
    page.locator(".losses summary").nth(differing[0]).click()
    page.wait_for_selector(".losses ins, .losses del")
    shown = " ".join(page.inner_text(".losses details[open]").split())
    for row in differing[1:]:
        assert " ".join(row["output"].split()) in shown
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_rows_that_touch_an_exam_lead_to_their_row(mix: Path, visit: Any) -> None:
    watched = visit(mix, "#losses=exams")
    page = watched.page
    page.wait_for_selector(".losses a")
    page.locator(".losses summary .text").first.click()
    page.wait_for_selector(".losses details[open] blockquote")
    (touched, *_) = (
        meadow.open_corpus(mix).contamination().filter(pl.col("level") != "none").rows(named=True)
    )
    row = meadow.open_corpus(mix).find(touched["row_id"])
    assert row is not None
    assert row["output"] in page.locator(".losses details[open]").inner_text()
    assert not page.locator(".lost .pager").is_visible()  # there is one page
    page.locator(".losses a").first.click()
    assert "Overlap with exams" in watched.row()


def test_everything_is_searched_at_once_by_relevance(large: Path, visit: Any) -> None:
    watched = visit(large, "#source=*&q=" + quote('"case 7?"') + "&order=relevance")
    page = watched.page
    watched.row()
    assert page.inner_text(".status") == "2 of 60,907 rows"
    counts = dict(text.rsplit(" ", 1) for text in page.locator(".where .chip").all_inner_texts())
    assert counts == {"wikidoc": "1", "medqa": "1"}
    sources = page.locator(".rows .head .chip:not(.task)")
    sources.nth(1).wait_for()  # the second row comes when its shard is read
    assert sorted(sources.all_inner_texts()) == ["medqa", "wikidoc"]
    page.click(".where .chip:has-text('medqa')")
    watched.until("document.querySelector('.status').innerText === '1 of 900 rows'")
    assert "case 7?" in watched.row()


def test_a_random_row_and_the_listed_rows_as_lines(large: Path, visit: Any) -> None:
    watched = visit(large, "#source=medqa&task=summarization&order=longest")
    page = watched.page
    watched.row()
    page.wait_for_selector(".tools button:has-text('Save 300 rows')")
    with page.expect_download() as saved:
        page.click("text=Save 300 rows")
    rows = list(map(json.loads, Path(saved.value.path()).read_text("utf-8").splitlines()))
    assert len({row["id"] for row in rows}) == 300
    assert {row["task"] for row in rows} == {"summarization"}
    sizes = [len(row["output"]) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    before = page.url
    for _ in range(5):  # one draw in 300 is the row that is shown already
        page.keyboard.press("r")
    watched.until(f"location.href !== {json.dumps(before)}")
    assert page.title().startswith("medqa ")
