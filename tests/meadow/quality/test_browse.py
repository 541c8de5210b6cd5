"""The local server and the static page's files, without a browser."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.corpora import plain_records, source_entry, write_build

from meadow.api import open_corpus
from meadow.errors import UsageError
from meadow.quality.browse import SITE, application, index_html, site_files, write_site, write_space
from meadow.quality.report import write_report

SHARD = "data/wikidoc/train-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with a file that its manifest does not name."""
    folder = tmp_path_factory.mktemp("corpus")
    entries = {"wikidoc": source_entry(folder, "wikidoc", plain_records(300))}
    write_build(folder, entries)
    (folder / "secret.txt").write_text("not named")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> TestClient:
    """The server as a client sees it."""
    return TestClient(application(open_corpus(folder)), base_url="http://127.0.0.1")


def test_ranges_and_head(client: TestClient, folder: Path) -> None:
    data = (folder / SHARD).read_bytes()
    head = client.head(f"/corpus/{SHARD}")
    assert (head.status_code, int(head.headers["content-length"])) == (200, len(data))
    assert head.headers["accept-ranges"] == "bytes"
    part = client.get(f"/corpus/{SHARD}", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, data[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(data)}"
    last = client.get(f"/corpus/{SHARD}", headers={"Range": f"bytes={len(data) - 8}-"})
    assert last.content == data[-8:]
    beyond = client.get(f"/corpus/{SHARD}", headers={"Range": f"bytes={len(data)}-"})
    assert beyond.status_code == 416


@pytest.mark.parametrize(
    "path",
    ["/corpus/secret.txt", "/corpus/../secret.txt", "/corpus/%2e%2e/secret.txt", "/nothing.js",
     "/corpus//etc/passwd", "/../meadow/cli/app.py", "/vendor/package.json", "/corpus/"],
)  # fmt: skip
def test_only_named_files_are_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_foreign_name_is_refused(folder: Path) -> None:
    client = TestClient(application(open_corpus(folder)), base_url="http://evil.example")
    assert client.get("/").status_code == 400
    assert client.get("/corpus/MANIFEST.json").status_code == 400


def test_the_page_and_its_files(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert 'content="api/search"' in page.text
    for name in site_files():
        if name != "index.html":
            answer = client.get(f"/{name}")
            assert answer.status_code == 200
            assert answer.headers["x-content-type-options"] == "nosniff"
    for asset in re.findall(r'(?:src|href)="([^"#]+)"', page.text):
        assert client.get(f"/{asset}").status_code == 200, asset


def test_the_report_is_made_where_the_folder_has_none(client: TestClient, tmp_path: Path) -> None:
    assert client.get("/corpus/report/report.json").json()["rows"] == 300
    stale = write_build(tmp_path, {"wikidoc": source_entry(tmp_path, "wikidoc", plain_records(20))})
    write_report(open_corpus(stale))
    write_build(stale, {"wikidoc": source_entry(stale, "wikidoc", plain_records(25))})
    other = TestClient(application(open_corpus(stale)), base_url="http://localhost")
    assert json.loads((stale / "report/report.json").read_text())["rows"] == 20
    assert other.get("/corpus/report/report.json").json()["rows"] == 25


def test_search_answers_and_refuses(client: TestClient) -> None:
    found = client.get("/api/search", params={"source": "wikidoc", "q": '"case 17?"'})
    assert found.json() == {"rows": [17], "total": 1, "counts": {"wikidoc": 1}}
    for parameters in (
        {"source": "nothing"},
        {"source": "wikidoc", "split": "test"},
        {"source": "wikidoc", "min": "-1"},
        {"source": "wikidoc", "max": "1; drop"},
    ):
        answer = client.get("/api/search", params=parameters)
        assert answer.status_code == 400
        assert answer.json()["error"]


def test_no_source_file_builds_markup_from_text() -> None:
    for name in site_files():
        if name.endswith(".js") and not name.startswith("vendor/"):
            text = (SITE / name).read_text(encoding="utf-8")
            found = re.findall(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text
            )
            assert found == [], name


def test_the_policy_is_strict() -> None:
    policy = re.search(r'Policy" content="([^"]+)"', index_html())
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.group(1).split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy.group(1)


def test_static_site_for_a_published_corpus(tmp_path: Path) -> None:
    origin = "https://huggingface.co/datasets/owner/name/resolve/v1.0.0"
    written = write_space(
        tmp_path, shard_origin=origin, title='A "title" <b>', repository="owner/name"
    )
    assert {path.relative_to(tmp_path).as_posix() for path in written} == {
        *site_files(),
        "README.md",
    }
    page = (tmp_path / "index.html").read_text()
    assert f'content="{origin}/"' in page
    assert "'self' https://huggingface.co https://*.hf.co https://*.huggingface.co;" in page
    assert "A &#34;title&#34; &lt;b&gt;" in page or "A &quot;title&quot; &lt;b&gt;" in page
    assert "sdk: static" in (tmp_path / "README.md").read_text()
    again = {path: path.read_bytes() for path in written}
    write_space(tmp_path, shard_origin=origin, title='A "title" <b>', repository="owner/name")
    assert {path: path.read_bytes() for path in written} == again


@pytest.mark.parametrize(
    "origin",
    ["javascript:alert(1)", "file:///etc/", "https://user:token@example.org/",
     "https://example.org/; script-src *", 'https://example.org/"><script>',
     "https://example.org/?a=1"],
)  # fmt: skip
def test_no_other_shard_origin(tmp_path: Path, origin: str) -> None:
    with pytest.raises(UsageError):
        write_site(tmp_path, shard_origin=origin)
    assert list(tmp_path.iterdir()) == []


def test_the_vendored_reader_says_where_it_comes_from() -> None:
    vendor = SITE / "vendor"
    package = json.loads((vendor / "package.json").read_text())
    lock = json.loads((vendor / "package-lock.json").read_text())
    banner = (vendor / "parquet.js").read_text(encoding="utf-8")[:200]
    licences = (vendor / "LICENSES.txt").read_text(encoding="utf-8")
    for name, version in package["dependencies"].items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
        assert f"{name} {version}" in banner
        assert f"{name} {version}" in licences
    assert "resolved" not in json.dumps(lock)


def test_command_serves_until_interrupted(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "meadow", "browse", str(folder), "--no-open", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert address is not None, line
        url = address.group() + "api/search?source=wikidoc&q=case"
        for _ in range(100):
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    assert json.loads(answer.read())["total"] == 300
                break
            except urllib.error.URLError:
                continue
    finally:
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    assert json.loads(out)["rows"] == 300
    assert process.returncode == 0
    assert "Traceback" not in errors
