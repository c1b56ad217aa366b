"""Stub notebooks: they take seconds, so the runner is tested without a model."""

import nbformat
import pytest

TRAIN = [
    """
condition: str = "full"           # what of the history the training prompt shows
eval_conditions: list[str] = []   # empty: the training condition
order: list[str] = []             # blocks in the order learnt
seed: int = 0
learning_rate: float = 2e-4
masked: bool = True
quantization: str = "auto"        # auto | none | nf4
run_folder: str = "runs/by-hand"
zero_shot_folder: str = ""
""",
    """
import json, os, sys, time
from pathlib import Path
folder = Path(run_folder)
print("» block 1 of 2")
(folder / "pid").write_text(str(os.getpid()))
attempts = folder / "attempts"
attempts.write_text(attempts.read_text() + "x" if attempts.exists() else "x")
if seed == 99 or (seed == 98 and attempts.read_text() == "x"):
    time.sleep(600)
assert seed != 13 or len(attempts.read_text()) > 1, "thirteen fails the first time"
""",
    """
scores = {name: [[0], [1]] for name in ("canonical", "string", "name", "parsed")}
record = {
    "parameters": {"corpus": "none", "model": "none", "condition": condition, "seed": seed, "order": order,
                   "eval_conditions": eval_conditions, "learning_rate": learning_rate},
    "blocks": ["one"], "items": [1], "matrix": {name: scores for name in eval_conditions or [condition]},
    "tokens": {"train_total": 1, "train_supervised": 1, "by_block": [1]},
    "seconds": {"train": 1, "evaluate": 1, "total": 1}, "peak_memory_mb": 1, "versions": {},
    "model": {"id": "none", "revision": "", "sha256": ""},
    "corpus": {"name": "none", "hash": "", "account": {}}, "git_commit": "", "machine": "",
    "started": "", "finished": "",
    "executable": sys.executable, "threads": os.environ.get("OMP_NUM_THREADS"),
}
(folder / "record.json").write_text(json.dumps(record))
""",
]
PREFER = [f"{TRAIN[0].strip()}\nobjective: str = 'prefer'  # sft | prefer | repair", *TRAIN[1:]]
REPAIR = [PREFER[0].replace("= 'prefer'", "= 'repair'"), *TRAIN[1:]]
INSPECT = ["seed: int = 5\ndialogue: str = ''", "assert seed == 0, seed"]
ROLLOUT = ["run_folder: str = ''\nrollout_dialogues: int = 1\nrollout_calls: int = 12", "1"]
EVALUATE = [
    "study_folder: str = ''",
    "from pathlib import Path\nprint(len(list(Path(study_folder).glob('runs/*/record.json'))), 'runs')",
]


@pytest.fixture(scope="session")
def notebooks(tmp_path_factory):
    """A repository's notebooks folder that holds the stubs."""
    folder = tmp_path_factory.mktemp("repository") / "notebooks"
    folder.mkdir()
    stubs = {
        "01_inspect": INSPECT,
        "02_train": TRAIN,
        "03_evaluate": EVALUATE,
        "04_rollout": ROLLOUT,
        "05_prefer": PREFER,
        "06_repair": REPAIR,
        "07_details": EVALUATE,
    }
    for name, cells in stubs.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
        notebook.cells[0].metadata["tags"] = ["parameters"]
        # a kernel that no machine has: the runner brings its own
        notebook.metadata["kernelspec"] = {"name": "someone-elses", "display_name": "?", "language": "python"}
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder
