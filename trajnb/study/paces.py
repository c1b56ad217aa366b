"""How fast models were on this machine, by the records of finished runs that lie on it."""

from collections.abc import Collection, Iterable
from pathlib import Path
from statistics import median

from trajnb.checks import to_record
from trajnb.files import read_json
from trajnb.machine import describe
from trajnb.schema import Record
from trajnb.study.estimate import MEASURED, estimate

MOST = 3
"""Records of a model that are looked at, the latest: an estimate of each reads its corpus."""


def records_beside(out: Path) -> list[Record]:
    """The records of finished runs in the folder of a study and in those beside it, the latest first;
    one that cannot be read says nothing here.
    """
    found = []
    for path in out.resolve().parent.glob("*/runs/*/record.json"):
        try:
            found.append(to_record(read_json(path)))
        except (OSError, ValueError):
            continue
    return sorted(found, key=lambda record: record.finished, reverse=True)


def paces(records: Iterable[Record], models: Collection[str]) -> dict[str, float]:
    """By model, how many times as long it takes as the model that estimates are measured on: the
    median of its records that were made on this machine, from start to end.
    """
    here = describe()
    found: dict[str, list[float]] = {}
    for record in records:
        model = record.parameters["model"]
        known = model in models and model != MEASURED and record.machine.startswith(here)
        if not known or record.resumed or len(found.get(model, [])) == MOST:
            continue
        try:
            usual = estimate(record.parameters, pace=1.0).seconds
        except (ValueError, OSError, KeyError):  # its corpus is not here, or it is of an older version
            continue
        if usual:
            found.setdefault(model, []).append(record.seconds["total"] / usual)
    return {model: median(ratios) for model, ratios in found.items()}
