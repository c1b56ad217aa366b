"""The command line: `trajnb run`, `train`, `ask`, `report`, `view`, `data`, `export`, `records`, `fetch`,
`calibrate`, `corpus`, and `bench` from `benches.py`.

Imports wait until a command needs them, so that `trajnb --help` answers at once.
"""

import json
import os
import signal
import sys
import webbrowser
from contextlib import nullcontext, redirect_stdout
from functools import partial
from pathlib import Path

import click

import trajnb
from trajnb.escaping import in_terminal
from trajnb.machine import ROOT, found
from trajnb.study.benches import bench
from trajnb.study.execute import skip_grammar
from trajnb.study.terminal import echo, listed, told
from trajnb.words import counted

NOTEBOOKS = ROOT / "notebooks"


@click.group(context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]})
@click.version_option(trajnb.__version__, prog_name="trajnb")
def main() -> None:
    """Run studies of what a tool-use trajectory in the training prompt is worth.

    \b
    Examples:
      trajnb run params/quick.yaml              train, evaluate, report
      trajnb run params/quick.yaml --dry-run    what it would do, and what that costs
    """
    skip_grammar()
    for stream in (sys.stdout, sys.stderr):  # a name that a terminal cannot show is no failure
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


main.add_command(bench)


@main.command()
@click.argument("params", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="The study's folder [runs/<name of PARAMS>]."
)
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Replace a value of `common`."
)
@click.option("--jobs", type=click.IntRange(min=1), help="Runs at a time [one per GPU, else one].")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray", "slurm"]),
    default="local",
    show_default=True,
    help="Where runs are executed: this machine, a Ray cluster, an array of Slurm.",
)
@click.option("--address", default="", help="Of the Ray cluster, HOST:PORT [RAY_ADDRESS].")
@click.option(
    "--records",
    "kept",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of kept records, see `trajnb records`: what is in it is not run again.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show the runs and what they would cost, and prepare them; run none.",
)
@click.option(
    "--price",
    type=click.FloatRange(min=0),
    metavar="EUR_PER_HOUR",
    help="Of this machine: a dry run tells the money too.",
)
def run(
    params: Path,
    out: Path | None,
    settings: tuple[str, ...],
    jobs: int | None,
    engine: str,
    address: str,
    kept: Path | None,
    dry_run: bool,
    price: float | None,
) -> None:
    """Run the study of a params file and write its report.

    Finished runs are skipped and cut ones go on, so the same command continues a study that was stopped.
    The last line printed is the path of the report; the exit status is 1 if a notebook failed.

    \b
    Examples:
      trajnb run params/quick.yaml
      trajnb run params/quick.yaml --set epochs=3 --out runs/quick-3-epochs
      trajnb run params/bfcl.yaml --jobs 4
      trajnb run params/bfcl.yaml --dry-run --price 0.40
      trajnb run params/bfcl.yaml --engine slurm --jobs 8
    """
    with told():
        if (processes := int(os.environ.get("WORLD_SIZE") or 1)) > 1:
            raise ValueError(
                f"WORLD_SIZE is {processes}, and a study is run by one process: start `trajnb run` without "
                "torchrun or accelerate; they are for one run, `accelerate launch -m trajnb train`"
            )
        from trajnb.study import grid, parts, pipeline
        from trajnb.study.dry_run import show
        from trajnb.study.params import read_params

        parameters = parts.schema(NOTEBOOKS)
        study = read_params(params, parameters, settings)
        runs = grid.expand(study, parameters)
        out = out or Path("runs") / study.name
        if dry_run:
            show(study.title, runs, out, price)
            return
        signal.signal(
            signal.SIGTERM, signal.default_int_handler
        )  # a scheduler's end of a job, like Ctrl-C
        try:
            where = _engine(engine, address, study.resources, out, jobs)
            far = engine != "local"
            errors = pipeline.run_study(study, runs, out, NOTEBOOKS, jobs, kept, where, far)
        except KeyboardInterrupt:
            echo("Stopped. The same command goes on from here.", err=True)
            sys.exit(130)
    _end(errors, out)


def _end(errors: dict[str, str], out: Path) -> None:
    for name, error in errors.items():
        echo(f"{name} failed: {error}", err=True)
    echo(out.resolve() / "index.html")
    sys.exit(1 if errors else 0)


def _engine(name: str, address: str, resources, out: Path, jobs: int | None):
    """Where the runs of a study are executed."""
    if address and name != "ray":
        raise ValueError(f"--address is of a Ray cluster: --engine ray, not {name}")
    if name == "ray":
        from trajnb.study import on_ray

        return partial(on_ray.execute, address=address, resources=resources, at_a_time=jobs)
    if name == "slurm":
        from trajnb.study import on_slurm

        folder = out.resolve() / "slurm"
        return partial(on_slurm.execute, resources=resources, folder=folder, at_a_time=jobs)
    from trajnb.study import engines

    return engines.local


@main.command()
@click.argument("parameters", type=click.Path(dir_okay=False, path_type=Path))
def train(parameters: Path) -> None:
    """Train and ask one run without a notebook: what 02_train does with the same PARAMETERS, a YAML file,
    05_prefer where they say `objective: prefer`, or 06_repair where they say `objective: repair`.

    What is finished of it is read, and what was cut goes on. The last line printed is the run's folder.
    On several devices, of one machine or of several, accelerate or torchrun starts it; a step then trains
    as many examples as on one, with the same loss.

    \b
    Examples:
      trajnb train runs/quick/runs/<run>/parameters.yaml
      accelerate launch --num_processes 4 -m trajnb train runs/quick/runs/<run>/parameters.yaml
    """
    with told():
        from trajnb.run.by_objective import settings_class
        from trajnb.study import job, parts
        from trajnb.study.params import read_run

        run = read_run(parameters, parts.of_training(NOTEBOOKS))
        settings = settings_class(run).of(run)
        from trajnb.qlora import ranks  # torch takes seconds to import
        from trajnb.run import train as whole

        with ranks.joined():
            prepared = _prepared(settings)
            folder = prepared.place.folder
            try:
                with job.hold(folder / "log.txt") if ranks.is_first() else nullcontext():
                    whole.train(prepared)
            except job.Held:
                raise ValueError(f"another process is at work on {folder}") from None
            first = ranks.is_first()
    if first:
        echo(folder)


def _prepared(settings):
    """A run, ready to begin. Of several processes the first prepares it alone, and the others after
    it, from what it has fetched and kept.
    """
    from trajnb.qlora import ranks
    from trajnb.run.prepare import prepare

    made = []
    ranks.from_first(lambda: made.append(prepare(settings)))
    return made[0] if made else prepare(settings)


@main.command()
@click.argument("parameters", type=click.Path(dir_okay=False, path_type=Path))
def ask(parameters: Path) -> None:
    """Ask the model of one run before any training, without training it: what runs of a study share.

    The same PARAMETERS as of `trajnb train`. What is answered already is read.

    \b
    Example:
      trajnb ask runs/quick/runs/<run>/parameters.yaml
    """
    with told():
        from trajnb.run.by_objective import settings_class
        from trajnb.study import parts
        from trajnb.study.params import read_run

        run = read_run(parameters, parts.of_training(NOTEBOOKS))
        settings = settings_class(run).of(run)
        from trajnb.run.prepare import prepare  # torch takes seconds to import
        from trajnb.run.train import ask_untrained

        prepared = prepare(settings)
        ask_untrained(prepared)
    echo(prepared.place.zero_shot)


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def report(folder: Path) -> None:
    """Evaluate and render again what FOLDER holds: a study's folder, or one of records.

    \b
    Example:
      trajnb report runs/quick
    """
    with told():
        from trajnb.study import pipeline

        errors = pipeline.report(folder, NOTEBOOKS)
    _end(errors, folder)


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="[FOLDER/data]")
def data(folder: Path, out: Path | None) -> None:
    """Write what FOLDER holds for other programs: records as CSV and parquet, tables as CSV and LaTeX,
    figures as SVG and PDF.

    A text in CSV that a spreadsheet would take for a formula stands behind a quote; parquet has it as it is.

    \b
    Example:
      trajnb data reports/quick --out quick-data
    """
    with told():
        from trajnb import explore

        for path in explore.open(folder).write(out or folder / "data"):
            echo(path)


EXPORTS = ("trl", "sharegpt", "lm-eval", "inspect", "adapters")


@main.command()
@click.argument("kind", type=click.Choice(EXPORTS))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
def export(kind: str, folder: Path, out: Path) -> None:
    """Write what FOLDER holds to OUT in the form of another program.

    \b
    trl        examples as TRL's prompt/completion and messages, for datasets.load_dataset(OUT, ...)
    sharegpt   the same for LLaMA-Factory: OUT is its dataset_dir
    lm-eval    held-out calls as tasks: cd OUT && lm_eval --include_path . --tasks trajnb_full ...
    inspect    predictions as logs: inspect view --log-dir OUT
    adapters   PEFT folders, each with a filled model card

    \b
    Examples:
      trajnb export trl reports/quick examples
      trajnb export inspect reports/quick logs
    """
    with told():
        from trajnb import explore
        from trajnb.export import adapters, examples, logs, tasks

        write = {
            "trl": examples.write_trl,
            "sharegpt": examples.write_sharegpt,
            "lm-eval": tasks.write_tasks,
            "inspect": logs.write_logs,
            "adapters": adapters.write_adapters,
        }[kind]
        for path in write(explore.open(folder).kept, out):
            echo(path)


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def view(folder: Path) -> None:
    """Open the report of FOLDER in a browser. The last line printed is its path.

    \b
    Example:
      trajnb view reports/quick
    """
    index = (folder / "index.html").resolve()
    if not index.is_file():
        raise click.ClickException(
            in_terminal(f"{folder} has no index.html: trajnb report {folder} writes it")
        )
    if not webbrowser.open(index.as_uri()):
        echo("There is no browser here; open this file in one:")
    echo(index)


@main.command("records")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--allow-changes", is_flag=True, help="Take runs of an uncommitted tree too.")
@click.option(
    "--scores-only", is_flag=True, help="Without texts: no calls, answers, dialogue ids, folders."
)
def keep_records(folder: Path, out: Path, allow_changes: bool, scores_only: bool) -> None:
    """Copy what the finished runs of FOLDER measured to OUT: to commit, or to carry to another machine.

    Runs made from a tree with uncommitted changes are refused: nobody can have that tree again.
    With --scores-only, for a corpus that is not to be passed on, all tables and plots can be made again but
    those that show texts; dialogues are then known by a hash, and no evaluation can be added to such a run.

    \b
    Examples:
      trajnb records runs/bfcl kept/bfcl
      trajnb records runs/api-bank kept/api-bank --scores-only
      trajnb run params/bfcl.yaml --records kept/bfcl
    """
    with told():
        from trajnb import keeping

        changed = keeping.keep(folder, out, allow_changes, scores_only)
        if not changed:
            raise ValueError(f"{folder} holds no finished run: there is no record.json in it")
    for name, files in changed.items():
        echo(name + (f"  with uncommitted changes: {', '.join(files)}" if files else ""))
    echo(f"{counted(len(changed), 'run')} in {out}")


@main.command()
@click.argument("assets", nargs=-1, metavar="[ASSET]...")
def fetch(assets: tuple[str, ...]) -> None:
    """Download and verify pinned assets ahead of time, and build all that is read of them: of those
    named, or else of the two small ones. A cache that was filled so may be read-only.

    \b
    Examples:
      trajnb fetch
      trajnb fetch qwen2.5-coder-0.5b
      TRAJNB_CACHE=/data/trajnb trajnb fetch bfcl
    """
    with told():
        from trajnb.assets import ASSETS, SMALL
        from trajnb.assets import fetch as fetch_asset
        from trajnb.known import check_known

        for asset in assets or SMALL:
            check_known("asset", asset, ASSETS)
            echo(f"{asset}: {fetch_asset(asset)}")
        from trajnb.study.provision import build

        build(assets or SMALL)


@main.command()
@click.argument("model")
@click.option("--revision", default="", help="Of a model of the hub.")
@click.option("--quantization", default="auto", show_default=True, help="As the parameter of runs.")
def calibrate(model: str, revision: str, quantization: str) -> None:
    """Measure for a minute or two how fast this machine trains and reads with MODEL, and keep it: then
    `trajnb run --dry-run` tells hours by it.

    \b
    Example:
      trajnb calibrate smollm2-135m
    """
    with told():
        from trajnb.run.calibrate import calibrate as measure

        speed = measure(model, revision, quantization, echo)
    echo(
        f"{speed.model} on {speed.machine}: trains at {speed.train / 1e9:,.1f} GFLOP/s, "
        f"reads at {speed.read / 1e9:,.1f}, writes a token in {speed.step:.3f} s, "
        f"one beside it in {speed.written:.3f} s"
    )


@main.command()
@click.argument("name")
@click.option("--documents", default="", help="API documents of bfcl: used, ten or all [ten].")
@click.option("--fresh-ids", is_flag=True, help="Of bfcl: give every dialogue ids of its own.")
@click.option(
    "--path",
    "--corpus-path",
    "path",
    default="",
    help="Folder of api-bank's files [from the hub]; of jsonl a file, or owner/name@revision.",
)
@click.option(
    "--part", default="test-data", show_default=True, help="Of api-bank; or training-data."
)
@click.option("--levels", default="1,2", show_default=True, callback=listed, help="Of api-bank.")
@click.option(
    "--blocks",
    default="semantic",
    show_default=True,
    help="Of api-bank, or balanced; of jsonl clusters, one, or a key of its rows.",
)
@click.option("--split", default="dialogue", show_default=True, help="Or gold-disjoint, or row.")
@click.option(
    "--held-out-share", default=0.2, show_default=True, help="Where the corpus does not say."
)
@click.option("--fold", default=-1, show_default=True, help="Held out, from 0; -1: no folds.")
@click.option("--folds", default=5, show_default=True, help="How many there are.")
@click.option(
    "--train-dialogues", default=sys.maxsize, show_default="all", help="At most, a block."
)
@click.option(
    "--held-out-dialogues", default=sys.maxsize, show_default="all", help="At most, a block."
)
@click.option(
    "--skip-unusable", is_flag=True, help="Of jsonl: leave out, and count, rows that cannot be used."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def corpus(name: str, documents: str, path: str, as_json: bool, **arranged) -> None:
    """Print what a corpus holds: dialogues, examples, splits by block, dropped rows and why, content hash.

    \b
    Examples:
      trajnb corpus bfcl
      trajnb corpus api-bank --path FOLDER --levels 1,2 --json
      trajnb corpus jsonl --path FILE --blocks one --skip-unusable
    """
    with told(), redirect_stdout(sys.stderr):  # so that only the account is printed for programs
        from trajnb.corpora.load import load_corpus

        loaded = load_corpus(
            name,
            documents=documents,
            corpus_path=found(path),
            **arranged,
        )
    account = {"name": loaded.name, "hash": loaded.hash, **loaded.account}
    if as_json:
        click.echo(json.dumps(account, indent=2))
        return
    for key, value in account.items():
        if not isinstance(value, dict):
            echo(f"{key}: {value}")
            continue
        echo(f"{key}:{'' if value else ' none'}")
        for part, counts in value.items():
            counts = counts if isinstance(counts, dict) else {"": counts}
            echo(
                f"  {part}: {', '.join(f'{name} {count}'.strip() for name, count in counts.items())}"
            )
