"""The house itself: its layout, versions said alike everywhere, notebooks as notebooks should be."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import yaml

import trajnb
from trajnb.strategies import STRATEGIES
from trajnb.study.grid import expand
from trajnb.study.parameters import notebook_parameters
from trajnb.study.params import read_params
from trajnb.study.parts import schema

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CONDA_NAMES = {"pytorch": "torch"}  # conda-forge's name -> PyPI's

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_layout():
    folders = ["notebooks", "trajnb", "params", "reports", "tests"]
    files = [
        "environment.yml",
        "README.md",
        "pyproject.toml",
        "LICENSE",
        "CITATION.cff",
        ".gitignore",
        ".ci/run",
    ]
    assert all((ROOT / name).is_dir() for name in folders)
    assert all((ROOT / name).is_file() for name in files)
    assert [path.stem for path in NOTEBOOKS[:3]] == ["01_inspect", "02_train", "03_evaluate"]


def test_conda_and_pip_are_told_the_same_versions():
    pip = dict(_requirement(line) for line in PROJECT["dependencies"])
    *conda, by_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = dict(_requirement(line) for line in conda)
    assert PROJECT["requires-python"] == f">={conda.pop('python').removeprefix('=')}"
    assert conda.pop("pip") == ""
    assert {CONDA_NAMES.get(name, name): bounds for name, bounds in conda.items()} == pip
    assert by_pip == {"pip": ["-e .[test]"]}


def test_the_version_is_said_alike():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == trajnb.__version__ == citation["version"]


def test_what_is_imported_is_declared():
    known = {_requirement(line)[0] for line in PROJECT["dependencies"]}
    for extra in ("bench", "ray", "slurm"):
        known |= {_requirement(line)[0] for line in PROJECT["optional-dependencies"][extra]}
    known |= {"yaml", "sklearn", "trajnb"}  # the modules of pyyaml and scikit-learn
    brought_along = {"numpy", "pandas", "matplotlib", "PIL"}  # by seaborn
    brought_along |= {"pyarrow"}  # by datasets
    brought_along |= {"nbformat", "jinja2", "pygments"}  # by nbconvert
    brought_along |= {"tokenizers", "huggingface_hub", "safetensors"}  # by transformers
    brought_along |= {"IPython"}  # by ipykernel
    imported = set()
    for path in (ROOT / "trajnb").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) <= known | brought_along


def test_readme_shows_both_commands_first():
    fenced = re.search(r"```\w*\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    assert fenced.splitlines() == [
        "pip install -e . && trajnb run params/quick.yaml",
        "pip install -e '.[test]' && pytest -n 2 --dist loadfile",
    ]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_readme_links_lead_somewhere():
    texts = [path.relative_to(ROOT) for path in ROOT.glob("*/README.md")]
    for text in ("README.md", *texts):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / text).read_text()):
            assert (ROOT / text).parent.joinpath(link).exists(), f"{text}: {link}"


@pytest.mark.parametrize("file", sorted((ROOT / "params").glob("*.yaml")), ids=lambda file: file.stem)
def test_committed_params_are_studies(file):
    parameters = schema(ROOT / "notebooks")
    study = read_params(file, parameters)
    if (
        study.common["corpus"] == "api-bank"
    ):  # its files are not for everyone: the rest is tried on the sample
        common = study.common | {"corpus": "sample", "blocks": "semantic", "split": "dialogue"}
        grids = tuple(map(_without_split, study.grids))
        study = replace(study, common=common, grids=grids)
    assert study.title and study.description and expand(study, parameters)


def _without_split(grid):
    """A grid without the splits and folds that the sample is too small for."""
    kept = {name: axis for name, axis in grid.items() if name not in ("split", "fold")}
    tied = _without_split(kept["together"]) if "together" in kept else {}
    return kept | ({"together": tied} if tied else {})


@pytest.mark.parametrize("file", sorted((ROOT / "params").glob("*.yaml")), ids=lambda file: file.stem)
def test_what_copies_is_paired_with_every_trained_run(file):
    grids = yaml.safe_load(file.read_text("utf-8"))["runs"]
    trained = [_paired_by(grid) for grid in grids if "strategy" not in grid]
    copying = [_paired_by(grid) for grid in grids if "lookup" in grid.get("strategy", ())]
    assert all(axes in trained for axes in copying)


def _paired_by(grid):
    """What an answer shares with its pair, see `scoring.paired.RUN`."""
    axes = grid | grid.get("together", {})
    return {name: axes.get(name) for name in ("seed", "fold", "orders")}


# a room or a module of the package -> what it may import; data flows one way, so every arrow points to an
# earlier line
ARROWS = {
    "plain": (),
    "words": (),
    "known": ("plain",),
    "escaping": (),
    "machine": ("escaping",),
    "shapes": (),
    "files": ("plain", "shapes"),
    "cache": ("machine",),
    "hub": (),
    "assets": ("cache", "hub", "machine"),
    "strategies": ("known",),
    "objectives": ("known",),
    "formatting": ("known",),
    "world": ("assets", "cache", "formatting", "known"),
    "corpora": ("assets", "cache", "formatting", "hub", "known", "machine", "plain", "world"),
    "schema": (),
    "upgrades": ("formatting", "objectives", "schema", "strategies"),
    "checks": ("objectives", "schema", "shapes", "strategies", "upgrades"),
    "textless": ("files", "formatting", "schema"),
    "records": ("checks", "files", "formatting", "schema", "shapes", "textless", "upgrades"),
    "grown": ("files", "schema"),
    "keeping": ("files", "grown", "machine", "records", "schema", "textless", "upgrades"),
    "qlora": ("assets", "cache", "files", "formatting", "hub", "machine", "plain", "shapes"),
    "scoring": (
        "files", "formatting", "known", "machine", "objectives", "records", "schema", "strategies",
        "textless", "words", "world",
    ),
    "show": (
        "escaping", "files", "formatting", "grown", "known", "machine", "objectives", "records", "scoring",
        "strategies", "words",
    ),
    "explore": ("corpora", "formatting", "known", "records", "scoring", "show"),
    "export": ("corpora", "escaping", "files", "formatting", "records", "schema", "scoring"),
    "run": (
        "cache", "corpora", "files", "formatting", "known", "machine", "objectives", "qlora", "records", "schema",
        "scoring", "strategies", "upgrades", "words", "world",
    ),
    "bench": ("corpora", "formatting", "machine", "qlora"),
    "bench_prefer": ("bench", "corpora", "formatting", "known", "machine", "qlora"),
}  # fmt: skip
ARROWS["study"] = tuple(ARROWS)  # it starts notebooks and runs, and only the command imports it
ARROWS["__main__"] = ("study",)


def imports(path: Path) -> set[str]:
    """The modules of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.startswith("trajnb.")} & MODULES.keys()


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in (ROOT / "trajnb").rglob("*.py")
    if path.name != "__init__.py"
}


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module):
    room = module.split(".")[1]
    for other in imports(MODULES[module]):
        there = other.split(".")[1]
        assert there == room or there in ARROWS[room], f"{module} imports {other}"


def test_no_room_points_up():
    rooms = list(ARROWS)
    for room, others in ARROWS.items():
        assert all(rooms.index(other) < rooms.index(room) for other in others), room


def test_modules_form_no_circle():
    sorter = graphlib.TopologicalSorter({name: imports(path) for name, path in MODULES.items()})
    assert list(sorter.static_order())  # a CycleError names the circle


@pytest.mark.parametrize("module", MODULES)
def test_a_strategy_is_named_in_one_module(module):
    if module == "trajnb.strategies":
        return
    names = set(STRATEGIES) - {"sequential"}  # also a word of the Trainer, and of tables for people
    texts = {node.value for node in ast.walk(ast.parse(MODULES[module].read_text())) if is_text(node)}
    assert not names & texts, f"{module} knows {names & texts}: ask a property of the strategy"


def is_text(node) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@each_notebook
def test_a_notebook_has_one_parameters_cell_of_plain_lines(path):
    (cell,) = [c for c in _code(path) if "parameters" in c.metadata.get("tags", [])]
    assert notebook_parameters(path)  # a ValueError where papermill could not read all of it
    for line in cell.source.splitlines():
        if re.fullmatch(r"# [^=]+", line):
            continue  # the name of a band
        assert re.fullmatch(r"\w+: [\w\[\]]+ = [^#=]+?(  # [^=]+)?", line), line


@each_notebook
def test_a_notebook_is_committed_without_outputs(path):
    for cell in _code(path):
        assert cell.outputs == [] and cell.execution_count is None


@each_notebook
def test_a_notebooks_cells_are_short(path):
    for cell in _code(path):
        if "parameters" in cell.metadata.get("tags", []):
            continue  # a line for each
        assert len(cell.source.splitlines()) <= 15, cell.source


def test_training_is_a_story_that_can_be_read():
    cells = _code(ROOT / "notebooks" / "02_train.ipynb")
    assert sum(len(cell.source.splitlines()) for cell in cells) <= 150


@each_notebook
def test_a_notebook_names_no_machine(path):
    text = path.read_text()
    assert not re.search(r"/(home|Users|root|tmp)/|C:\\\\", text)
    assert set(nbformat.read(path, 4).metadata) <= {"kernelspec", "language_info"}


def test_runs_are_not_committed():
    ignored = subprocess.run(["git", "check-ignore", "runs/quick"], cwd=ROOT, capture_output=True, text=True)
    if ignored.returncode == 128:
        pytest.skip("not a git checkout")
    assert ignored.stdout.strip() == "runs/quick"


def _code(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def _requirement(line: str) -> tuple[str, str]:
    return re.fullmatch(r"([\w-]+)(.*)", line).groups()


@pytest.mark.parametrize("module", MODULES)
def test_nothing_of_a_model_is_loaded_with_its_code(module):
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if re.fullmatch(r"Auto\w+\.from_pretrained", called):  # PeftConfig's reads JSON alone
            said = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert said.get("trust_remote_code") == "False", f"{module}, line {node.lineno}"


@pytest.mark.parametrize("module", MODULES)
def test_yaml_is_read_in_one_place(module):
    text = MODULES[module].read_text()
    assert module == "trajnb.plain" or not re.search(r"yaml\.(safe_|full_|unsafe_)?load", text), module
