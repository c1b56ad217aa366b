import json

from trajnb.corpora import blocks
from trajnb.formatting.dialogue import Call, Dialogue, Turn


def dialogue(*names, said="Hello.", documents=()):
    lines = tuple(json.dumps({"name": n, "description": d, "parameters": {}}) for n, d in documents)
    return Dialogue("d", "", lines, (Turn("user", said), *(Turn("api", "", Call(name)) for name in names)))


def test_most_calls_decide_and_the_earliest_at_a_tie():
    assert blocks.semantic(
        [
            dialogue("GetUserToken", "GetUserToken", "AddAlarm"),
            dialogue("Wiki", "AddAlarm", "AddAlarm"),
            dialogue("Wiki", "AddAlarm"),
        ]
    ) == ["schedule", "schedule", "info_home_travel"]


def test_unseen_apis_go_by_their_documents():
    unseen = {
        "BloodTypeFinder": ("Finds the blood type of a patient in the hospital's records.", "health"),
        "LoanEstimator": ("Estimates the interest of a bank loan for an account.", "account_finance"),
        "EventPlanner": ("Adds an event to the calendar and reminds of its deadline.", "schedule"),
        "SongFinder": ("Searches for music by its title.", "info_home_travel"),
    }
    dialogues = [dialogue(name, documents=[(name, about)]) for name, (about, _) in unseen.items()]
    assert blocks.semantic(dialogues) == [block for _, block in unseen.values()]
    assert blocks.semantic(dialogues[::-1]) == [block for _, block in unseen.values()][::-1], "order matters"


def test_without_a_vote_what_is_said_decides():
    assert blocks.semantic(
        [
            dialogue("ToolSearcher", said="Then call QueryReminder, please."),
            dialogue("ToolSearcher", said="Which doctor treats this symptom?"),
        ]
    ) == ["schedule", "health"]


def test_balanced_bins_are_filled_greedily():
    labels = ["a"] * 5 + ["b"] * 3 + ["c"] * 3 + ["d"] * 1 + ["e"] * 1
    bins = blocks.balanced(labels, ["x" * 10] * len(labels), len)
    chosen = dict(zip(labels, bins, strict=True))
    assert chosen == {"a": "bin_1", "b": "bin_2", "c": "bin_3", "d": "bin_4", "e": "bin_4"}


def test_a_name_weighs_by_its_first_rows():
    texts = ["x" * 10] * 20 + ["x" * 1000] * 20 + ["x" * 12] * 39
    bins = blocks.balanced(["a"] * 40 + ["b"] * 39, texts, len, bins=2)
    assert bins[0] == "bin_2", "the twenty long rows of a are behind the twenty that are looked at"


def test_rare_names():
    assert blocks.rare(["a"] * 10 + ["b"] * 9) == {"b"}
