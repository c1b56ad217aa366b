import random
from dataclasses import replace
from itertools import groupby, takewhile

import pytest
import torch

from trajnb.corpora.load import load_corpus
from trajnb.formatting.conditions import full, messages
from trajnb.formatting.dialogue import Turn
from trajnb.formatting.examples import steps
from trajnb.qlora import progress
from trajnb.qlora.attention import Cache
from trajnb.qlora.chat import chat_tokens
from trajnb.qlora.session import Session

TIE = 1e-4  # two best logits closer than this may swap under another order of sums
A, B = list(range(1, 31)), list(range(60, 100))  # prompts


@pytest.fixture
def end(tokenizer):
    return tokenizer.eos_token_id


@pytest.fixture
def plain(make_model):
    """Unbatched greedy decoding by transformers, of the whole prompt, with the adapter beside the
    weights.
    """
    model = make_model("none").eval()

    def generate(prompt, end, limit):
        with torch.inference_mode():
            output = model.generate(
                input_ids=torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=limit,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=end,
            )
        return output[0, len(prompt) :].tolist()

    return generate


@pytest.fixture
def ask(plain):
    """A function that answers and compares every reply with `plain`."""

    def answer(session, **prompts):
        replies = session.answer(prompts)
        assert list(replies) == list(prompts)
        for name, reply in replies.items():
            expected = plain(prompts[name], session.end_token, session.max_new_tokens)
            if reply.tokens != expected:
                assert reply.margin < TIE, f"{name}: {reply.tokens} where generate says {expected}"
            assert reply.stopped == (reply.tokens[-1] == session.end_token)
        return replies

    return answer


@pytest.fixture
def rows(model):
    """How many tokens went through the model, by forward pass; it grows as passes are made."""
    sizes = []
    inner = model.get_base_model()
    inner.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    return sizes


def common(one, other):
    """The length of the longest common prefix."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))


@pytest.mark.parametrize("own", [False, True], ids=["gold history", "own history"])
def test_growing_prompts_are_answered_as_generate_answers_them(
    model, tokenizer, end, ask, rows, own
):
    dialogues = load_corpus("sample", documents="used").dialogues
    pending = {dialogue.id: list(steps(dialogue)) for dialogue in dialogues}
    said, held = {name: [] for name in pending}, {name: [] for name in pending}
    whole = expected = 0
    with Session(model, end_token=end, max_new_tokens=12) as session:
        while pending:
            prompts = {}
            for name, (step, *_) in pending.items():
                history = rewritten(step.history, said[name]) if own else step.history
                prompt = chat_tokens(
                    tokenizer, messages(history, full(history)), add_generation_prompt=True
                )
                whole += len(prompt)
                expected += len(prompt) - min(common(prompt, held[name]), len(prompt) - 1)
                prompts[name] = prompt
            for name, reply in ask(session, **prompts).items():
                said[name].append(tokenizer.decode(reply.tokens, skip_special_tokens=True) or "-")
                held[name] = prompts[name] + reply.tokens[:-1]
                whole += len(reply.tokens) - 1
                expected += len(reply.tokens) - 1
                if len(pending[name]) == 1:
                    session.forget(name)
            pending = {name: left for name, (_, *left) in pending.items() if left}
        assert not session.caches
    assert sum(rows) == expected
    less = f"{whole / expected:.1f} times less"
    print(f"{expected} tokens computed of {whole}, {less}, in {len(rows)} passes")


def rewritten(history, said):
    """A history in which the model's own words stand as its requests."""
    words = iter(said)
    turns = [
        turn if turn.role != "api" else Turn("api", turn.text, None, next(words))
        for turn in history.turns
    ]
    return replace(history, turns=tuple(turns))


@pytest.mark.parametrize(
    "family, row_tokens", [("llama", 1), ("llama", 7), ("llama", 2048), ("qwen2", 7)]
)
@pytest.mark.parametrize("seed", range(3))
def test_prompts_that_change_anywhere_at_any_time(model, end, ask, seed, row_tokens):
    draw = random.Random(seed)
    prompts = {}

    def words():
        return draw.choices(range(4), k=draw.randint(1, 12))

    with Session(model, end_token=end, max_new_tokens=5, row_tokens=row_tokens) as session:
        for _ in range(12):
            for name in "abcd":
                prompt = prompts.get(name, [])
                place = draw.randint(0, len(prompt))
                prompts[name] = draw.choice(
                    [
                        prompt or [1],
                        prompt + words(),
                        prompt[:place] or [1],
                        prompt[:place] + words(),
                    ]
                )
            for name in draw.sample("abcd", draw.choice([0, 0, 1])):
                session.forget(name)
            asked = draw.sample("abcd", draw.randint(1, 4))
            for name, reply in ask(session, **{name: prompts[name] for name in asked}).items():
                prompts[name] = prompts[name] + draw.choice([[], reply.tokens[:-1], reply.tokens])


def test_only_what_differs_is_read(model, end, ask, rows):
    def read(prompt):
        before = len(rows)
        ask(session, a=prompt)
        return rows[before]  # the passes after the first are for the reply

    with Session(model, end_token=end, max_new_tokens=4) as session:
        assert read(A) == 30
        assert read([*A, 40, 41]) == 2
        assert read([*A, 40, 41]) == 1, "of an equal prompt the last token is asked again"
        assert read([*A[:10], 200, *A[11:]]) == 20
        assert read(A[:5]) == 1
        assert read([*A[:5], *B]) == 40
        assert read([200]) == 1


def test_what_was_said_is_not_read_again_where_the_next_prompt_repeats_it(model, end, ask, rows):
    with Session(model, end_token=end, max_new_tokens=6) as session:
        said = ask(session, a=A)["a"].tokens
        assert len(said) == 6, "this test is about a reply of several tokens"
        rows.clear()
        ask(session, a=[*A, *said, 40, 41])
        assert rows[0] == 3, "the last token said has gone through no pass yet"


def test_a_dialogue_may_join_later_and_be_left_out(model, end, ask, rows):
    with Session(model, end_token=end, max_new_tokens=4) as session:
        ask(session, a=A)
        ask(session, a=[*A, 40], b=B)
        ask(session, b=[*B, 1, 2])
        rows.clear()
        ask(session, b=[*B, 1, 2, 3], a=[*A, 40, 41])
        assert rows[0] == 2


def test_a_forgotten_dialogue_is_freed_and_read_anew(model, end, ask, rows):
    with Session(model, end_token=end, max_new_tokens=4) as session:
        ask(session, a=A, b=B)
        session.forget("a")
        session.forget("never asked")
        assert list(session.caches) == ["b"]
        rows.clear()
        ask(session, a=[*A, 40], b=[*B, 40])
        assert rows[0] == 31 + 1


def test_long_prompts_are_read_in_rows_of_the_budget(model, end, ask, rows):
    with Session(model, end_token=end, max_new_tokens=1, row_tokens=32) as session:
        ask(session, a=A, b=B, c=[5])
    assert rows == [32, 32, 7]


def test_dialogues_are_decoded_together_until_each_has_ended(model, end, ask, rows, plain):
    first, second = (plain(prompt, end, 8) for prompt in (A, B))
    stop = next(token for token in first if token not in second)
    with Session(model, end_token=stop, max_new_tokens=8) as session:
        replies = ask(session, a=A, b=B)
    length = first.index(stop) + 1
    assert replies["a"].stopped and len(replies["a"].tokens) == length
    assert not replies["b"].stopped and len(replies["b"].tokens) == 8
    assert rows == [70, *[2] * (length - 1), *[1] * (8 - length)]


def test_an_end_token_at_once_is_the_whole_reply(model, end, ask, plain, rows):
    (first,) = plain(A, end, 1)
    with Session(model, end_token=first, max_new_tokens=8) as session:
        assert ask(session, a=A)["a"].tokens == [first]
        assert rows == [30]


def test_no_prompts_no_replies(model, end, rows):
    with Session(model, end_token=end, max_new_tokens=8) as session:
        assert session.answer({}) == {} and rows == []


def test_the_margin_is_the_smallest_gap_of_the_two_best_logits(model, make_model, end):
    with Session(model, end_token=end, max_new_tokens=8) as session:
        reply = session.answer({"a": A, "b": B})["b"]
    with torch.inference_mode():
        logits = (
            make_model("none").eval()(torch.tensor([B + reply.tokens[:-1]])).logits[0, len(B) - 1 :]
        )
    best = logits.topk(2).values
    assert reply.margin == pytest.approx((best[:, 0] - best[:, 1]).min().item(), abs=1e-5)


def test_a_pass_that_fails_does_no_harm(model, end, ask):
    with Session(model, end_token=end, max_new_tokens=4, row_tokens=16) as session:
        ask(session, a=A)
        calls = []

        def fail(*_):
            calls.append(1)
            if len(calls) == 3:
                raise MemoryError

        hook = model.get_base_model().model.layers[1].register_forward_pre_hook(fail)
        with pytest.raises(MemoryError):
            session.answer({"a": [*A[:20], *B]})
        hook.remove()
        ask(session, a=[*A[:20], *B], b=B)


def test_weights_and_mode_are_given_back_whatever_happens(model, end):
    model.train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(RuntimeError), Session(model, end_token=end, max_new_tokens=4) as session:
        assert not model.training
        session.answer({"a": A})
        assert any(
            not torch.equal(before[name], weight) for name, weight in model.state_dict().items()
        )
        raise RuntimeError
    assert model.training and not session.caches
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_progress_is_told_while_reading_and_while_writing(model, end, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    said = []
    with Session(model, end_token=-1, max_new_tokens=3, row_tokens=32, tell=said.append) as session:
        session.answer({"a": A, "b": B})
        counts = [16, 32, 32, 48, 64, 64, 67, 70]  # three rows, two layers
        read = [f"read {count} of 70 tokens of prompts" for count in counts]
        written = ["written 0 of 2 answers"] * 2  # after the first token and after the second
        assert [line.partition(" · ")[0] for line in said] == read + written
        said.clear()
        session.answer({"a": [*A, 3, 4]})
        assert said[0].startswith("read 1 of 2 tokens"), "what is held is not read"


def test_a_short_wait_is_silent(model, end):
    said = []
    with Session(model, end_token=end, max_new_tokens=3, tell=said.append) as session:
        session.answer({"a": A, "b": B})
    assert said == []


def test_errors_say_what_is_wrong(model, end):
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        Session(model, end_token=end, max_new_tokens=0)
    with pytest.raises(ValueError, match="row_tokens is 0"):
        Session(model, end_token=end, max_new_tokens=1, row_tokens=0)
    with pytest.raises(AssertionError, match="within its `with` block"):
        Session(model.train(), end_token=end, max_new_tokens=1).answer({"a": A})
    with Session(model, end_token=end, max_new_tokens=1) as session:
        with pytest.raises(ValueError, match="dialogue 'b' is empty"):
            session.answer({"a": A, "b": []})


def test_a_cache_is_written_in_place_and_grows_by_doubling():
    cache, draw = Cache(), torch.Generator().manual_seed(0)
    key, value = (torch.randn(1, 2, 40, width, generator=draw) for width in (4, 3))
    places = []
    for size in [5, *[1] * 35]:
        start = len(cache.tokens)
        keys, values = cache.write(
            0, key[:, :, start : start + size], value[:, :, start : start + size]
        )
        cache.tokens.extend([0] * size)
        assert torch.equal(keys, key[:, :, : start + size])
        assert torch.equal(values, value[:, :, : start + size])
        places.append((keys.data_ptr(), values.data_ptr()))
    # with up to 8, 16, 32 and 40 tokens
    assert [len(list(same)) for _, same in groupby(places)] == [4, 8, 16, 8]
