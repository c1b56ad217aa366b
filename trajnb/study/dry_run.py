"""What `trajnb run --dry-run` shows: the runs, what they would cost, and what would be refused."""

from pathlib import Path

from trajnb.study.terminal import echo
from trajnb.words import counted


def show(title: str, runs: dict[str, dict], out: Path, price: float | None) -> None:
    """Show the grid of a study with its costs, prepare all its runs, and tell the memory of a step;
    nothing is run.

    `runs` by name, see `grid.expand`; `price` in EUR an hour, or None.

    Raises:
        ValueError: a run would be refused.
    """
    _show_plan(title, runs, out, price)
    _prepare_all(runs)
    _show_memory(runs)


def _show_plan(title: str, runs: dict[str, dict], out: Path, price: float | None) -> None:
    from trajnb.study.folder import run_states
    from trajnb.study.grid import varying
    from trajnb.study.paces import paces, records_beside

    states, axes = run_states(out, runs), varying(runs)
    pace = paces(records_beside(out), {run["model"] for run in runs.values()})
    costs, measured = _estimates(runs, pace)
    left = [cost for name, cost in costs.items() if states[name] != "finished"]
    money = [] if price is None else ["EUR"]
    rows = [
        ["run", "state", *axes, *COST, *money],
        *(
            [name, states[name], *_values(run, axes), *_cost([costs[name]], price)]
            for name, run in runs.items()
        ),
        ["to do", counted(len(left), "run"), *[""] * len(axes), *_cost(left, price)],
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    echo(f"{title}: {counted(len(runs), 'run')} into {out}")
    echo("")
    for row in rows:
        echo(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    echo("")
    echo("distinct = where examples of a dialogue share prefixes; read = in evaluation; one run at a time.")
    for line in measured:
        echo(line)


COST = ("tokens trained", "distinct", "tokens read", "time", "disk")


def _estimates(runs: dict[str, dict], pace: dict[str, float]) -> tuple[dict, list[str]]:
    """The cost of every run, and in words what the numbers come from."""
    from trajnb.run.by_objective import settings_class
    from trajnb.run.calibrate import kept
    from trajnb.run.prepare import count_examples
    from trajnb.study.estimate import estimate

    costs, said = {}, {}
    for name, run in runs.items():
        try:
            counted = count_examples(settings_class(run).of(run))
        except ValueError:  # what would be refused is told below
            counted = None
        speed = kept(run["model"], run["revision"], run["quantization"])
        costs[name] = estimate(run, pace.get(run["model"]), counted, speed)
        said[_source(run, counted is not None, speed)] = None
    return costs, list(said)


def _source(run: dict, counted: bool, speed) -> str:
    model = run["model"]
    tokens = "counted" if counted else "estimated from characters, for the model is not on this machine yet"
    if speed and counted:
        time = f"as `trajnb calibrate` measured here at {speed.date}"
    else:
        time = (
            "on two CPU cores: measured for smollm2-135m, for another model by its runs in folders beside "
            "this one, else in proportion to an asset's parameters; ? = nothing is known of it; "
            f"`trajnb calibrate {model}` measures this machine"
        )
    return f"{model}: tokens {tokens}; time {time}."


def _prepare_all(runs: dict[str, dict]) -> None:
    """Find what any of the runs would refuse, before the first begins."""
    from trajnb.run.by_objective import settings_class
    from trajnb.run.prepare import check  # torch takes seconds to import

    counted, seen = True, set()
    for name, run in runs.items():
        try:
            counted &= check(settings_class(run).of(run), seen)
        except ValueError as error:
            raise ValueError(f"{name} would be refused: {error}") from error
    said = "nothing of it would be refused"
    if not counted:
        said += (
            "; a model is not on this machine yet, so turns that are too long for max_length would be "
            "found once it is"
        )
    echo("")
    echo(f"Prepared: {said}.")


def _show_memory(runs: dict[str, dict]) -> None:
    """Tell what a training step of each model takes here, where the model is on this machine."""
    from trajnb.qlora import memory
    from trajnb.qlora.model import find_model, is_at_hand
    from trajnb.strategies import strategy_of

    names = ("model", "revision", "quantization", "lora_rank", "lora_dropout", "token_budget")
    trained = [run for run in runs.values() if strategy_of(run).trains]
    for asked in dict.fromkeys(tuple(run[name] for name in names) for run in trained):
        model, revision, quantization, rank, dropout, budget = asked
        if not is_at_hand(model, revision):
            continue
        shape = memory.shape_of(find_model(model, revision), quantization, rank, dropout)
        row = memory.row_tokens(budget)
        wanted = memory.needed(shape, row, supervised=row // 8)
        here = memory.capacity() / 1e9
        echo(
            f"Memory: a row of {row:,} tokens of {model} takes {wanted.total / 1e9:.1f} GB "
            f"({memory.words(wanted)}) and what its branches keep; this machine has {here:.0f} GB"
            + ("." if wanted.total <= memory.capacity() else ", so training would be refused here.")
        )


def _values(run: dict, names: list[str]) -> list[str]:
    return [
        " ".join(run[name]) if isinstance(run[name], list) else str(run[name]) for name in names
    ]


def _cost(costs: list, price: float | None) -> list[str]:
    told = [
        f"{sum(getattr(cost, name) for cost in costs):,}" for name in ("tokens", "trained", "read")
    ]
    unknown = any(cost.seconds is None for cost in costs)
    hours = 0.0 if unknown else sum(cost.seconds for cost in costs) / 3600
    told.append("?" if unknown else f"{60 * hours:.0f} min" if hours < 2 else f"{hours:,.1f} h")
    no_disk = any(cost.disk is None for cost in costs)
    told.append("?" if no_disk else f"{sum(cost.disk for cost in costs) / 1e6:.0f} MB")
    if price is not None:
        told.append("?" if unknown else f"{hours * price:,.2f}")
    return told
