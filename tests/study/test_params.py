import nbformat
import pytest

from trajnb import machine
from trajnb.study.grid import expand
from trajnb.study.parameters import notebook_parameters
from trajnb.study.params import read_params
from trajnb.study.resources import Resources


@pytest.fixture(scope="module")
def parameters(notebooks):
    return notebook_parameters(notebooks / "02_train.ipynb")


@pytest.fixture
def read(tmp_path, parameters):
    """A function that reads a params text as a study."""

    def read(text, *settings):
        file = tmp_path / "small.yaml"
        file.write_text(text)
        return read_params(file, parameters, settings)

    return read


def test_the_notebooks_parameters_are_known_with_type_default_and_words(parameters):
    assert parameters["eval_conditions"].kind == "list[str]" and parameters["eval_conditions"].default == []
    assert parameters["learning_rate"].default == 2e-4
    assert parameters["quantization"].words == ["auto", "none", "nf4"]
    assert parameters["condition"].words == []  # a sentence is no list of words


def test_a_study_is_common_and_grids(read):
    study = read("title: Two\ncommon: {learning_rate: 2e-4}\nruns: [{condition: [stripped, full], seed: 3}]")
    assert (study.name, study.title) == ("small", "Two")
    assert study.common == {"learning_rate": 0.0002}  # YAML reads 2e-4 as text
    assert study.grids == ({"condition": ["stripped", "full"], "seed": [3]},)


def test_an_integer_will_do_where_a_number_is_wanted(read):
    rate = read("common: {learning_rate: 1}\nruns: [{}]").common["learning_rate"]
    assert rate == 1.0 and isinstance(rate, float)


def test_settings_replace_common_values(read):
    study = read("common: {seed: 1}\nruns: [{}]", "seed=4", "learning_rate=1e-3", "order=[a, b]")
    assert study.common == {"seed": 4, "learning_rate": 0.001, "order": ["a", "b"]}


@pytest.mark.parametrize(
    "text, words",
    [
        ("", ["small.yaml", "empty"]),
        ("runs: [", ["small.yaml", "not YAML", "line"]),
        ("- a\n- b", ["small.yaml", "must map", "list"]),
        ("common: {seed: 1}", ["small.yaml", "runs must be a list of grids"]),
        ("runs: {seed: [1]}", ["runs must be a list of grids", "dict"]),
        ("runs: []", ["runs must be a list of grids"]),
        ("comon: {}\nruns: [{}]", ["unknown key 'comon'", "'common'"]),
        ("common: [1]\nruns: [{}]", ["common must map"]),
        ("runs: [{lerning_rate: 1}]", ["runs[0].lerning_rate", "unknown parameter", "'learning_rate'"]),
        ("common: {seed: one}\nruns: [{}]", ["common.seed must be int", "'one'"]),
        ("common: {seed: true}\nruns: [{}]", ["common.seed must be int", "bool"]),
        ("common: {seed: 1.5}\nruns: [{}]", ["common.seed must be int", "float 1.5"]),
        ("common: {seed: [1, 2]}\nruns: [{}]", ["common.seed", "put the list into runs"]),
        ("common: {learning_rate: fast}\nruns: [{}]", ["learning_rate must be float", "'fast'"]),
        ("common: {learning_rate: .inf}\nruns: [{}]", ["learning_rate must be float"]),
        ("common: {masked: 1}\nruns: [{}]", ["masked must be bool", "int 1"]),
        ("common: {condition: no}\nruns: [{}]", ["condition must be str", "bool", "quote it"]),
        ("common: {run_folder: here}\nruns: [{}]", ["common.run_folder", "--out"]),
        ("runs: [{seed: [0, x]}]", ["runs[0].seed must be int", "'x'"]),
        ("runs: [{seed: []}]", ["runs[0].seed", "empty list"]),
        ("runs: [{order: [a, b]}]", ["runs[0].order", "list of lists"]),
        ("runs: [{order: [[a, 1]]}]", ["runs[0].order must be list[str]"]),
    ],
)
def test_a_fault_is_named(read, text, words):
    with pytest.raises(ValueError) as error:
        read(text)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path, parameters):
    (tmp_path / "quick.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"quik.yaml does not exist \(did you mean 'quick.yaml'"):
        read_params(tmp_path / "quik.yaml", parameters)
    with pytest.raises(ValueError, match="quick.yaml cannot be read as text"):
        read_params(tmp_path / "quick.yaml", parameters)


@pytest.mark.parametrize(
    "setting, words",
    [
        ("seed", "write --set name=value"),
        ("sed=1", "did you mean 'seed'"),
        ("seed=x", "--set seed must be int"),
        ("seed=[", "not a YAML value"),
        ("condition=full", "condition is set in runs"),
    ],
)
def test_a_faulty_setting_is_named(read, setting, words):
    with pytest.raises(ValueError, match=words):
        read("runs: [{condition: [full]}]", setting)


@pytest.mark.parametrize(
    "grid, words",
    [
        ("condition: ful", ["runs[0]", "unknown condition 'ful'", "'full'"]),
        ("eval_conditions: [[full, striped]]", ["eval_conditions", "'striped'", "'stripped'"]),
        ("quantization: nf5", ["unknown quantization 'nf5'", "auto, none, nf4"]),
    ],
)
def test_a_run_that_cannot_be_is_named(read, parameters, grid, words):
    pytest.importorskip("trajnb.formatting.conditions")
    with pytest.raises(ValueError) as error:
        expand(read(f"runs: [{{{grid}}}]"), parameters)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    "common, words",
    [
        ("order: [trading, travel, file_system, trading]", ["order must name each of", "once"]),
        ("order: [trading, travel, file_system, vehicle]", ["'vehicle_control'"]),
        ("corpus: smaple", ["'smaple'", "sample"]),
        ("documents: ten", ["sample", "ten"]),
        ("train_dialogues: 0", ["train_dialogues"]),
        ("held_out_dialogues: -1", ["held_out_dialogues"]),
        ("model: smolm2-135m", ["unknown model 'smolm2-135m'", "'smollm2-135m'"]),
    ],
)
def test_a_run_that_the_real_notebook_cannot_train_is_named(tmp_path, common, words):
    from trajnb.study.cli import NOTEBOOKS

    if not (NOTEBOOKS / "02_train.ipynb").is_file():
        pytest.skip("02_train.ipynb is not there yet")
    parameters = notebook_parameters(NOTEBOOKS / "02_train.ipynb")
    file = tmp_path / "small.yaml"
    file.write_text("common: {corpus: sample, documents: used}\nruns: [{}]\n")
    study = read_params(file, parameters, [common.replace(": ", "=", 1)])
    with pytest.raises(ValueError) as error:
        expand(study, parameters)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_parameters_line_that_papermill_passes_over_is_named(tmp_path):
    for line in ("seed: int = 0  # -1 = random", "seed = 0", "seed: complex = 0"):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"epochs: int = 1\n{line}")])
        notebook.cells[0].metadata["tags"] = ["parameters"]
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "3", "language": "python"}
        nbformat.write(notebook, tmp_path / "some.ipynb")
        with pytest.raises(ValueError, match="some.ipynb: the parameter seed"):
            notebook_parameters(tmp_path / "some.ipynb")
    with pytest.raises(ValueError, match="other.ipynb is missing"):
        notebook_parameters(tmp_path / "other.ipynb")


def test_a_family_of_tests_is_declared_in_the_file(read):
    study = read("family: {measures: [canonical], effects: [training, prompt]}\nruns: [{}]")
    assert study.family == {"measures": ["canonical"], "effects": ["training", "prompt"]}
    assert read("runs: [{}]").family is None


@pytest.mark.parametrize(
    "family, message",
    [
        ("[training]", "family must map measures and effects"),
        ("{measures: [canonical]}", "family must map measures and effects"),
        ("{measures: canonical, effects: [training]}", "family.measures must be a list"),
        ("{measures: [canonical], effects: [trainin]}", "unknown 'trainin'.*did you mean 'training'"),
    ],
)
def test_a_family_that_cannot_be_is_an_error(read, family, message):
    with pytest.raises(ValueError, match=message):
        read(f"family: {family}\nruns: [{{}}]")


def test_a_family_can_be_of_preferences_but_of_one_kind_alone(read):
    text = "family: {{measures: [{}], effects: [more-sft, {}]}}\nprimary: passed\nruns: [{{}}]"
    study = read(text.format("passed, exact", "before"))
    assert study.family["effects"] == ["more-sft", "before"] and study.primary == "passed"
    with pytest.raises(ValueError, match="unknown 'training@full'.*known: before, more-sft, random"):
        read(text.format("passed", "training@full"))
    with pytest.raises(ValueError, match="unknown 'novel'.*known: passed, found, exact"):
        read(text.format("novel", "none"))


def test_a_family_can_be_of_repair(read):
    text = "family: {{measures: [{}], effects: [gold, {}]}}\nprimary: passed\nruns: [{{}}]"
    assert read(text.format("passed", "outcome+rm")).family["effects"] == ["gold", "outcome+rm"]
    with pytest.raises(ValueError, match="unknown 'training@full'.*known: before repair, kept, gold"):
        read(text.format("passed", "training@full"))
    with pytest.raises(ValueError, match="unknown 'found'.*known: passed, exact"):
        read(text.format("found", "kept"))


FAMILY = "family: {measures: [novel, logp], effects: [training@full, content]}\nruns: [{}]\n"


def test_what_decides_is_declared_beside_the_family(read):
    study = read(f"{FAMILY}primary: novel\nsmallest_effect: 4.4")
    assert (study.primary, study.smallest_effect) == ("novel", 4.4)
    assert (read(FAMILY).primary, read(FAMILY).smallest_effect) == ("", None)


@pytest.mark.parametrize(
    "lines, message",
    [
        ("primary: nove", "unknown primary 'nove'.*did you mean 'novel'.*known: canonical, novel"),
        ("primary: [novel]", "unknown primary"),
        ("primary: name", "family.measures does not name it"),
        ("smallest_effect: 4.4", "smallest_effect is of the primary measure"),
        ("primary: novel\nsmallest_effect: 0", "must be a positive number of points, not int 0"),
        ("primary: novel\nsmallest_effect: -1", "must be a positive number"),
        ("primary: novel\nsmallest_effect: much", "must be a positive number"),
        ("primary: novel\nsmallest_effect: true", "must be a positive number"),
    ],
)
def test_what_cannot_decide_is_an_error(read, lines, message):
    with pytest.raises(ValueError, match=message):
        read(FAMILY + lines)


@pytest.mark.parametrize("orders", ["0", "[]", "[a, b]", "two"])
def test_orders_are_a_count_or_lists(read, orders):
    assert read("runs: [{orders: 4}]").grids == ({"orders": 4},)
    assert read("runs: [{orders: [[a, b]]}]").grids == ({"orders": [["a", "b"]]},)
    with pytest.raises(ValueError, match="orders must be a count or a list of lists"):
        read(f"runs: [{{orders: {orders}}}]")


def test_axes_can_be_tied(read):
    (grid,) = read("runs: [{together: {seed: [0, 1], learning_rate: [1e-4, 2e-4], orders: 4}}]").grids
    assert grid == {"together": {"seed": [0, 1], "learning_rate": [1e-4, 2e-4], "orders": 4}}
    (grid,) = read("runs: [{together: {seed: [0, 1], order: [[a, b], [b, a]]}}]").grids
    assert grid["together"]["order"] == [["a", "b"], ["b", "a"]]


@pytest.mark.parametrize(
    "grid, words",
    [
        ("together: {seed: [0, 1], learning_rate: [1e-4]}", "long, but seed has 2, learning_rate has 1"),
        ("together: {seed: [0, 1], sed: [0, 1]}", "runs.0..together.sed: unknown parameter.*'seed'"),
        ("seed: [5], together: {seed: [0, 1], orders: 2}", "seed stands beside together too"),
        ("together: {seed: [0, 1], order: [[a], [b]], orders: 2}", "order and orders both say"),
        ("together: {seed: [0, 1]}", "together must map two parameters or more"),
        ("together: [0, 1]", "together must map two parameters or more"),
        ("together: {seed: [0], together: {seed: [0], order: [[a]]}}", "unknown parameter 'together'"),
        ("together: {seed: [0, x], orders: 2}", "runs.0..together.seed must be int"),
        ("together: {seed: [0, 1], orders: none}", "runs.0..together.orders must be a count"),
    ],
)
def test_axes_that_cannot_be_tied_are_named(read, grid, words):
    with pytest.raises(ValueError, match=words):
        read(f"runs: [{{{grid}}}]")


def test_a_setting_of_a_tied_axis_is_refused(read):
    with pytest.raises(ValueError, match="seed is set in runs"):
        read("runs: [{together: {seed: [0, 1], learning_rate: [1e-4, 2e-4]}}]", "seed=3")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The folder in which a command is run: not the clone; it holds a model and dialogues."""
    (tmp_path / "mymodel").mkdir()
    (tmp_path / "tiny").mkdir()
    (tmp_path / "own.jsonl").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_paths_start_where_the_command_is_run_and_are_resolved_once(elsewhere):
    parameters = notebook_parameters(machine.ROOT / "notebooks" / "02_train.ipynb")
    file = elsewhere / "own.yaml"
    file.write_text("common: {corpus: jsonl, corpus_path: own.jsonl}\nruns: [{model: [./mymodel, tiny]}]")
    study = read_params(file, parameters)
    assert study.common["corpus_path"] == str(elsewhere / "own.jsonl")
    assert study.grids == ({"model": [str(elsewhere / "mymodel"), "tiny"]},), "a known word is no folder"
    file.write_text("runs: [{}]")
    common = read_params(file, parameters, ["corpus_path=./own.jsonl", "model=mymodel"]).common
    assert common["model"] == str(elsewhere / "mymodel")
    assert machine.resolve(common["corpus_path"]) == elsewhere / "own.jsonl"


def test_a_path_that_is_not_there_starts_at_the_clone(elsewhere, monkeypatch):
    assert machine.found("notebooks") == "notebooks"
    assert machine.resolve("notebooks") == machine.ROOT / "notebooks"
    assert machine.found("") == ""
    assert machine.found(str(elsewhere / "own.jsonl")) == str(elsewhere / "own.jsonl")
    monkeypatch.chdir(machine.ROOT)
    assert machine.found("./notebooks") == "./notebooks", "run names of studies of the clone stay"
    monkeypatch.chdir(machine.ROOT / "notebooks")
    assert machine.found("02_train.ipynb") == "notebooks/02_train.ipynb", "records name no one's home"


def test_a_model_that_is_nowhere_is_told_where_paths_start(elsewhere):
    parameters = notebook_parameters(machine.ROOT / "notebooks" / "02_train.ipynb")
    file = elsewhere / "own.yaml"
    file.write_text("common: {corpus: sample, documents: used}\nruns: [{model: ./yourmodel}]")
    with pytest.raises(ValueError) as error:
        expand(read_params(file, parameters), parameters)
    assert f"nor a folder in {elsewhere} or {machine.ROOT}, where relative paths start" in str(error.value)


def test_resources_are_what_a_run_asks_of_a_cluster(read):
    told = "resources: {cpus: 8, gpus: 1, memory_gb: 48, partition: gpu}\nruns: [{}]"
    assert read(told).resources == Resources(8, 1, 48, partition="gpu")
    assert read("runs: [{}]").resources == Resources()


@pytest.mark.parametrize(
    "text, told",
    [
        ("{gpu: 1}", r"unknown 'gpu' \(did you mean 'gpus'\?\); known: cpus, gpus"),
        ("{gpus: one}", "gpus must be float, 0 or more, not 'one'"),
        ("{hours: -1}", "hours must be float, 0 or more, not -1"),
        ("{partition: 3}", "partition must be str, not 3"),
        ("8", "resources must map cpus, gpus"),
    ],
)
def test_resources_that_are_none_are_named(read, text, told):
    with pytest.raises(ValueError, match=told):
        read(f"resources: {text}\nruns: [{{}}]")
