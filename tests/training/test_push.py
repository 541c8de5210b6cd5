"""A model goes to a loopback Hub and comes back the same; resume state does not go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.hub.server import running
from support.hub.session import Session

PULL = """
import json, sys
from huggingface_hub import snapshot_download
print(json.dumps(snapshot_download(sys.argv[1])))
"""


@pytest.mark.slow
def test_export_and_push_then_load_from_the_hub(tiny, mix, tmp_path, root) -> None:
    from transformers import AutoModelForCausalLM

    from training.export import logits, probe_tokens
    from training.loop import train

    result = train(tiny("method=lora", "schedule.max_steps=2", "run.save_steps=1"), mix,
                   tmp_path / "run")  # fmt: skip
    with running(tmp_path / "hub") as hub:
        session = Session(hub, tmp_path / "home", more={"PYTHONPATH": str(root)})
        done = session.meadow(
            "export", tmp_path / "run", "--out", tmp_path / "model", "--push", "meadow/tiny",
            "--json",
        )  # fmt: skip
        document = json.loads(done.stdout)
        assert document["push"]["repository"] == "meadow/tiny"
        script = tmp_path / "pull.py"
        script.write_text(PULL)
        pulled = Path(session.python(script, "meadow/tiny"))
        names = {path.name for path in pulled.iterdir()}
        assert {"model.safetensors", "README.md", "run_manifest.json"} <= names
        assert not [name for name in names if name.endswith((".pt", ".pth", ".bin"))]
        first = AutoModelForCausalLM.from_pretrained(pulled)
        second = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
        tokens = probe_tokens(256)
        assert (logits(first, tokens) == logits(second, tokens)).all()
        manifest = json.loads((pulled / "run_manifest.json").read_text())
        assert manifest["plan_hash"] == result.manifest["plan_hash"]
