"""A study out of its pages: records as CSV and parquet, tables as LaTeX, figures as SVG and PDF."""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pandas as pd

from trajnb.files import write_bytes
from trajnb.records import Run, read_beside
from trajnb.show.named import FIGURES, TABLES, Results, figure, table
from trajnb.show.outputs import csv_of

FIGURE_KINDS = ("svg", "pdf")


def items_of(runs: Sequence[Run]) -> pd.DataFrame:
    """A row a held-out call of a run, see `schema.Item`; columns as `predictions_of` has them."""
    parts = [pd.DataFrame(run.items).assign(run=run.folder.name) for run in runs]
    return pd.concat(parts, ignore_index=True)


def rollouts_of(runs: Sequence[Run]) -> pd.DataFrame:
    """A row a dialogue that a run played, as in `rollouts.jsonl`; empty where none was."""
    rows = []
    for run in runs:
        lines = read_beside(run.folder).get("rollouts.jsonl", [])
        rows += [{"run": run.folder.name, **line} for line in lines]
    return pd.DataFrame(rows)


def write_data(results: Results, out: Path) -> list[Path]:
    """Write the records, tables and figures of a study to the folder `out`, and return the paths.

    `items`, `predictions` and, where there are, `rollouts` are CSV and parquet: every row of the
    records, from which their matrices follow. Each of `named.TABLES` is CSV and LaTeX, each of
    `named.FIGURES` SVG and PDF; what a study has nothing of is left out.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    records = {"items": items_of(results.runs), "predictions": results.rows}
    for name, rows in (records | {"rollouts": rollouts_of(results.runs)}).items():
        if len(rows):
            written += _rows(rows, out / name)
    for name in TABLES:
        found = table(results, name)
        if len(found.words):
            written.append(found.to_csv(out / f"{name}.csv"))
            found.to_latex(out / f"{name}.tex")
            written.append(out / f"{name}.tex")
    for name in FIGURES:
        drawing = figure(results, name)
        for kind in FIGURE_KINDS:
            written += drawing.savefig(out / f"{name}-figure.{kind}") if drawing.figures else []
    return written


def _rows(rows: pd.DataFrame, stem: Path) -> list[Path]:
    """CSV and parquet of the same rows."""
    flat = _flat(rows)
    paths = [stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.parquet")]
    packed = BytesIO()
    flat.to_parquet(packed, index=False)
    write_bytes(paths[0], csv_of(flat).encode("utf-8"))
    write_bytes(paths[1], packed.getvalue())
    return paths


def _flat(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose cells are numbers, texts, or nothing: what has parts as JSON, arms in words."""
    flat = rows.copy()
    for column in flat:
        if not pd.api.types.is_numeric_dtype(flat[column]):
            flat[column] = [_cell(value) for value in flat[column]]
    return flat


def _cell(value: object) -> object:
    if isinstance(value, dict | list | tuple):
        return json.dumps(value)
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    return value if isinstance(value, str | bool | int | float) else str(value)
