"""The strata of held-out items, defined here and nowhere else, and all scores cut by them.

A stratum is a property of an item that is known from text alone, before any model answers. In a
group every item is of exactly one stratum; strata of different groups overlap. Tables are those of
`tables.frame`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from trajnb.scoring.crossing import effects
from trajnb.scoring.paired import ITEM, comparisons
from trajnb.scoring.tables import rate

DECOMPOSED = ("training@stripped", "training@full", "prompt@full", "interaction")


def strata(table: pd.DataFrame) -> list[dict[str, pd.Series]]:
    """Groups of strata, {stratum: which rows of `table` are of it}; the first holds all calls, the
    second tells targets that training showed from novel ones.

    Steps are cut at the median item and prompts at its tertiles, so that a stratum may be empty.
    """
    items = table.drop_duplicates(ITEM)
    step = items.step.median()
    if table.prompt_characters.notna().all():
        length, unit = table.prompt_characters, "characters"
    else:  # an older record: the longest prompt that was asked stands for the full one
        length, unit = table.groupby(ITEM).prompt_tokens.transform("max"), "tokens"
    short, medium = length[items.index].quantile([1 / 3, 2 / 3])
    unnamed = ~table.answerable & table.name_response_only
    return [
        {"all calls": pd.Series(True, table.index)},
        {"gold call seen in training": table.seen_target, "novel gold call": ~table.seen_target},
        {"same prompt in every condition": table.same_prompt, "prompts differ": ~table.same_prompt},
        {
            "answerable from the stripped prompt": table.answerable,
            "a value only in stripped responses": ~table.answerable & ~unnamed,
            "the API's name only there": unnamed,
        },
        {"first call of its turn": table.ordinal <= 1, "later call of its turn": table.ordinal > 1},
        {f"early, step 0 to {step:.0f}": table.step <= step, "later step": table.step > step},
        {
            f"full prompt up to {short:,.0f} {unit}": length <= short,
            f"up to {medium:,.0f}": (length > short) & (length <= medium),
            "longer": length > medium,
        },
    ]


@dataclass(frozen=True)
class Stratum:
    """A stratum that has items."""

    group: int
    """Its place in the list of `strata`."""
    name: str
    rows: pd.DataFrame
    items: pd.DataFrame
    """One row each."""


def cut(table: pd.DataFrame) -> Iterator[Stratum]:
    """The table cut by `strata`, empty ones left out."""
    for group, parts in enumerate(strata(table)):
        for name, where in parts.items():
            rows = table[where]
            if len(rows):
                yield Stratum(group, name, rows, rows.drop_duplicates(ITEM))


def scores(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """A measure by stratum (rows) and arm (columns, `zero` and `final`), see `tables.rate`.

    Before the arms stand `items`, `dialogues` and `ceiling`: the percent of items none of whose
    values (for the API's name alone: whose name) stands only in a response, word for word. It is an
    upper bound on what a stripped prompt can answer, and only on what is read verbatim: a value
    that has to be computed from a response counts as answerable, and one that is known by heart can
    be right above it. Empty strata are left out.
    """
    found = {}
    for stratum in cut(table):
        items = stratum.items
        reachable = ~items.name_response_only if measure == "name" else items.answerable
        row = {
            ("", "items"): len(items),
            ("", "dialogues"): items.dialogue_id.nunique(),
            ("", "ceiling"): 100 * reachable.mean(),
        }
        for arm, answers in stratum.rows.groupby("arm", sort=False):
            row[arm, "zero"] = rate(answers[answers.stage == 0], measure)
            row[arm, "final"] = rate(answers[answers["last"]], measure)
        found[stratum.name] = row
    found = pd.DataFrame.from_dict(found, orient="index")
    found.columns = pd.MultiIndex.from_tuples(found.columns)
    return found.astype({("", "items"): int, ("", "dialogues"): int})


def by_stratum(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The effects of DECOMPOSED within every stratum, see `crossing.effects`.

    Where arms were asked in their own condition only, the gap between them at the end takes their
    place. `table` holds one of the `crossing.combinations`. Columns: `effect, group, stratum,
    items, mean, low, high, p, pairs`; empty strata are left out.
    """
    is_crossed = effects(table, [measure], which=["training@full"])["items"].any()
    parts = []
    for stratum in cut(table):
        if is_crossed:
            found = effects(stratum.rows, [measure], which=DECOMPOSED)
            found = found[found["items"] > 0]
        else:
            found = _own_gaps(stratum, measure)
        parts.append(found.assign(group=stratum.group, stratum=stratum.name))
    columns = ["effect", "group", "stratum", "items", "mean", "low", "high", "p", "pairs"]
    return pd.concat(parts, ignore_index=True)[columns]


def _own_gaps(stratum: Stratum, measure: str) -> pd.DataFrame:
    found = comparisons(stratum.rows, [measure]).query("when == 'final'")
    pairs = zip(found.left, found.right, strict=True)
    effect = [f"{left} minus {right}, own prompts" for left, right in pairs]
    return found.assign(effect=effect, items=len(stratum.items))
