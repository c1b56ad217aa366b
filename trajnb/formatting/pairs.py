"""Step-wise preferences: at a state of a success path, the reply on it before one beside it.

`prompt`, `chosen` and `rejected` are lists of messages, TRL's conversational form of preferences
with an explicit prompt, which is the same for both sides; the other columns say where a pair comes
from. What TP-LLaMA (arXiv 2406.07115) does with ToolBench's trees is `published`; whether a
rejected reply is wrong at all is asked by `verified`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from datasets import Dataset, Features, Value

from trajnb.formatting.calls import REQUEST_PREFIX
from trajnb.formatting.conditions import CONDITIONS, History, messages
from trajnb.formatting.documents import apis_of
from trajnb.formatting.examples import CountTokens, cut_to_fit
from trajnb.formatting.replies import FAILED, NOT_DRAWN, Fork, Reply, form, meaning
from trajnb.known import check_known

LABELS = ("verified", "published")
"""What is no pair: a harmless reply as the rejected one, or a call that failed, made by the model,
as the chosen one; or nothing: all that is beside the path counts as worse.
"""
SIBLINGS = ("earlier", "later", "all")
"""Which replies are rejected: drawn before the one on the path, after it, or both. The reference's
own calls were not drawn, so that beside these all count.
"""
DROPPED = (
    "other siblings",
    "cut",
    "same call",
    "harmless",
    "chosen failed",
    "repeated",
    "over most_pairs",
)
"""Why a reply beside the path makes no pair; the first reason counts."""
ATTEMPT = "Already tried:"
"""What opens the line of an earlier attempt, where attempts are listed."""

_MESSAGES = [{"role": Value("string"), "content": Value("string")}]
FEATURES = Features(
    {side: _MESSAGES for side in ("prompt", "chosen", "rejected")}
    | {name: Value("string") for name in ("task", "dialogue_id", "block", "kind")}
    | {"step": Value("int64"), "harmless": Value("bool")}
)


@dataclass(frozen=True)
class Pairs:
    """Pairs, and why there are no more."""

    rows: tuple[dict, ...]
    dropped: dict[str, int]
    """How many are left out, by reason: each of `DROPPED`, and of a control its own."""

    def dataset(self) -> Dataset:
        """A row for each pair; all columns are there even where there is no pair."""
        columns = {name: [row[name] for row in self.rows] for name in FEATURES}
        return Dataset.from_dict(columns, features=FEATURES)


@dataclass(frozen=True)
class Wording:
    """How a state is put to a model: the same where it is asked and where it is taught."""

    condition: str
    """A name in `CONDITIONS`."""
    cue: str = "ordinal"
    """One of `conditions.CUES`."""
    prompt_tokens: int | None = None
    """The most that a prompt may have; where it has more, its oldest user turns are cut."""
    count_tokens: CountTokens | None = None
    """With `prompt_tokens` only."""

    def prompt(
        self, history: History, name: str, attempts: Sequence[str] = ()
    ) -> list[dict[str, str]]:
        """The messages that ask for the next call.

        Args:
            name: says in errors whose prompt it is.
            attempts: replies to this state, as forms, listed before the cue.

        Raises:
            ValueError: documents and the last user turn alone are too long.
        """

        def written(history: History) -> list[dict[str, str]]:
            prompt = messages(history, CONDITIONS[self.condition](history), self.cue)
            return with_attempts(prompt, attempts)

        if self.prompt_tokens is None:
            return written(history)
        return cut_to_fit(history, written, self.count_tokens, self.prompt_tokens, name)[0]


def with_attempts(
    prompt: Sequence[Mapping[str, str]], attempts: Sequence[str]
) -> list[dict[str, str]]:
    """The prompt with a line for each attempt before the cue, which is its last line."""
    *before, last = map(dict, prompt)
    said, line_break, cue = last["content"].rpartition("\n")
    listed = [f"{ATTEMPT} {attempt}" for attempt in attempts]
    content = "\n".join([*([said] if line_break else []), *listed, cue])
    return [*before, last | {"content": content}]


def build_pairs(
    forks: Iterable[Fork],
    wording: Wording,
    *,
    labels: str = "verified",
    siblings: str = "all",
    most_pairs: int = 0,
) -> Pairs:
    """The pairs of all forks, in their order, those of a fork in the order of draws.

    Args:
        wording: how prompts are written; earlier attempts never stand in them.
        labels: one of `LABELS`.
        siblings: one of `SIBLINGS`.
        most_pairs: of one state, the first drawn; 0 is all.

    Raises:
        ValueError: a word that is not known, a negative count, or a prompt that does not fit.
    """
    check_known("labels", labels, LABELS)
    check_known("siblings", siblings, SIBLINGS)
    if most_pairs < 0:
        raise ValueError(
            f"most_pairs is {most_pairs}: give how many pairs a state may have, or 0 for all"
        )
    dropped, rows, seen = Counter(dict.fromkeys(DROPPED, 0)), [], set()
    for fork in forks:
        prompt, taken = None, 0
        for other in sorted(fork.others, key=lambda reply: reply.draw):
            reason = _why_not(fork, other, labels, siblings)
            if not reason:
                prompt = prompt or wording.prompt(
                    fork.history, f"task {fork.task}, step {fork.step}"
                )
                triple = str(prompt), _chosen(fork), other.text
                reason = "repeated" if triple in seen else None
                if not reason and most_pairs and taken == most_pairs:
                    reason = "over most_pairs"
            if reason:
                dropped[reason] += 1
                continue
            seen.add(triple)
            taken += 1
            rows.append(_row(fork, prompt, other))
    return Pairs(tuple(rows), dict(dropped))


def _why_not(fork: Fork, other: Reply, labels: str, siblings: str) -> str | None:
    """Why a reply makes no pair by itself."""
    chosen = fork.chosen
    drawn = chosen.draw != NOT_DRAWN
    if drawn and siblings != "all" and (siblings == "earlier") != (other.draw < chosen.draw):
        return "other siblings"
    if other.cut:
        return "cut"
    apis = apis_of(fork.history.documents)
    if meaning(other.text, apis) == meaning(chosen.text, apis):
        return "same call"
    if labels == "verified" and other.harmless:
        return "harmless"
    if labels == "verified" and drawn and chosen.kind == FAILED:
        return "chosen failed"
    return None


def _chosen(fork: Fork) -> str:
    return f"{REQUEST_PREFIX} {form(fork.chosen.text)}"


def _says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _row(fork: Fork, prompt: list[dict[str, str]], other: Reply) -> dict:
    return {
        "prompt": prompt,
        "chosen": _says(_chosen(fork)),
        "rejected": _says(other.text),
        "task": fork.task,
        "dialogue_id": fork.dialogue_id,
        "block": fork.block,
        "step": fork.step,
        "kind": other.kind,
        "harmless": other.harmless,
    }
