"""Real servers on loopback: `transformers serve` with a tiny model, and a MediaWiki.

MediaWiki is Debian's package with SQLite and PHP's own server; everything that either writes lies
in the folder that is given.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}Once upon a time{% endif %}"
)
WIKI = Path("/usr/share/mediawiki")
HINT = (
    "no MediaWiki here: apt-get install mediawiki php-cli php-sqlite3 php-mbstring php-xml "
    "php-intl (`make nightly-tools`)"
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def listening(command: Sequence[str], url: str, log: Path, **options: Any) -> Iterator[None]:
    """A program for the length of a block, from when `url` answers on; its output goes to `log`."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
        try:
            deadline = time.monotonic() + 240
            while True:
                with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=30):
                    break
                if time.monotonic() > deadline or process.poll() is not None:
                    raise AssertionError(f"{url} did not come up: {log.read_text()[-2000:]}")
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(20)


@contextlib.contextmanager
def transformers_serve(
    model: Path, folder: Path, template: str | None = TEMPLATE
) -> Iterator[tuple[str, str]]:
    """The address and the model's name of a server for the length of a block.

    Args:
        model: A checkpoint, which gets a chat template.
        folder: Where its copy and the log go.
        template: The chat template of the copy; None: the model is served as it is, with its own.
    """
    copy = model
    if template is not None:
        copy = folder / "model"
        shutil.copytree(model, copy)
        (copy / "chat_template.jinja").write_text(template)
    port = free_port()
    command = [
        sys.executable, "-c", "from transformers.cli.transformers import main; main()",
        "serve", "--host", "127.0.0.1", "--port", str(port), str(copy),
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    address = f"http://127.0.0.1:{port}"
    with listening(command, f"{address}/health", folder / "log", env=environment):
        yield f"{address}/v1", str(copy)


def has_mediawiki() -> bool:
    return shutil.which("php") is not None and (WIKI / "maintenance/install.php").exists()


@contextlib.contextmanager
def mediawiki(folder: Path, export: Path) -> Iterator[str]:
    """A wiki that holds the pages of an export; yields the address of its api.php."""
    port = free_port()
    settings = folder / "LocalSettings.php"
    environment = {**os.environ, "MW_CONFIG_FILE": str(settings)}

    def php(script: str, *arguments: str) -> None:
        command = ["php", str(WIKI / "maintenance" / script), *arguments]
        subprocess.run(
            command, env=environment, check=True, capture_output=True, timeout=300, cwd=folder
        )

    php(
        "install.php", "--dbtype", "sqlite", "--dbpath", str(folder), "--dbname", "wiki",
        "--server", f"http://127.0.0.1:{port}", "--scriptpath", "", "--pass", "meadow-of-hay-26",
        "--confpath", str(folder), "Meadow", "admin",
    )  # fmt: skip
    with settings.open("a") as file:
        # without it a reference is printed as text
        file.write("\nwfLoadExtension( 'Cite' );\n")
    php("importDump.php", "--conf", str(settings), "--no-updates", str(export))
    address = f"http://127.0.0.1:{port}/api.php"
    command = ["php", "-S", f"127.0.0.1:{port}"]
    asked = f"{address}?action=query&format=json"
    with listening(command, asked, folder / "log", env=environment, cwd=WIKI):
        yield address
