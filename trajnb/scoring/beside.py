"""What only some runs measured: dialogues played to their end, and answers where a turn ends."""

from collections.abc import Sequence

import pandas as pd

from trajnb.records import Run, read_beside
from trajnb.scoring import dialogues
from trajnb.scoring.arms import arms_of
from trajnb.textless import is_dialogue
from trajnb.world.unpassable import UNPASSABLE


def played(runs: Sequence[Run]) -> pd.DataFrame:
    """The metrics of dialogues that were played to their end, by arm, test prompts and who ends a
    turn, see `dialogues.summary`; empty where none was.

    `success, passable` leaves out the dialogues whose reference demands what nobody can know.
    """
    lines = _lines(runs, "rollouts.jsonl")
    if not lines:
        return pd.DataFrame()
    table = dialogues.table(lines).assign(arm=[line["arm"] for line in lines])
    by = ["arm", "eval_condition", "ends"]
    found = dialogues.summary(table, by)
    origin = zip(table.dialogue_id, [line["corpus"] for line in lines], strict=True)
    passable = table[[not is_dialogue(name, corpus, UNPASSABLE) for name, corpus in origin]]
    found.insert(2, "success, passable", dialogues.summary(passable, by).success)
    return found


def stops(runs: Sequence[Run]) -> pd.DataFrame:
    """Percent of turns that a model ended where they end, by arm and test prompts (rows) and stage;
    nan for a stage that was not asked about all turns, empty where none was asked.
    """
    lines = _lines(runs, "stops.jsonl")
    if not lines:
        return pd.DataFrame()
    right = pd.DataFrame(lines).groupby(["arm", "eval_condition", "stage"], sort=False).canonical
    turns = right.size().unstack().sort_index(axis=1)
    share = (100 * right.mean()).unstack().sort_index(axis=1)
    return share.where(turns.eq(turns.max(axis=1), axis=0))


def _lines(runs: Sequence[Run], name: str) -> list[dict]:
    """The lines of a file beside the records, where there is one, with the arm and the corpus of
    their run.
    """
    found = []
    arms = arms_of([run.record.parameters for run in runs])
    for run, arm in zip(runs, arms, strict=True):
        lines = read_beside(run.folder).get(name, [])
        found += [{**line, "arm": arm, "corpus": run.record.corpus["name"]} for line in lines]
    return found
