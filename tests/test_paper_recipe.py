"""The paper's recipe, on rows made in the schema of its files, with the tiny model."""

import json
import subprocess
import sys

import yaml

from trajnb import records
from trajnb.machine import ROOT

NAMES = ("Play", "Book", "Sum", "Find", "Note")


def rows():
    """Calls and responses of five APIs, twelve of each, one with more tokens than the paper keeps."""
    made = []
    for index in range(12):
        for name in NAMES:
            document = {"apiCode": name, "description": f"{name}s.", "parameters": {"it": {"type": "str"}}}
            said = f"User: {name} number {index}." + (
                " Please!" * 1200 if (name, index) == ("Sum", 0) else ""
            )
            call = f"API-Request: [{name}(it='{index}')]"
            for text, cue, output in (
                (said, "Generate API Request: ", call),
                (f"{said}\n{call}->ok", "Generate AI Response: ", "AI: Done."),
            ):
                prompt = f"{json.dumps(document)}\n{text}\n{cue}\n"
                made.append({"instruction": "Go on.", "input": prompt, "output": output})
    return made


def test_the_recipe_runs_and_ends_with_what_it_reproduces(tmp_path):
    for level in (1, 2, 3):
        part = rows()[(level - 1) * 40 : level * 40]
        (tmp_path / f"lv{level}-train.json").write_text(json.dumps(part))
    out = tmp_path / "out"
    settings = {"corpus_path": tmp_path, "model": "tiny", "quantization": "none", "epochs": 1}
    command = [sys.executable, "-c", "from trajnb.study.cli import main; main()", "run"]
    command += [str(ROOT / "params" / "paper.yaml"), "--out", str(out)]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr

    runs = records.read_study(out)
    assert {run.record.parameters["condition"] for run in runs} == {"stripped", "full"}
    for run in runs:
        assert run.record.blocks == ["bin_1", "bin_2", "bin_3", "bin_4"]
        account = run.record.corpus["account"]
        assert account["rows"] == 120 and account["dropped"] == {}
        assert all(100 < line["prompt_tokens"] <= 896 for line in run.predictions), (
            "not cut as the paper cuts"
        )
    page = json.loads((out / "07_details.ipynb").read_text())
    shown = json.dumps([cell["outputs"] for cell in page["cells"] if cell["cell_type"] == "code"])
    assert "contains it" in shown or "does not" in shown, "nothing of the paper in the details"
    plan = yaml.safe_load((out / "study.yaml").read_text())
    assert all(one["epochs"] == 1 and one["split"] == "row" for one in plan["runs"].values())
