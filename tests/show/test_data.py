"""A study out of its pages: what is written is all of the records, from which they can be rebuilt."""

import json

import pandas as pd
import pytest
from click.testing import CliRunner

from trajnb import explore
from trajnb.machine import ROOT
from trajnb.scoring.score import matrix
from trajnb.show import data, named
from trajnb.study import cli

QUICK = ROOT / "reports" / "quick"


@pytest.fixture(scope="module")
def study():
    return explore.open(QUICK)


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    """The folder of everything but figures, which other tests draw."""
    out = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(data, "FIGURES", {"outcomes": named.FIGURES["outcomes"]})
        study.write(out)
    return out


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_rebuild_the_matrices_of_the_records(study, written, kind):
    read = getattr(pd, f"read_{kind}")
    items, answers = read(written / f"items.{kind}"), read(written / f"predictions.{kind}")
    for run in study.kept:
        own = answers[answers.run == run.folder.name]
        found = matrix(own.to_dict("records"), run.record.blocks)
        for condition, scores in run.record.matrix.items():
            assert found[condition]["canonical"] == scores["canonical"]
        assert (items.run == run.folder.name).sum() == len(run.items)


def test_parquet_has_texts_as_they_are(study, written):
    rows = pd.read_parquet(written / "predictions.parquet")
    assert list(rows.prediction) == list(study.predictions.prediction)
    played = pd.read_parquet(written / "rollouts.parquet")
    assert [json.loads(calls) for calls in played.calls] == list(study.rollouts.calls)


def test_tables_and_figures_are_there_in_every_form(written):
    names = {path.name for path in written.iterdir()}
    assert {f"{name}.{kind}" for name in named.TABLES for kind in ("csv", "tex")} <= names
    assert {"outcomes-figure.svg", "outcomes-figure.pdf"} <= names


def test_hostile_texts_are_written(write_run, tmp_path):
    def tamper(row):
        row["prediction"] = "=cmd|' /c calc'!A1\x00"

    write_run(tmp_path / "full-s0", tamper=tamper)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(data, "FIGURES", {})
        explore.open(tmp_path).write(tmp_path / "out")
    assert pd.read_parquet(tmp_path / "out" / "predictions.parquet").prediction[0].startswith("=cmd")
    assert ",=cmd" not in (tmp_path / "out" / "predictions.csv").read_text()


def test_the_commands(tmp_path, monkeypatch):
    def told(*words):
        return CliRunner().invoke(cli.main, [str(word) for word in words])

    opened = []
    monkeypatch.setattr(cli.webbrowser, "open", lambda address: opened.append(address) or True)
    assert told("view", QUICK).output.endswith("index.html\n")
    assert opened == [(QUICK / "index.html").resolve().as_uri()]
    refused = told("view", tmp_path)
    assert refused.exit_code == 1 and f"trajnb report {tmp_path} writes it" in refused.output
    refused = told("data", tmp_path)
    assert refused.exit_code == 1 and "no finished run" in refused.output
    assert not (tmp_path / "data").exists()
