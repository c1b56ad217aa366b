"""The pages of a report: executed notebooks and the index as self-contained HTML that needs no
network.
"""

import re
from collections.abc import Mapping, Sequence
from html import unescape
from pathlib import Path
from statistics import mean
from urllib.parse import quote

import jinja2
import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor
from pygments.formatters import HtmlFormatter

from trajnb.files import read_bytes, write_bytes
from trajnb.formatting.dialogue import Corpus
from trajnb.records import Run, read_about
from trajnb.scoring import crossing, preferences, repairs
from trajnb.scoring.answers import answers
from trajnb.scoring.arms import Arm, arms_of
from trajnb.scoring.caveats import caveats, covered
from trajnb.scoring.lead import lead
from trajnb.scoring.overview import Plan, plan_of
from trajnb.scoring.tables import frame, headline
from trajnb.show.cells import make_small, with_something_to_say
from trajnb.show.cleaning import cleaned
from trajnb.show.items import items_html
from trajnb.show.leading import ink_styles
from trajnb.show.opening import opening
from trajnb.show.reader import TEMPLATES, Numbered, policy, policy_of_frames, template
from trajnb.show.results import answers_html, headline_html
from trajnb.show.rollouts import has_rollouts, rollouts_html

PAGES = {
    "items.html": "Items",
    "rollouts.html": "Rollouts",
    "03_evaluate.html": "Evaluation",
    "07_details.html": "Details",
    "01_inspect.html": "Inspection of the corpus",
    "04_rollout.html": "Whole dialogues",  # of a study kept with the rollout of its one run
    "05_prefer.html": "Trees, pairs, preferences",  # and with the page of a run that learnt these
    "06_repair.html": "Candidates, repairs, rewards",  # or these
}
_FILE_OF_WARNING = re.compile(r"^(?:/|[A-Z]:\\).*?:\d+: (?=\w+Warning: )", re.MULTILINE)
"""Where a warning comes from: folders of a machine, which a page is not to name."""
_TITLE = re.compile(r"<title>([^<]{0,1000})</title>")


def render_notebook(ipynb: Path | str, html: Path | str) -> None:
    """Write an executed notebook as one HTML file: code folded away, an error shown at the top, no
    network.

    A notebook may come from elsewhere: what its cells made is cleaned, see `show.cleaning`.
    """
    notebook = nbformat.read(ipynb, as_version=4)
    # papermill marks a failure by cells of its own; the banner of our template says it better
    notebook.cells = [
        c for c in notebook.cells if "papermill-error-cell-tag" not in c.metadata.get("tags", [])
    ]
    notebook.cells = with_something_to_say(notebook.cells)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            make_small(output.get("data", {}), cell.metadata.get("alt", ""))
            if output.get("name") == "stderr":
                output.text = _FILE_OF_WARNING.sub("", output.text)
    lines = []
    for cell in notebook.cells:
        lines += cell.source.splitlines() if cell.cell_type == "markdown" else []
    title = next((line[2:] for line in lines if line.startswith("# ")), Path(ipynb).stem)
    head, body = _page_of(notebook, title, [line[3:] for line in lines if line.startswith("## ")])
    _write_cleaned(Path(html), head, body)


def clean_page(html: Path) -> None:
    """Write a page anew that a folder came with, without the notebook it was made of: its head ours,
    its body cleaned. A page of `render_notebook` stays what it is.

    Raises:
        ValueError: it is no regular file, or no UTF-8 text.
        OSError: it cannot be read or written.
    """
    page = read_bytes(html).decode("utf-8")
    before, found, body = page.partition("<body>")
    title = _TITLE.search(before)
    head, _ = _page_of(nbformat.v4.new_notebook(), unescape(title[1]) if title else html.stem, [])
    _write_cleaned(html, head, (body.rpartition("</body>")[0] or body) if found else page)


def _page_of(notebook: nbformat.NotebookNode, title: str, sections: list[str]) -> tuple[str, str]:
    """A notebook as HTML: the head, which is ours or escaped, and the body, which is not yet cleaned.
    """
    exporter = HTMLExporter(
        template_name="classic",
        template_file=str(TEMPLATES / "notebook.html.j2"),
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    # one box for lines printed in a row
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)
    resources = {"title": title, "sections": sections, "css": _css(), "policy": policy_of_frames()}
    page, _ = exporter.from_notebook_node(notebook, resources)
    head, _, body = page.partition("<body>")
    return head, body


def _write_cleaned(path: Path, head: str, body: str) -> None:
    _write(path, f"{head}<body>{cleaned(body)}</body>\n</html>\n")


def write_index(
    folder: Path | str, finished: Sequence[Run], states: dict[str, str] | None = None
) -> Path:
    """Write `index.html` of a study folder, atomically, and return its path.

    `finished`: its finished runs, as `records.read_study` reads them. `states`: planned run ->
    finished, running, failed, waiting, ... for a study under way; without it, the finished runs are
    all there is. Pages that do not exist are not linked.
    """
    folder = Path(folder)
    runs = {run.folder.name: run for run in finished}
    states = states or dict.fromkeys(runs, "finished")
    study = read_about(folder)
    arms = dict(zip(runs, arms_of([run.record.parameters for run in finished]), strict=True))
    inks = Numbered()
    linked = (folder / "items.html").is_file()
    shown = _results(finished, plan_of(folder), inks, linked) if finished else {}
    style = f"{_sheets('colours.css', 'report.css', 'opening.css', 'index.css')}\n{ink_styles(inks)}"
    page = jinja2.Template(template("index.html.j2"), autoescape=True).render(
        style=style,
        policy=policy(style),
        title=study.get("title") or folder.resolve().name,
        description=study.get("description"),
        busy="running" in states.values(),
        ended=list(states.values()).count("finished"),
        planned=len(states),
        left=_left(finished, list(states.values())),
        facts=_facts(finished),
        pages=[(page, label) for page, label in PAGES.items() if _is_page(folder / page)],
        **shown,
        runs=[
            _row(folder, name, state, runs.get(name), arms.get(name))
            for name, state in states.items()
        ],
    )
    _write(folder / "index.html", page)
    return folder / "index.html"


def _results(runs: Sequence[Run], plan: Plan, inks: Numbered, linked: bool) -> dict:
    """What opens the page; answers, what they cannot carry, the headline of the plain arms and of
    memory, what its intervals cover, and how many `others` there are.
    """
    table = frame(runs)
    shown = crossing.with_memory(table)
    opened = {}
    try:
        found = crossing.effects(table, plan.measures(), plan.family)
        sentences = [*plan.declaration(), *preferences.answers(runs, plan.family)]
        sentences += repairs.answers(runs, plan.family)
        sentences += answers(table, found)
        sentences += caveats(table, found, plan.family, [run.record.started for run in runs])
        opened = opening(table, lead(table, found, plan), inks, linked)
    except ValueError as error:  # runs that cannot be compared: a study under way goes on
        sentences = [f"No answer: {error}."]
    first = headline(shown)
    rests = covered(list(first.covers))
    return opened | {
        "answers": answers_html(sentences),
        "headline": headline_html(first),
        "covered": "" if rests in sentences else rests,
        "others": table.trained.nunique() - shown.trained.nunique(),
    }


def write_readers(
    folder: Path | str, finished: Sequence[Run], corpora: Mapping[str, Corpus]
) -> list[Path]:
    """Write the pages that read records, `items.html` and, where anything was played,
    `rollouts.html`, each atomically; returns their paths.

    `corpora`, by hash, hold the dialogues of the runs, as far as they can be had.
    """
    folder = Path(folder)
    title = read_about(folder).get("title") or folder.resolve().name
    wanted = {"items.html": items_html}
    if has_rollouts(finished):
        wanted["rollouts.html"] = rollouts_html
    pages = {"index.html", *wanted, *(page for page in PAGES if _is_page(folder / page))}
    for name, html in wanted.items():
        _write(folder / name, html(title, finished, corpora, pages))
    return [folder / name for name in wanted]


def _left(finished: Sequence[Run], states: Sequence[str]) -> str:
    """How long a study still takes, by its runs that are finished; empty where it does not run, or
    where nothing can be said yet.
    """
    running = states.count("running")
    if not running or not finished:
        return ""
    each = mean(run.record.seconds["total"] for run in finished) / 60
    minutes = each * (running / 2 + states.count("waiting")) / running  # those that run are half done
    return f"about {minutes:.0f} min left" if minutes < 90 else f"about {minutes / 60:.0f} h left"


def _facts(runs: Sequence[Run]) -> list[str]:
    """Date, machine, model and corpus, each distinct value once."""
    records = [run.record for run in runs]
    values = [
        *sorted(record.finished[:10] for record in records)[-1:],
        *(record.machine for record in records),
        *(record.model["id"] for record in records),
        *(f"{record.corpus['name']} {record.corpus['hash'][:8]}" for record in records),
    ]
    return list(dict.fromkeys(values))


def _row(folder: Path, name: str, state: str, run: Run | None, arm: Arm | None) -> dict:
    place = run.folder if run else folder / "runs" / name
    row = {"name": name, "state": state}
    for key, file in (
        ("page", "02_train.html"),
        ("page", "05_prefer.html"),
        ("page", "06_repair.html"),
        ("rollout", "04_rollout.html"),
        ("log", "log.txt"),
    ):
        if _is_page(place / file):
            row[key] = quote((place / file).relative_to(folder).as_posix())
    if run:
        record = run.record
        row |= {
            "arm": arm,
            "seed": record.parameters["seed"],
            "order": ", ".join(record.blocks),
            "tokens": f"{record.tokens['train_total']:,}",
            "minutes": f"{record.seconds['total'] / 60:.1f}",
            "memory": f"{record.peak_memory_mb / 1000:.1f} GB",
            "finished": record.finished[:16].replace("T", " "),
        }
    return row


def _is_page(path: Path) -> bool:
    """Whether there is a page that was made or cleaned: what lies behind a link is neither."""
    return path.is_file() and not path.is_symlink()


def _css() -> str:
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    own = _sheets("colours.css", "report.css")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{own}"


def _sheets(*names: str) -> str:
    return "\n".join(map(template, names))


def _write(path: Path, text: str) -> None:
    """Readers see the old page or the new one, never a half."""
    write_bytes(path, text.encode("utf-8", errors="replace"))
