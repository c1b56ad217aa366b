"""The live line of a study: short enough for its terminal, and never without the time left."""

import pytest

from trajnb.study.live import TURN, Outlook, live_line

SAID = "block 2/4 schedule · step 12/34, 16 of 960 tokens · 64 tokens/s · 7 min 51 s left in this block"


def test_time_left_is_that_of_jobs_of_the_same_kind():
    outlook = Outlook(total=6, slots=2)
    assert outlook.left([("train", 10.0)], ["train"]) is None
    outlook.end("train", 100.0)
    outlook.end("train", 140.0)
    assert outlook.left([("train", 20.0)], ["train", "train"]) == pytest.approx((100 + 240) / 2)
    assert outlook.left([("train", 20.0)], []) == 100  # one slot is empty then
    assert outlook.left([("train", 500.0)], []) == 0
    assert outlook.left([], ["lookup"]) is None


def test_a_job_that_was_finished_elsewhere_teaches_no_time():
    outlook = Outlook(total=2, slots=1)
    outlook.end("train")
    assert outlook.ended == 1
    assert outlook.left([], ["train"]) is None


@pytest.mark.parametrize("width", [40, 60, 79, 120, 200])
@pytest.mark.parametrize("left", [None, 3.0, 2460.0])
def test_a_line_fits_and_says_what_is_left(width, left):
    jobs = [("stripped-s1-0123abcd", SAID)]
    line = live_line(Outlook(6, 1, ended=3), left, jobs, now=0.0, width=width)
    assert len(line) <= width
    assert line.startswith("3/6 · ")
    assert "left" in line
    if width >= 79:
        assert line.endswith("left in this block")
        assert "stripped-s1" in line


def test_jobs_take_turns():
    jobs = [("one", "a"), ("two", "b")]
    lines = [live_line(Outlook(2, 2), 60.0, jobs, now, 80) for now in (0, TURN, 2 * TURN)]
    assert lines == [f"0/2 · 1 min 0 s left · {name}" for name in ("one · a", "two · b", "one · a")]


def test_nothing_runs_yet():
    assert live_line(Outlook(2, 1), None, [], 0, 80) == "0/2 · time left unknown"
