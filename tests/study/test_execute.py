"""papermill starts without the grammar that JupyterLab brings along."""

import os
import subprocess
import sys

from trajnb.machine import ROOT


def run(*command):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, cwd=ROOT
    )


def test_what_is_skipped_is_the_grammar_alone():
    code = (
        "import sys; from trajnb.study.execute import skip_grammar; skip_grammar(); "
        "import papermill.__main__, jsonschema; print('lark' in sys.modules); "
        "jsonschema.validate(1, {'type': 'string'})"
    )
    done = run("-c", code)
    assert done.stdout == "False\n", done.stderr
    assert "1 is not of type 'string'" in done.stderr


def test_it_takes_the_arguments_of_papermill():
    done = run("-m", "trajnb.study.execute", "--help")
    assert done.returncode == 0 and "Usage: papermill" in done.stdout, done.stderr
