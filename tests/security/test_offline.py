"""Reading a file asks no server: no parser opens a socket, whatever language it is written in.

A small library in front of libc sees every socket of a process, of libxml2, SQLite, Arrow and Rust
code too, and refuses those of the internet. That it sees them is tested first.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import meadow.readers

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void tell(const char *what) {
    const char *path = getenv("MEADOW_SOCKETS");
    int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (file >= 0) {
        if (write(file, what, strlen(what)) < 0) _exit(99);
        close(file);
    }
}

int socket(int domain, int type, int protocol) {
    int (*real)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
    if (domain != AF_INET && domain != AF_INET6) return real(domain, type, protocol);
    tell("socket\n");
    errno = EACCES;
    return -1;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **result) {
    tell("name\n");
    return EAI_FAIL;
}
"""
PROBES = {
    "python": "import socket; socket.create_connection(('192.0.2.1', 9), 1)",
    "names": "import socket; socket.getaddrinfo('example.org', 80)",
    "hf_xet": "import hf_xet; hf_xet.XetSession().new_file_download_group("
    "endpoint='http://192.0.2.1:9').start_download_file(None, '/dev/null')",
    "polars": "import polars; polars.read_parquet('https://192.0.2.1:9/x.parquet')",
    "pyarrow": "import pyarrow.fs as f; f.S3FileSystem(endpoint_override='192.0.2.1:9', "
    "scheme='http', anonymous=True, request_timeout=1, connect_timeout=1)"
    ".get_file_info('bucket/x')",
}
READ = """
import json, sys
from pathlib import Path
called = set()
def watch(frame, event, argument):
    if event == "call" and "/meadow/readers/" in frame.f_code.co_filename:
        if frame.f_code.co_name != "<module>":
            called.add(Path(frame.f_code.co_filename).stem)
from meadow.build.build import BuildSettings, build_corpus
from meadow.build.plan import find_inputs
from meadow.samples import FOLDER, sampled_sources
from meadow.source import OriginName
from meadow.sources import SOURCES
import py7zr, shutil
raw = Path(shutil.copytree(FOLDER, Path(sys.argv[1]) / "raw"))
health = raw / "stack_exchange" / "health"
with py7zr.SevenZipFile(raw / "stack_exchange" / "health.stackexchange.com.7z", "w") as archive:
    for path in sorted(health.iterdir()):
        archive.write(path, path.name)
shutil.rmtree(health)
rows = {}
sys.setprofile(watch)
for name in sampled_sources():
    origin = OriginName.UPSTREAM if SOURCES[name].upstream else OriginName.PUBLISHED
    inputs = {name: find_inputs(SOURCES[name], SOURCES[name].origin(origin), raw)}
    settings = BuildSettings(sources=(name,), origins={name: origin})
    made = build_corpus(settings, inputs, Path(sys.argv[1]) / name)
    rows[name] = made.manifest.sources[name].rows_out
sys.setprofile(None)
print(json.dumps({"rows": rows, "called": sorted(called)}))
"""
XML = """
import json, sys
from pathlib import Path
from meadow.errors import MeadowError
from meadow.readers import xml_documents
from meadow.sources.wikidoc import xml_export
refused = 0
for read in (
    lambda file: xml_documents.elements(file, "row"),
    lambda file: xml_export.read_pages(file, "evil.xml"),
):
    with open(sys.argv[1], "rb") as file:
        try:
            list(read(file))
        except (MeadowError, xml_documents.XmlError):
            refused += 1
print(json.dumps({"refused": refused}))
"""


class Guarded:
    """Runs Python where the internet's sockets are refused and counted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.library = folder / "no_network.so"
        source = folder / "no_network.c"
        source.write_text(SHIM)
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O1", "-o", self.library, source, "-ldl"], check=True
        )

    def run(self, *command: str | Path) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        log = self.folder / "sockets.log"
        log.unlink(missing_ok=True)
        own = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "AWS_"))}
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            env=own
            | {"LD_PRELOAD": str(self.library), "MEADOW_SOCKETS": str(log),
               "HOME": str(self.folder), "AWS_EC2_METADATA_DISABLED": "true"},
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        return done, log.read_text().splitlines() if log.exists() else []


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Guarded:
    if shutil.which("gcc") is None or not sys.platform.startswith("linux"):
        pytest.skip("the guard is compiled with gcc for Linux, which is not here")
    return Guarded(tmp_path_factory.mktemp("guard"))


@pytest.mark.parametrize(
    "probe",
    [pytest.param(name, marks=[] if name in {"python", "names"} else [pytest.mark.slow])
     for name in PROBES],
)  # fmt: skip
def test_the_guard_sees_every_library(guarded: Guarded, probe: str) -> None:
    done, seen = guarded.run("-c", PROBES[probe])
    assert done.returncode != 0
    assert seen, f"{probe} came past the guard: {done.stderr[-800:]}"


def test_no_reader_opens_a_socket(guarded: Guarded, tmp_path: Path) -> None:
    done, seen = guarded.run("-c", READ, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert seen == []
    found = json.loads(done.stdout.splitlines()[-1])
    assert all(found["rows"].values())
    folder = Path(meadow.readers.__file__).parent
    readers = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert readers <= set(found["called"])


def test_no_schema_dtd_or_entity_is_fetched(guarded: Guarded, tmp_path: Path) -> None:
    """XML that names addresses, through the reader of XML and through bare lxml as we set it."""
    evil = tmp_path / "evil.xml"
    evil.write_text(
        '<?xml version="1.0"?><!DOCTYPE a SYSTEM "http://192.0.2.1:9/a.dtd" '
        '[<!ENTITY b SYSTEM "http://192.0.2.1:9/b">]>'
        '<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:schemaLocation="x http://192.0.2.1:9/x.xsd"><row>&b;</row></a>'
    )
    done, seen = guarded.run("-c", XML, evil)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["refused"] == 2
    assert seen == []


def test_the_guard_of_the_tests_sees_the_clients() -> None:
    """The fixture that every test has: a client that leaves loopback fails its test."""
    import httpx2
    from huggingface_hub import HfApi

    for leave in (
        lambda: httpx2.get("http://192.0.2.1:9/x"),
        lambda: HfApi(endpoint="http://192.0.2.1:9").dataset_info("a/b", timeout=2),
    ):
        with pytest.raises(AssertionError, match="tried to reach"):
            leave()
