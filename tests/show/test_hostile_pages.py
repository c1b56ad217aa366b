"""A study that is hostile in every text, on every page, in a browser: texts stay texts."""

import base64
import json
from io import BytesIO
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_pages import HOSTILE, _taint
from test_show_trees import ATTACK, line

from trajnb.files import read_lines, write_json, write_lines
from trajnb.machine import ROOT
from trajnb.records import read_study
from trajnb.scoring import preferences as scored
from trajnb.show import dialogue, plots, preferences, results
from trajnb.show.report import render_notebook, write_index, write_readers
from trajnb.show.trees import counts_by_kind, counts_html, show_tree
from trajnb.study.pages import clean

MARKED = (
    "`<script>hacked=1</script>` [x](javascript:hacked=1) ![y](http://evil.example/0.png) "
    "$\\frac{$ | # \x1b[2J"
)
FOREIGN = [*HOSTILE, MARKED]
FOUND = """() => {
  const all = [...document.querySelectorAll('*')];
  const loads = ['src', 'href', 'xlink:href', 'action', 'data', 'srcset', 'background', 'poster'];
  const led = all.flatMap(node => loads
    .filter(name => node.hasAttribute(name)).map(name => [node.localName, node.getAttribute(name)]));
  return {
    scripts: all.filter(node => ['script', 'iframe', 'object', 'embed', 'link', 'base', 'form']
      .includes(node.localName)).length,
    handlers: all.flatMap(node => [...node.attributes]).filter(one => one.name.startsWith('on')).length,
    external: led.map(([name, to]) => [name, to.split('#')[0]]).filter(([name, to]) =>
      to.includes('evil.example') || to === 'x' || name !== 'a' && to && !to.startsWith('data:image/')).length,
    javascript: led.filter(([, to]) =>
      to.replace(/[\\x00-\\x20]/g, '').toLowerCase().startsWith('javascript:')).length,
  };
}"""
NOTHING = {"scripts": 0, "handlers": 0, "external": 0, "javascript": 0}
READERS = ("items.html", "rollouts.html")
"""Their data and their one script are two scripts."""


def execute(folder: Path, name: str, **parameters) -> None:
    executed = folder / f"{name}.ipynb"
    quiet = {"progress_bar": False, "log_output": False}
    papermill.execute_notebook(ROOT / "notebooks" / executed.name, executed, parameters, **quiet)
    render_notebook(executed, executed.with_suffix(".html"))


def study(folder: Path, write_run) -> None:
    """Records hostile in ids, blocks, calls, answers, conditions, parameters, names; their pages."""
    words = {name: FOREIGN[place % len(FOREIGN)] for place, name in enumerate("abcdefgh")}
    corpora = {}
    for condition in ("stripped", MARKED):
        own = write_run(folder / "runs" / f"{condition[:1]}<i>-s0", condition=condition, dialogues=1)
        corpus = _taint(own, words)
        corpora[corpus.hash] = corpus
        record = json.loads((own / "record.json").read_text())
        record["parameters"] |= {"quantization": f"{MARKED} {HOSTILE[0]}", "model": HOSTILE[1]}
        record["versions"] = {HOSTILE[1]: MARKED}
        write_json(own / "record.json", record)
        stop = {
            "dialogue_id": HOSTILE[0],
            "block": record["blocks"][0],
            "step": 1,
            "canonical": True,
            "stage": 4,
            "prediction": HOSTILE[1],
            "train_condition": condition,
            "eval_condition": condition,
        }
        write_lines(own / "stops.jsonl", [stop])
        figures = {"figures": {"success": 0.0, MARKED: 1.0, HOSTILE[0]: 1}}
        played = [row | figures for row in read_lines(own / "rollouts.jsonl")]
        write_lines(own / "rollouts.jsonl", played)
    about = {"title": MARKED, "description": HOSTILE[0], "runs": {}}
    (folder / "study.yaml").write_text(json.dumps(about), "utf-8")
    for name in ("03_evaluate", "07_details"):
        execute(folder, name, study_folder=str(folder))
    runs = read_study(folder)
    write_readers(folder, runs, corpora)
    write_index(folder, runs)


def corpus(folder: Path) -> None:
    """The inspection of a corpus that is hostile in ids, documents, turns, calls and keys."""
    rows = []
    for place in range(8):
        word = FOREIGN[place % len(FOREIGN)]
        schema = {"type": "object", "properties": {"text": {"type": "string", "description": word}}}
        tool = {"name": "send", "description": word, "parameters": schema}
        call = {"id": "c", "type": "function", "function": {"name": "send", "arguments": {"text": word}}}
        messages = [
            {"role": "user", "content": f"{word} please"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": word},
            {"role": "assistant", "content": word},
        ]
        # no text of a block: it has to be a plain name
        row = {"id": f"{word} {place}", "block": "ab"[place % 2], "messages": messages}
        row |= {"held_out": place > 3, HOSTILE[0]: 1}
        rows.append(row | {"tools": [{"type": "function", "function": tool}]})
    write_lines(folder / "hostile.jsonl", rows)
    execute(folder, "01_inspect", corpus="jsonl", corpus_path=str(folder / "hostile.jsonl"))


def of_runs(folder: Path, write_prefer_run) -> None:
    """What the pages of single runs, 04 and 05, show: of a hostile player and of hostile trees."""
    word = f"{MARKED} {HOSTILE[1]}"
    played = {
        "dialogue_id": word,
        "turns": [False],
        "gold": [[word]],
        "success": False,
        "calls": [{"turn": 0, "text": word, "response": HOSTILE[0], "failed": True}],
    }
    own = write_prefer_run(folder / "prefer" / "a", condition=word)
    for name in ("turns", "items", "predictions", "before_preferences"):
        rows = read_lines(own / f"{name}.jsonl")
        write_lines(own / f"{name}.jsonl", [row | {"block": f"{row['block']}{word}"} for row in rows])
    record = json.loads((own / "record.json").read_text())
    for name, value in (("blocks", record["blocks"]), ("order", record["parameters"]["order"])):
        changed = [f"{block}{word}" for block in value]
        record |= {"blocks": changed, "stages": [[block] for block in changed]} if name == "blocks" else {}
        record["parameters"] |= {"order": changed}
    for stage in record["preferences"]["stages"]:
        stage["blocks"] = [f"{block}{word}" for block in stage["blocks"]]
    write_json(own / "record.json", record)
    runs = read_study(folder / "prefer")
    turns, calls = scored.turns(runs), scored.calls(runs)
    steps = [{"logratio_chosen": 0.1, "logratio_rejected": -0.1}]
    html = [
        dialogue.show_rollout(played, word).data,
        show_tree(line(block=word), word, asked=word).data,
        counts_html(counts_by_kind([line(block=word)])),
        preferences.counts_html(scored.learnt_by_stage(runs)),
        preferences.at_the_end_html(scored.at_the_end(turns)),
        results.readings_html(scored.answers(runs, None)),
        results.intervals_html(scored.metrics(turns, calls), signed=False),
        results.sentence_html(word),
        dialogue.show_supervised([word, ATTACK], [False, True]).data,
    ]
    plots.use_style()
    figures = [preferences.log_ratios({word: {"steps": steps}})]
    figures += [preferences.before_and_after({word: scored.before_and_after(calls, "exact")})]
    outputs = [new_output("display_data", {"text/html": one}) for one in html]
    outputs += [new_output("display_data", {"image/png": picture(figure)}) for figure in figures]
    cells = [new_markdown_cell("# Single runs"), new_code_cell("", outputs=outputs)]
    nbformat.write(new_notebook(cells=cells), folder / "single.ipynb")
    render_notebook(folder / "single.ipynb", folder / "single.html")


def picture(figure) -> str:
    file = BytesIO()
    figure.savefig(file, format="png")
    return base64.b64encode(file.getvalue()).decode()


def elsewhere(folder: Path) -> None:
    """A notebook from elsewhere under a name of ours, whose cells hold what they like."""
    runs = [
        "<script>hacked=1</script><img src=x onerror=hacked=1><img src=http://evil.example/0.png>",
        "<a href='java\tscript:hacked=1'>x</a><svg onload=hacked=1><use href='http://evil.example/a#b'/></svg>",
        "<iframe src='http://evil.example'></iframe><style>p{background:url(http://evil.example/1.png)}</style>",
        "<form action=http://evil.example><input autofocus onfocus=hacked=1></form>",
    ]
    outputs = [
        new_output("display_data", {kind: one}) for one in runs for kind in ("text/html", "text/markdown")
    ]
    outputs += [new_output("display_data", {"image/svg+xml": f"<svg viewBox='0 0 1 1'>{runs[0]}</svg>"})]
    outputs += [new_output("display_data", {"text/html": "x"}, metadata={"text/html": {"isolated": True}})]
    outputs += [new_output("display_data", {"application/javascript": "hacked=1"})]
    outputs += [new_output("error", ename=runs[0], evalue=runs[0], traceback=[runs[0]])]
    cells = [
        new_markdown_cell(f"# {runs[0]}"),
        new_markdown_cell(f"## {runs[0]}\n\n[x](javascript:hacked=1)"),
    ]
    cells += [new_code_cell(f"# {runs[0]}", outputs=outputs)]
    notebook = new_notebook(
        cells=cells, metadata={"language_info": {"name": f'"><script>hacked=1</script>{runs[1]}'}}
    )
    (folder / "02_train.ipynb").write_text(json.dumps(notebook))
    render_notebook(folder / "02_train.ipynb", folder / "02_train.html")
    body = f"<h1>A page that was there, without its notebook, for whoever opens it</h1>{''.join(runs)}"
    head = f"<meta http-equiv=refresh content='0;url=http://evil.example'>{runs[0]}"
    (folder / "05_prefer.html").write_text(f"<html><head>{head}</head><body>{body}</body></html>")
    (folder / "06_repair.html").write_text(f"{head}<body onload=hacked=1>{body}")
    clean(folder, [folder / name for name in READERS], {})


@pytest.fixture(scope="module")
def pages(tmp_path_factory, write_run):
    """A folder with every page."""
    folder = tmp_path_factory.mktemp("hostile")
    study(folder, write_run)
    corpus(folder)
    elsewhere(folder)
    return folder


def check(folder: Path, name: str, watched) -> None:
    one = watched()  # at its end: no dialog, no request, no message of the console
    page = one.open(folder / name)
    assert page.evaluate("typeof hacked") == "undefined"
    found = page.evaluate(FOUND)
    assert found == NOTHING | {"scripts": 2 if name in READERS else 0}, found
    assert "http-equiv" in page.content() and len(page.inner_text("body")) > 50


@pytest.mark.parametrize(
    "name",
    ["index.html", *READERS, "01_inspect.html", "03_evaluate.html", "07_details.html", "02_train.html",
     "05_prefer.html", "06_repair.html"],
)  # fmt: skip
def test_no_text_of_a_study_does_anything(pages, watched, name):
    check(pages, name, watched)


def test_no_text_of_a_single_run_does_anything(tmp_path, write_prefer_run, watched):
    of_runs(tmp_path, write_prefer_run)
    check(tmp_path, "single.html", watched)


def test_what_is_foreign_can_be_read_on_the_pages(pages, watched):
    shown = watched().open(pages / "03_evaluate.html").inner_text("body")
    assert MARKED.split("|")[0].strip() in shown
    shown = watched().open(pages / "01_inspect.html").inner_text("body")
    assert f"Keys that are not read: 8 × {HOSTILE[0]}" in shown
