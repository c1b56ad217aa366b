"""Pages load nothing, hide nothing, and show foreign text as text."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import trajnb
from trajnb.records import read_study
from trajnb.show.report import clean_page, render_notebook, write_index

HOSTILE = "<script>alert('x')</script><img src=http://example.org/x.png onerror=alert(1)>"
NOTEBOOKS = Path(trajnb.__file__).parents[1] / "notebooks"


class Loads(HTMLParser):
    """Collects what a browser would fetch or run."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.fetched = [], []
        self.feed(html)
        self.fetched += re.findall(r"@import[^;]*|url\([^)]*\)", html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if tag != "a":
            self.fetched += [
                v for k, v in attributes.items() if k in ("src", "href", "srcset", "data", "poster")
            ]
        assert not [name for name in attributes if name.startswith("on")], "an event handler"


def assert_self_contained(html: str):
    page = Loads(html)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    own = "url(#"  # a part of the same figure
    fetched = [address for address in page.fetched if not address.startswith(own)]
    assert all(address.startswith("data:image/") for address in fetched), fetched


def page(folder: Path, name: str, **parameters) -> str:
    """A page of a study folder, executed and rendered."""
    executed = folder / f"{name}.ipynb"
    parameters["study_folder"] = str(folder)
    quiet = {"progress_bar": False, "log_output": False}
    papermill.execute_notebook(NOTEBOOKS / executed.name, executed, parameters, **quiet)
    render_notebook(executed, executed.with_suffix(".html"))
    return executed.with_suffix(".html").read_text("utf-8")


def evaluate(folder: Path) -> tuple[str, str]:
    """The evaluation and its details."""
    return page(folder, "03_evaluate"), page(folder, "07_details", samples=6)


def test_evaluation_of_two_conditions_with_hostile_predictions(tmp_path, write_run):
    def tamper(row):
        if row["stage"] == 4 and row["step"] > 0:
            row["prediction"] = HOSTILE

    for condition in ("stripped", "full"):
        write_run(tmp_path / f"{condition}-s0", condition=condition, tamper=tamper)
    html, details = evaluate(tmp_path)
    write_index(tmp_path, read_study(tmp_path))
    index = (tmp_path / "index.html").read_text("utf-8")
    for one in (html, details, index):
        assert_self_contained(one)
    assert "&lt;script&gt;" in re.sub("</?mark>", "", details)
    assert 'href="03_evaluate.html"' in index and 'href="07_details.html"' in index
    assert "02_train.html" not in index
    for words in (
        "another model and corpus",
        "One seed per arm",
        "cannot tell",
        "27 calls in",
        "cannot be told apart here",
        "full minus stripped, each asked with its own prompts",
        "exploratory",
    ):
        assert words in html, words
    assert "cannot be told apart here" in index
    assert html.count("One seed per arm") == 1, "a doubt is said twice"
    assert len(html) + len(index) < 2_000_000 and len(details) < 1_500_000


def test_evaluation_of_seeds_orders_and_crossed_conditions_of_an_unfinished_study(
    tmp_path, write_run
):
    order = ("travel", "trading", "file_system", "vehicle_control")
    both = {"dialogues": 2, "eval_conditions": ["stripped", "full"]}
    for condition in ("stripped", "full"):
        write_run(tmp_path / "runs" / f"{condition}-s0", condition=condition, **both)
    write_run(tmp_path / "runs" / "full-s1", seed=1, order=order, **both)
    (tmp_path / "study.yaml").write_text(
        "runs: {full-s0: {}, full-s1: {}, stripped-s0: {}, stripped-s1: {}}\n"
    )
    html, _ = evaluate(tmp_path)
    assert "full → stripped" in html and "stripped-s1" in html and "1 of 4 runs" in html
    assert "1 run pair where arms are compared" in html and "order 2: travel &gt; trading" in html
    assert "Does training on trajectories help, asked with full prompts?" in html
    assert "Cannot tell from 1 run: " in html and "Yes:" not in html
    assert "left out: 1 of 2 pairs of seed and block order (seed 1)" in html
    assert html.index("The answer") < html.index("Headline: final against zero-shot")


def _without_probabilities(row):
    row["gold_nll"] = None


def test_evaluation_of_strategies_and_controls(tmp_path, write_run):
    both = {"dialogues": 2, "eval_conditions": ["stripped", "full"]}
    for condition in ("stripped", "full"):
        write_run(tmp_path / "runs" / f"{condition}-s0", condition=condition, **both)
    for strategy in ("joint", "independent", "few-shot", "replay"):
        write_run(tmp_path / "runs" / strategy, strategy=strategy, **both)
    write_run(tmp_path / "runs" / "placebo", condition="placebo", **both)
    for condition in ("stripped", "full"):
        copied = {"condition": condition, "strategy": "lookup", "tamper": _without_probabilities}
        write_run(tmp_path / "runs" / f"{condition}-lookup", **copied, **both)
    (tmp_path / "study.yaml").write_text(
        "runs: {}\nfamily: {measures: [name], effects: [training, prompt]}\n"
    )
    html, details = evaluate(tmp_path)
    for words in ("compared in the details: placebo; full, strategy replay", "of right APIs"):
        assert words in html, words
    assert "strategy lookup" in html and ">nan" not in html
    for words in ("intransigence", "placebo minus stripped"):
        assert words in details, words
    answer = html.partition("Headline")[0].partition('<ul class="verdict">')[2]
    assert answer and "exploratory)" not in answer


def test_evaluation_of_one_condition(tmp_path, write_run):
    write_run(tmp_path / "full-s0", dialogues=1)
    html, details = evaluate(tmp_path)
    assert "nothing to compare" not in details and "Each arm against itself" in details
    assert "cannot be told apart here" in html
    assert "Preferences between steps" not in html, "no run learns them"


def test_evaluation_of_runs_that_learn_preferences(tmp_path, write_prefer_run):
    for name in ("pairs", "more-sft", "none"):
        write_prefer_run(tmp_path / "runs" / name, name, lambda block, turn, *_: turn == 0)
    (tmp_path / "study.yaml").write_text(
        "runs: {}\nfamily: {measures: [passed], effects: [more-sft]}\nprimary: passed\n"
    )
    html, _ = evaluate(tmp_path)
    assert_self_contained(html)
    for words in ("<h3>Preferences between steps</h3>", "primary measure is turn tasks passed by",
                  "pairs minus more-sft, turn tasks", "preference none", "dropped harmless"):  # fmt: skip
        assert words in html, words
    assert "No family of tests was declared" not in html and ">nan" not in html


def test_evaluation_of_runs_that_repair_beside_others(tmp_path, write_repair_run, write_prefer_run):
    for name in ("kept+repaired", "kept"):
        write_repair_run(tmp_path / "runs" / name, name, passes=lambda block, turn, *_: turn == 0)
    write_prefer_run(tmp_path / "runs" / "pairs")
    (tmp_path / "study.yaml").write_text(
        "runs: {}\nfamily: {measures: [passed], effects: [kept]}\nprimary: passed\n"
    )
    html = page(tmp_path, "03_evaluate")
    assert_self_contained(html)
    for words in ("<h3>Repaired trajectories and rewards</h3>", "primary measure is turn tasks passed by",
                  "kept+repaired minus kept, turn tasks", "What an objective does to the stream",
                  "yes, an upper bound"):  # fmt: skip
        assert words in html, words


def test_evaluation_of_no_run_says_so(tmp_path):
    for name in ("03_evaluate", "07_details"):
        with pytest.raises(papermill.PapermillExecutionError, match="no finished run"):
            page(tmp_path, name)


def render(tmp_path, *cells) -> str:
    nbformat.write(new_notebook(cells=list(cells)), tmp_path / "a.ipynb")
    render_notebook(tmp_path / "a.ipynb", tmp_path / "a.html")
    return (tmp_path / "a.html").read_text("utf-8")


def test_code_is_folded_but_there_and_outputs_are_text(tmp_path):
    output = new_output("stream", name="stdout", text=f"» step 1\n{HOSTILE}\n")
    html = render(
        tmp_path,
        new_markdown_cell("# A title\n\nWords."),
        new_markdown_cell("## One section"),
        new_code_cell("answer = 42", outputs=[output], metadata={"tags": ["parameters"]}),
    )
    assert_self_contained(html)
    assert (
        "<title>A title</title>" in html
        and 'href="#One-section"' in html
        and 'id="One-section"' in html
    )
    assert re.search(r'<details class="code">\s*<summary>code · parameters', html) and "42" in html
    assert "» step 1\n&lt;script&gt;" in html


def test_scripts_and_widgets_of_outputs_are_left_out(tmp_path):
    outputs = [
        new_output("display_data", {"application/javascript": "alert(1)"}),
        new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}}),
    ]
    html = render(tmp_path, new_code_cell("", outputs=outputs))
    assert_self_contained(html)
    assert "alert(1)" not in html and "left out" in html


def test_a_page_of_ours_is_the_same_after_it_was_cleaned(tmp_path):
    cells = [new_markdown_cell("# One & <two>\n\n## A"), new_code_cell("1 < 2", outputs=[
        new_output("display_data", {"text/html": "<b title='&lt;'>bold</b>"})])]  # fmt: skip
    nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
    render_notebook(tmp_path / "a.ipynb", tmp_path / "a.html")
    page = (tmp_path / "a.html").read_bytes()
    clean_page(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_bytes() == page


def test_a_page_behind_a_link_is_neither_cleaned_nor_linked(tmp_path, write_run):
    write_run(tmp_path / "runs" / "a")
    (tmp_path / "other").write_text("<script>1</script>")
    (tmp_path / "05_prefer.html").symlink_to(tmp_path / "other")
    with pytest.raises(ValueError, match="is a link"):
        clean_page(tmp_path / "05_prefer.html")
    assert "05_prefer.html" not in write_index(tmp_path, read_study(tmp_path)).read_text()


def test_figures_are_small_and_still_figures(tmp_path):
    from base64 import b64decode, b64encode
    from io import BytesIO

    from PIL import Image

    picture = BytesIO()
    Image.linear_gradient("L").convert("RGB").save(picture, "PNG")
    figure = {"image/png": b64encode(picture.getvalue()).decode()}
    html = render(tmp_path, new_code_cell("", outputs=[new_output("display_data", figure)]))
    assert_self_contained(html)
    (shown,) = re.findall(r"data:image/png;base64,([\w+/=]+)", html)
    image = Image.open(BytesIO(b64decode(shown)))
    assert image.size == (256, 256) and image.mode == "P"


def test_an_error_stands_at_the_top(tmp_path):
    error = new_output(
        "error",
        ename="ValueError",
        evalue=HOSTILE,
        traceback=["\x1b[31mValueError\x1b[0m " + HOSTILE],
    )
    html = render(
        tmp_path, new_markdown_cell("# A title"), new_code_cell("boom()", outputs=[error], id="abc")
    )
    assert_self_contained(html)
    assert html.index("stopped with an error") < html.index("<h1")
    assert 'href="#cell-id=abc"' in html and 'id="cell-id=abc"' in html and "&lt;script&gt;" in html


def test_index_of_a_study_that_has_only_begun(tmp_path):
    (tmp_path / "study.yaml").write_text(
        "name: quick\ntitle: '<b>Stripped</b> against full'\nruns: {}\n"
    )
    write_index(tmp_path, read_study(tmp_path), {"full-s0": "running", "<i>odd</i>": "waiting"})
    html = (tmp_path / "index.html").read_text("utf-8")
    assert_self_contained(html)
    assert "No run has finished yet" in html and "0 of 2 runs finished" in html
    assert "&lt;b&gt;Stripped" in html and "&lt;i&gt;odd" in html and "http-equiv" in html
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_index_of_a_running_study_has_a_bar_and_the_time_left(tmp_path, write_run):
    write_run(tmp_path / "runs" / "full-s0")  # in 300 seconds
    states = {"full-s0": "finished", "full-s1": "running", "full-s2": "waiting", "full-s3": "waiting"}
    write_index(tmp_path, read_study(tmp_path), states)
    html = (tmp_path / "index.html").read_text("utf-8")
    assert '<progress value="1" max="4"' in html
    assert "1 of 4 runs finished, about 12 min left" in html
    write_index(tmp_path, read_study(tmp_path))
    ended = (tmp_path / "index.html").read_text("utf-8")
    assert "<progress" not in ended and "min left" not in ended


def test_index_links_only_what_is_there(tmp_path, write_run):
    folder = write_run(tmp_path / "runs" / "full-s0")
    (folder / "02_train.html").touch()
    write_index(tmp_path, read_study(tmp_path), {"full-s0": "finished", "stripped-s0": "failed"})
    html = (tmp_path / "index.html").read_text("utf-8")
    assert re.findall(r'href="([^"]*)"', html) == ["runs/full-s0/02_train.html"]
    assert "1 of 2 runs finished" in html and "state failed" in html and "37,000" in html


def test_a_study_whose_runs_cannot_be_compared_still_has_its_index(tmp_path, write_run):
    def elsewhere(row):
        row["dialogue_id"] += " of another corpus"

    both = {"eval_conditions": ["stripped", "full"]}
    write_run(tmp_path / "stripped-s0", condition="stripped", **both)
    write_run(tmp_path / "full-s0", **both, tamper=elsewhere)
    items = tmp_path / "full-s0" / "items.jsonl"
    rows = [json.loads(line) for line in items.read_text("utf-8").splitlines()]
    for row in rows:
        elsewhere(row)
    items.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    write_index(tmp_path, read_study(tmp_path))
    assert "No answer: training@stripped: the runs to compare share no held-out item" in (
        (tmp_path / "index.html").read_text("utf-8")
    )


def test_index_of_a_study_of_folds_says_what_it_rests_on(tmp_path, write_run):
    both = {"eval_conditions": ["stripped", "full"], "folds": 5, "dialogues": 1}
    for fold in range(5):
        for condition in ("stripped", "full"):
            folder = tmp_path / "runs" / f"{condition}-f{fold}"
            write_run(folder, condition=condition, seed=fold, fold=fold, **both)
    (tmp_path / "study.yaml").write_text(
        "runs: {}\nprimary: novel\nsmallest_effect: 4.4\n"
        "family: {measures: [novel, name], effects: [training@stripped, training@full]}\n"
    )
    write_index(tmp_path, read_study(tmp_path))
    html = (tmp_path / "index.html").read_text("utf-8")
    for words in (
        "the primary measure is exact call, novel target, and 4.4 points the smallest effect",
        "points of exact calls on novel targets (95 % interval",
        ", corrected ",
        "; 5 run pairs)",
        "Runs hold out folds of their own: an interval is Student&#x27;s t over them.",
        "neither speaks about other training sets",
        "Intervals speak about other dialogues and seeds; not about other block orders or training",
    ):
        assert words in html, words


def test_index_of_published_records(tmp_path, write_run):
    write_run(tmp_path / "records" / "full-s0")
    write_index(tmp_path, read_study(tmp_path))
    assert "1 of 1 runs finished" in (tmp_path / "index.html").read_text("utf-8")
