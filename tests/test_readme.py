"""The README's section "Add a condition", followed to the letter in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the project with the README's condition added to it."""
    clone = tmp_path_factory.mktemp("clone")
    for folder in ("trajnb", "notebooks"):
        shutil.copytree(ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("__pycache__"))
    section = (ROOT / "README.md").read_text().split("## Add a condition")[1]
    function, line = re.findall(r"```python\n(.*?)\n```", section, re.DOTALL)[:2]
    conditions = clone / "trajnb" / "formatting" / "conditions.py"
    before, after = conditions.read_text().split("\nCONDITIONS = {\n")
    conditions.write_text(f"{before}\n{function}\n\n\nCONDITIONS = {{\n{line}\n{after}")
    return clone


def test_the_readmes_condition_is_shown_and_trained(clone):
    (clone / "own.yaml").write_text("common: {max_new_tokens: 8}\nruns: [{condition: current}]")
    command = "from trajnb.study.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "run", "own.yaml"],
        cwd=clone,
        env=os.environ | {"PYTHONPATH": str(clone)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    study = clone / "runs" / "own"
    assert done.stdout.splitlines()[-1] == str(study / "index.html")
    assert "current" in (study / "01_inspect.html").read_text()
    (run,) = yaml.safe_load((study / "study.yaml").read_text())["runs"]
    record = yaml.safe_load((study / "runs" / run / "record.json").read_text())
    assert list(record["matrix"]) == ["current"]
    answer = (study / "index.html").read_text().split("The answer")[1].split("Headline")[0]
    assert "current" in answer
