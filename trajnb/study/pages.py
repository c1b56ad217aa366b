"""The pages of a study, written as things stand; what keeps one from being made is told and stops no
work.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trajnb.files import read_json
from trajnb.records import read_study
from trajnb.schema import Run
from trajnb.study.engines import say
from trajnb.study.job import Job
from trajnb.study.parts import PARTS


def write_all(
    out: Path, states: dict[str, str] | None, errors: dict[str, str], at_end: bool = False
) -> None:
    """The pages of items and of rollouts, then the index, which links them; at the end of all work
    the headline too, as the last lines that are said. The records are read once.
    """
    with named(errors, "index.html"):
        runs = read_study(out)
        with named(errors, "items.html"):
            write_readers(out, runs)
        write_index(out, states, runs)
        for line in _headline(runs) if at_end else ():
            say(line)


def _headline(runs: Sequence[Run]) -> list[str]:
    """Where the plain arms began and where they ended, as a table; nothing where it cannot be told.
    """
    from trajnb.scoring import crossing
    from trajnb.scoring.tables import frame, headline
    from trajnb.show.results import headline_lines

    try:
        return headline_lines(headline(crossing.with_memory(frame(runs)))) if runs else []
    except ValueError:  # the index page says why these runs give no table
        return []


@contextmanager
def named(errors: dict[str, str], name: str) -> Iterator[None]:
    """Whatever keeps a page from being made is one sentence under its name, gone once it is made.

    Of notebooks that were cut, disks that are full and templates anything may come; nothing of it
    may end what computes.
    """
    try:
        yield
    except Exception as error:
        errors[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        say(f"{name}: it cannot be made: {errors[name]}")
    else:
        errors.pop(name, None)


def unshown(job: Job) -> str:
    """What of a job's page is not there, as an error; empty where nothing is missing."""
    from trajnb.show import page

    try:
        cells = read_json(job.executed)["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    count = page.unshown(output for cell in cells for output in cell.get("outputs", []))
    return f"{count} figures are missing from its page" if count else ""


def clean(out: Path, made: Collection[Path], errors: dict[str, str]) -> None:
    """Clean what pages a folder came with under names that the index links: those that are neither
    `made` nor have a notebook.
    """
    from trajnb.show.report import PAGES, clean_page

    names = [*PAGES, *(f"r*s/*/{Path(part.notebook).stem}.html" for part in PARTS)]  # runs, or records
    for page in sorted({page for name in names for page in out.glob(name)}):
        if page not in made and not page.with_suffix(".ipynb").is_file():
            with named(errors, page.relative_to(out).as_posix()):
                clean_page(page)


def render(executed: Path) -> None:
    """Render an executed notebook as the page beside it."""
    from trajnb.show.report import render_notebook  # nbconvert and seaborn take seconds to import

    render_notebook(executed, executed.with_suffix(".html"))


def write_index(
    out: Path, states: dict[str, str] | None, runs: Sequence[Run] | None = None
) -> None:
    """Write the study's index page as things stand; `runs`, where they are read already."""
    from trajnb.show.report import write_index

    write_index(out, read_study(out) if runs is None else runs, states)


def write_readers(out: Path, runs: Sequence[Run] | None = None) -> list[Path]:
    """Write the pages of items and of rollouts as things stand; returns their paths."""
    from trajnb.corpora.load import corpora_of
    from trajnb.show.report import write_readers

    runs = read_study(out) if runs is None else runs
    if not runs:
        return []
    chosen = {run.record.corpus["hash"]: run.record.parameters for run in runs}
    return write_readers(out, runs, {} if runs[0].record.scores_only else corpora_of(chosen))
