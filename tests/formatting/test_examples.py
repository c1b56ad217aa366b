import subprocess
import sys
from dataclasses import replace

import pytest

from trajnb.formatting.calls import parse, render
from trajnb.formatting.conditions import CONDITIONS
from trajnb.formatting.dialogue import Call, Dialogue, Turn
from trajnb.formatting.examples import STRATA, build_examples, ends, is_response_only, steps
from trajnb.scoring import ceilings


@pytest.fixture(scope="session")
def rows(bfcl):
    """All 1142 rows by condition, training examples first."""
    return {
        condition: [row for split in ("train", "held_out") for row in build_examples(bfcl, condition, split)]
        for condition in CONDITIONS
    }


def count_words(messages):
    return sum(len(message["content"].split()) for message in messages)


def key(row):
    return row["dialogue_id"], row["step"]


def test_each_call_is_one_example(rows):
    for condition, some in rows.items():
        assert len(some) == 1142 and len(set(map(key, some))) == 1142, condition
        assert sum(row["split"] == "train" for row in some) == 913
        assert all(row["cut_turns"] == 0 for row in some)


def test_columns(bfcl):
    examples = build_examples(bfcl, "full", "held_out")
    where = ["prompt", "completion", "dialogue_id", "step", "block", "split", "target"]
    assert examples.column_names == [*where, *STRATA, "cut_turns", "gold"]
    order = [dialogue.id for dialogue in bfcl.dialogues if dialogue.id in bfcl.held_out]
    assert list(dict.fromkeys(examples["dialogue_id"])) == order
    row = examples[0]
    assert [message["role"] for message in row["prompt"]] == ["system", "user"]
    assert row["completion"] == [{"role": "assistant", "content": f"API-Request: {row['gold']}"}]


def test_the_ordinal_makes_all_prompts_of_a_condition_unique(rows):
    for condition, some in rows.items():
        assert len({str(row["prompt"]) for row in some}) == 1142, f"{condition} has contradicting examples"
        without = {str(row["prompt"]).replace(f"Request {row['ordinal']}:", "Request:") for row in some}
        assert condition != "stripped" or len(without) == 731


def test_strata(rows):
    some = rows["full"]
    assert [sum(row["ordinal"] == 1 for row in some), sum(row["ordinal"] > 1 for row in some)] == [731, 411]
    assert sum(row["response_only"] for row in some) == 270
    assert sum(row["seen_target"] for row in some if row["split"] == "held_out") == 116
    seen_by_block = [row["block"] for row in some if row["split"] == "held_out" and row["seen_target"]]
    assert seen_by_block.count("vehicle_control") == 60
    assert all(row["seen_target"] for row in some if row["split"] == "train")


def test_strata_do_not_depend_on_the_condition(rows):
    for some in rows.values():
        assert [[row[name] for name in STRATA] for row in some] == [
            [row[name] for name in STRATA] for row in rows["full"]
        ]


def test_the_same_prompt_rows_are_the_same_and_the_others_are_not(rows):
    some = list(zip(*rows.values(), strict=True))
    assert sum(versions[0]["same_prompt"] for versions in some) == 200
    for versions in some:
        prompts = {str(row["prompt"]) for row in versions}
        same = versions[0]["answerable"]  # no values to add: stripped+values is stripped
        assert len(prompts) == (1 if versions[0]["same_prompt"] else len(rows) - same), key(versions[0])


def test_golds_read_back(rows):
    for row in rows["full"]:
        assert render(parse(row["completion"][0]["content"])) == row["gold"]


def test_prompts_of_a_dialogue_grow_from_a_shared_beginning(rows):
    for earlier, later in zip(rows["full"], rows["full"][1:], strict=False):
        if earlier["dialogue_id"] == later["dialogue_id"]:
            assert earlier["prompt"][0] == later["prompt"][0]
            said = earlier["prompt"][1]["content"].rpartition("\n")[0]
            assert later["prompt"][1]["content"].startswith(said)


def test_whole_oldest_turns_are_cut_and_counted(sample):
    whole = build_examples(sample, "full", "train")
    longest = max(whole, key=lambda row: count_words([*row["prompt"], *row["completion"]]))
    limit = count_words([*longest["prompt"], *longest["completion"]]) - 1
    part = build_examples(sample, "full", "train", max_length=limit, count_tokens=count_words)
    row = next(row for row in part if key(row) == key(longest))
    assert row["cut_turns"] == 1
    assert row["prompt"][0] == longest["prompt"][0], "a document was cut"
    kept = row["prompt"][1]["content"]
    assert kept.startswith("User: ") and longest["prompt"][1]["content"].endswith("\n" + kept)
    assert row["completion"] == longest["completion"]
    assert [row["cut_turns"] for row in part].count(0) >= len(part) // 2, "more was cut than had to be"
    assert {k: row[k] for k in STRATA} == {k: longest[k] for k in STRATA}, "strata are about the dialogue"


def test_what_cannot_be_cut_is_an_error_by_name(sample):
    with pytest.raises(
        ValueError,
        match=r"dialogue multi_turn_base_\d+, step \d+, condition 'full': documents, last user turn",
    ):
        build_examples(sample, "full", "train", max_length=20, count_tokens=count_words)
    with pytest.raises(ValueError, match=r"multi_turn_base_\d+, step \d+, .*: the completion alone has"):
        build_examples(sample, "full", "train", max_length=1, count_tokens=count_words)


@pytest.mark.parametrize(
    "condition, split, more, message",
    [
        ("fulll", "train", {}, r"unknown condition 'fulll' \(did you mean 'full'\?\); known: stripped, full"),
        ("full", "test", {}, "unknown split 'test'"),
        ("full", "train", {"max_length": 5}, "max_length and count_tokens go together"),
    ],
)
def test_wrong_arguments_are_named(sample, condition, split, more, message):
    with pytest.raises(ValueError, match=message):
        build_examples(sample, condition, split, **more)


def test_a_user_turn_may_have_no_call(bfcl):
    dialogue = next(d for d in bfcl.dialogues if d.id == "multi_turn_base_167")
    assert 4 not in {step.turn for step in steps(dialogue)}
    assert sum(turn.role == "user" for turn in dialogue.turns) > 4


def test_the_end_of_every_turn_is_an_example_of_its_own(bfcl, rows):
    stops = build_examples(bfcl, "full", "held_out", stops=True)
    turns = {d.id: sum(turn.role == "user" for turn in d.turns) for d in bfcl.dialogues}
    assert len(stops) == sum(turns[name] for name in bfcl.held_out)
    assert set(stops["target"]) == {"stop"} and set(stops["gold"]) == {"[]"}
    calls = {}
    for row in rows["full"]:
        calls.setdefault((row["dialogue_id"], row["turn"]), []).append(row)
    for row in stops:
        made = calls.get((row["dialogue_id"], row["turn"]), [])
        assert row["ordinal"] == len(made) + 1
        prompt = row["prompt"][1]["content"]
        assert prompt.endswith(f"\nGenerate API Request {len(made) + 1}:")
        assert row["completion"] == [{"role": "assistant", "content": "API-Request: []"}]
        if made:
            last = f"\nAPI-Request: {made[-1]['gold']}\nAPI-Response: "
            assert last in prompt and prompt.rindex(last) > prompt.rindex("User: ")


def test_formatting_imports_neither_torch_nor_transformers():
    code = "import sys, trajnb.formatting.examples; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


TOGETHER = Dialogue(
    "d",
    "sea",
    (),
    (
        Turn("user", "Read both logs, then the weather."),
        Turn("api", "see b.log", Call("read_log", {"name": "a.log"})),
        Turn("api", "calm, 12 kn", Call("read_log", {"name": "b.log"}), together=True),
        Turn("api", "12 kn", Call("get_wind", {"unit": "12"}), together=True),
        Turn("api", "none", Call("warn", {"text": "12 kn"})),
    ),
)


def test_calls_of_one_message_do_not_know_each_others_responses():
    first, second, third, later = steps(TOGETHER, TOGETHER)
    assert [step.history.awaited for step in (first, second, third, later)] == [0, 1, 2, 0]
    requests = ["API-Request: [read_log(name='a.log')]", "API-Request: [read_log(name='b.log')]"]
    for step, before in ((second, requests[:1]), (third, requests)):
        for name in ("full", "requests", "placebo"):
            assert shown(name, step) == [TOLD, *before], name
        for name in ("stripped", "responses", "stripped+values"):
            assert shown(name, step) == [TOLD], name
        assert step.history.needed == () and not is_response_only(step)
        assert not ceilings.sources(step)
        assert all("kn" not in turn.text and "b.log" not in turn.text for turn in step.history.turns)
    assert shown("full", later)[1:5] == [
        requests[0],
        "API-Response: see b.log",
        requests[1],
        "API-Response: calm, 12 kn",
    ]
    assert later.history.needed == ("12 kn",) and is_response_only(later)


def test_the_end_of_a_turn_has_all_responses():
    *_, end = ends(replace(TOGETHER, turns=TOGETHER.turns[:3]))
    assert end.history.awaited == 0
    assert shown("full", end)[-1] == "API-Response: calm, 12 kn"


TOLD = "User: Read both logs, then the weather."


def shown(condition, step):
    return [line.text for line in CONDITIONS[condition](step.history) if line.shown]
