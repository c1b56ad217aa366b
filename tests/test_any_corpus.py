"""Every page takes any corpus: the notebooks on tiny dialogues unlike BFCL's, all in one kernel."""

import json
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from trajnb.run.prepare import prepare
from trajnb.run.settings import Settings
from trajnb.show.page import unshown
from trajnb.study.parameters import notebook_parameters

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
TRAIN = {"corpus": "jsonl", "train_dialogues": 3, "held_out_dialogues": 2, "max_new_tokens": 4}

def tool(name, key="port"):
    schema = {"type": "object", "properties": {key: {"type": "string"}}, "required": [key]}
    return {"type": "function", "function": {"name": name, "description": "Tells.", "parameters": schema}}

def row(number, block, name="get_tide", key="port", value="", asked="", answered="05:12", turns=2):
    """A dialogue: in every turn a question, a call, what it got where it got something, an answer."""
    messages = []
    for turn in range(turns):
        said = value or f"P{number}-{turn}"
        arguments = {key: said}
        call = {"id": f"c{turn}", "type": "function", "function": {"name": name, "arguments": arguments}}
        messages.append({"role": "user", "content": asked or f"When is high tide at {said}?"})
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        if answered:
            messages.append({"role": "tool", "tool_call_id": f"c{turn}", "content": answered})
        messages.append({"role": "assistant", "content": "So it is."})
    return {"id": f"d{number}", "block": block, "tools": [tool(name, key)], "messages": messages}

def rows(blocks, each=5, **more):
    """`each` dialogues of every block, the last two of them held out."""
    made = []
    for place, block in enumerate(blocks):
        for number in range(each):
            one = row(place * each + number, block, **more)
            made.append(one | {"held_out": number >= each - 2})
    return made

STRANGE = ["天气", "emoji_", "$x_1", "srv-a", "_hidden", "e" * 50, "seven", "eight", "nine"]
CORPORA = {
    "one block": rows(["sea"]),
    "two blocks": rows(["sea", "land"]),
    "nine blocks": rows([name.replace("$", "S") for name in STRANGE], name="get-tide.$x$🙂", key="Hafen $ä$"),
    "the same request with other calls": [
        row(number, "sea", value=f"song {number}", asked="Play something.", turns=1) | {"held_out": number > 3}
        for number in range(6)
    ],
    "no responses": rows(["sea", "land"], answered=""),
    "one turn each": rows(["sea", "land"], turns=1),
}

@pytest.fixture(scope="module")
def kernel():
    """One kernel for all pages: what they import is imported once. Another backend is exported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "Agg")
        manager, client = start_new_kernel(kernel_name="python3", cwd=str(NOTEBOOKS.parent))
    client.stop_channels()
    yield manager
    manager.shutdown_kernel(now=True)

@pytest.fixture
def page(kernel):
    """A function that executes a notebook with parameters and returns it."""

    def execute(name, **parameters):
        notebook = load_notebook_node(str(NOTEBOOKS / f"{name}.ipynb"))
        notebook = parameterize_notebook(notebook, parameters, kernel_name="python3", language="python")
        NotebookClient(notebook, km=kernel, timeout=600).execute()
        return notebook

    return execute

def test_a_block_that_cannot_be_asked_about_is_named_before_anything_runs(tmp_path):
    path = tmp_path / "own.jsonl"
    dialogues = [one | {"held_out": one["held_out"] and one["block"] == "sea"} for one in rows(["sea", "wind"])]
    path.write_text("\n".join(map(json.dumps, dialogues)))
    defaults = notebook_parameters(NOTEBOOKS / "02_train.ipynb")
    parameters = {name: parameter.default for name, parameter in defaults.items()}
    parameters |= TRAIN | {"corpus_path": str(path), "run_folder": str(tmp_path / "run")}
    with pytest.raises(ValueError, match="block 'wind' has no held-out"):
        prepare(Settings.of(parameters))


@pytest.fixture
def corpus(tmp_path, request):
    """A file of the corpus that a test is about."""
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in CORPORA[request.param]), "utf-8")
    return str(path)

def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]

def figures(notebook):
    return sum("image/svg+xml" in output.get("data", {}) for output in outputs(notebook))

def words(notebook):
    return json.dumps(outputs(notebook), ensure_ascii=False)

each_corpus = pytest.mark.parametrize("corpus", CORPORA, ids=CORPORA, indirect=True)

@each_corpus
def test_the_corpus_is_inspected(corpus, page):
    inspected = page("01_inspect", corpus="jsonl", corpus_path=corpus)
    assert figures(inspected) == 4 and unshown(outputs(inspected)) == 0
    assert "Warning" not in words(inspected)

@pytest.mark.parametrize("corpus", ["one block", "nine blocks"], indirect=True)
def test_a_run_is_trained_and_evaluated(corpus, page, tmp_path):
    check_study(corpus, page, tmp_path / "study")

@pytest.mark.slow
@pytest.mark.parametrize("corpus", [name for name in CORPORA if name != "nine blocks"], indirect=True)
def test_both_conditions_are_trained_and_evaluated(corpus, page, tmp_path):
    check_study(corpus, page, tmp_path / "study", ("stripped", "full"))

def check_study(corpus, page, folder, conditions=("full",)):
    for condition in conditions:
        place = {"run_folder": str(folder / "runs" / condition), "zero_shot_folder": str(folder / "zero_shot")}
        asked = {"condition": condition, "eval_conditions": '["stripped", "full"]'}  # as -p hands it over
        trained = page("02_train", corpus_path=corpus, **TRAIN, **place, **asked)
        assert figures(trained) >= 3 and unshown(outputs(trained)) == 0
    for name, least in (("03_evaluate", 4), ("07_details", 3)):
        evaluated = page(name, study_folder=str(folder), scores='["name"]')
        assert figures(evaluated) >= least and unshown(outputs(evaluated)) == 0
        assert "Warning" not in words(evaluated)
