"""What no reader of a prompt can get right: values that only responses hold, and questions that
want two answers.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

import pandas as pd

from trajnb.formatting.examples import Step, is_name_response_only, is_response_only

UNKNOWN = ["response_only", "name_response_only"]
NAMES = ["value only in a response", "name only in a response", "either", "calls", "ceiling"]
AROUND = 40
"""Characters shown on both sides of a value."""


def ceiling(items: pd.DataFrame) -> list[int]:
    """Of examples (rows of `build_examples`): those whose value, whose API's name, and either of
    which stands only in an earlier response; and all of them.
    """
    either = items[UNKNOWN].any(axis=1).sum()
    return [*items[UNKNOWN].sum(), either, len(items)]


def ceiling_of_steps(steps: Iterable[Step]) -> list[int]:
    """The same of the calls among `steps`."""
    rows = [(is_response_only(one), is_name_response_only(one)) for one in steps if one.call]
    return ceiling(pd.DataFrame(rows, columns=UNKNOWN))


def ceilings(parts: dict[str, list[int]]) -> pd.DataFrame:
    """A line for each of `parts`, and the ceiling: an upper bound on the share of exact calls for a
    reader of stripped prompts who remembers nothing. It knows of values that stand in a response
    word for word; one that has to be computed from a response counts as readable.
    """
    table = pd.DataFrame.from_dict(parts, orient="index", columns=NAMES[:-1])
    table["ceiling"] = 1 - table["either"] / table["calls"]
    return table


def sources(step: Step) -> dict[str, str]:
    """The values of a target that only responses know, each with what stands around it in the
    latest one that has it.
    """
    turns = step.history.turns
    said = "\n".join(turn.text for turn in turns if turn.role != "api")
    found = {}
    for value in map(str, step.call.arguments.values()):
        holders = [turn.text for turn in turns if turn.call and value in turn.text]
        if not holders or value in said:
            continue
        before, _, after = holders[-1].partition(value)
        start, end = before[-AROUND:], after[:AROUND]
        left, right = ("…" if before != start else ""), ("…" if after != end else "")
        found[value] = f"{left}{start}{value}{end}{right}"
    return found


def contradictions(rows: pd.DataFrame, *, ordinal: bool) -> tuple[int, float]:
    """How many examples share their prompt with one of another target, and the best exact rate that
    any model could reach then; `ordinal`: with the cue's ordinal, or as it would be without.
    """
    groups: dict[tuple, Counter] = defaultdict(Counter)
    for row in rows.itertuples():
        system, user = (message["content"] for message in row.prompt)
        said, _, cue = user.rpartition("\n")
        groups[system, said, cue if ordinal else ""][row.gold] += 1
    clash = sum(targets.total() for targets in groups.values() if len(targets) > 1)
    best = sum(max(targets.values()) for targets in groups.values())
    return clash, best / len(rows)
