import pytest

from trajnb.formatting.conditions import CONDITIONS, messages
from trajnb.world.rollout import roll
from trajnb.world.rule import reference_calls


@pytest.fixture(scope="module")
def dialogues(bfcl):
    """Five of every block, held out."""
    held_out = [one for one in bfcl.dialogues if one.id in bfcl.held_out]
    return [one for block in bfcl.blocks for one in [d for d in held_out if d.block == block][:5]]


def follow(dialogues, change=lambda name, turn, place, text: text, end="[]"):
    """A model that makes the reference calls, or what `change` makes of them, and then says `end`."""
    calls = {one.id: reference_calls(one) for one in dialogues}

    def ask(histories):
        said = {}
        for name, history in histories.items():
            turn = sum(one.role == "user" for one in history.turns) - 1
            place = history.ordinal - 1
            wanted = calls[name][turn]
            text = wanted[place] if place < len(wanted) else end
            said[name] = f"API-Request: {change(name, turn, place, text)}"
        return said

    return ask


@pytest.mark.parametrize("ends", ["oracle", "model"])
def test_the_reference_succeeds_and_sees_the_recorded_history(sandbox, worlds, dialogues, ends):
    seen = {}
    follower = follow(dialogues)

    def ask(histories):
        for name, history in histories.items():
            seen[name] = history
        return follower(histories)

    done = roll(sandbox, dialogues, worlds, ask, ends=ends)
    assert [one.dialogue_id for one in done] == [one.id for one in dialogues]
    for rollout, dialogue in zip(done, dialogues, strict=True):
        assert rollout.verdict.success and rollout.verdict.progress == 1 and rollout.cut == 0
        assert not any(call.failed for call in rollout.calls)
        last = seen[dialogue.id].turns
        assert last == dialogue.turns[: len(last)], "the history is that of the corpus"


def test_an_error_is_a_response_in_the_next_prompt_and_fails_the_turn(sandbox, worlds, dialogues):
    def change(name, turn, place, text):
        return "I would rather not." if (turn, place) == (0, 0) else text

    prompts = {}
    follower = follow(dialogues, change)

    def ask(histories):
        for name, history in histories.items():
            prompts.setdefault(name, []).append(messages(history, CONDITIONS["full"](history))[1]["content"])
        return follower(histories)

    for rollout in roll(sandbox, dialogues, worlds, ask):
        first = rollout.calls[0]
        assert first.failed and first.response.startswith("Error during execution")
        assert not rollout.verdict.success and rollout.verdict.progress == 0
        second = prompts[rollout.dialogue_id][1]
        assert f"API-Request: I would rather not.\nAPI-Response: {first.response}" in second


def test_under_stripped_prompts_only_the_ordinal_tells_of_own_calls(sandbox, worlds, dialogues):
    prompts = []
    follower = follow(dialogues)

    def ask(histories):
        prompts.extend(messages(h, CONDITIONS["stripped"](h))[1]["content"] for h in histories.values())
        return follower(histories)

    roll(sandbox, dialogues, worlds, ask)
    assert not any("API-Request" in prompt or "API-Response" in prompt for prompt in prompts)
    assert any("Generate API Request 2:" in prompt for prompt in prompts)


def test_a_model_that_does_not_stop_is_stopped(sandbox, worlds, dialogues):
    done = roll(sandbox, dialogues[:2], worlds, follow(dialogues, end="[pwd()]"), ends="model", max_calls=7)
    for rollout, dialogue in zip(done, dialogues, strict=False):
        turns = sum(turn.role == "user" for turn in dialogue.turns)
        assert rollout.cut == turns and len(rollout.calls) == 7 * turns


def test_a_model_that_calls_nothing_fails(sandbox, worlds, dialogues):
    done = roll(sandbox, dialogues, worlds, lambda histories: dict.fromkeys(histories, "[]"), ends="model")
    assert not any(one.calls or one.verdict.success for one in done)


def test_playing_twice_gives_the_same(sandbox, worlds, dialogues):
    def change(name, turn, place, text):
        return text.replace("'", "''", 1) if place % 2 else text

    first, second = (roll(sandbox, dialogues, worlds, follow(dialogues, change)) for _ in range(2))
    assert first == second


def test_wrong_words_and_worlds_are_named(sandbox, worlds, dialogues):
    with pytest.raises(ValueError, match="unknown ends 'users': one of oracle, model"):
        roll(sandbox, dialogues, worlds, follow(dialogues), ends="users")
    with pytest.raises(ValueError, match="has no world to be played in"):
        roll(sandbox, dialogues, {}, follow(dialogues))
