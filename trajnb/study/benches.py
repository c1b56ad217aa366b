"""The commands `trajnb bench train`, `evaluate` and `prefer`."""

from pathlib import Path

import click

from trajnb.machine import found
from trajnb.study.terminal import echo, listed, told


@click.group()
def bench() -> None:
    """Time shared prefixes against what one would pick instead, on the same examples and machine.

    \b
    Examples:
      trajnb bench train --condition stripped
      trajnb bench prefer --pairs runs/prefer/runs/full-s0-d9608c23/preferences/1-file_system/pairs.jsonl
      trajnb bench evaluate --adapter runs/bfcl/runs/full-s0-d9608c23/adapters/4-travel --out evaluate.json
    """


def _bench_options(command):
    options = [
        click.option("--model", default="smollm2-135m", show_default=True),
        click.option("--corpus", default="bfcl", show_default=True),
        click.option("--corpus-path", default="", help="Folder of api-bank's files."),
        click.option("--levels", default="1,2", show_default=True, callback=listed),
        click.option("--documents", default="", help="Of bfcl [ten]."),
        click.option("--condition", default="full", show_default=True),
        click.option(
            "--dialogues", default=4, show_default=True, help="In all; a multiple of four."
        ),
        click.option("--repeats", default=3, show_default=True, help="Turns of all arms."),
        click.option(
            "--out",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Write the result as JSON.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@bench.command("train")
@_bench_options
@click.option("--growth", is_flag=True, help="Time 1, 2 and 4 times the dialogues too.")
def bench_train(repeats: int, out: Path | None, growth: bool, **work) -> None:
    """Time one optimiser step: shared prefixes, one example at a time, TRL (extra `bench`)."""
    with told():
        from trajnb import bench

        result = bench.train(_work(work), repeats, echo)
        if growth:
            result["growth"] = bench.growth(_work(work), repeats, echo)
    _show_bench(result, out)


@bench.command("evaluate")
@_bench_options
@click.option(
    "--adapter", default="", help="Folder of the adapter that answers [none: the untrained model]."
)
@click.option(
    "--batch", default=8, show_default=True, help="Prompts that `generate` answers at a time."
)
def bench_evaluate(repeats: int, out: Path | None, **work) -> None:
    """Time greedy answers to held-out examples: shared prefixes with gold as draft, batched
    `generate`.
    """
    with told():
        from trajnb import bench

        result = bench.evaluate(_work(work), repeats, echo)
    _show_bench(result, out)


@bench.command("prefer")
@click.option("--model", default="smollm2-135m", show_default=True)
@click.option("--corpus", default="bfcl", show_default=True)
@click.option("--documents", default="", help="Of bfcl [ten].")
@click.option("--condition", default="full", show_default=True)
@click.option("--block", default="file_system", show_default=True)
@click.option("--dialogues", default=2, show_default=True, help="Of the block.")
@click.option(
    "--pairs", default="", help="A run's pairs.jsonl [none: stand-ins, other targets as rejected]."
)
@click.option("--repeats", default=3, show_default=True, help="Turns of both arms.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the result as JSON."
)
def bench_prefer(repeats: int, out: Path | None, **work) -> None:
    """Time one optimiser step on pairs: shared prefixes, TRL's DPOTrainer (extra `bench`)."""
    with told():
        from trajnb.bench_prefer import PairWork, prefer

        result = prefer(PairWork(**work), repeats, echo)
    _show_bench(result, out)


def _work(options: dict):
    from trajnb import bench

    options["corpus_path"] = found(options["corpus_path"])
    return bench.Work(**options)


def _show_bench(result: dict, out: Path | None) -> None:
    from trajnb import bench
    from trajnb.files import write_json

    for line in ["", *bench.table(result).splitlines()]:
        echo(line)
    if out:
        write_json(out, result)
        echo(out)
