"""A corpus of any size, written as a user's own file: `python -m tests.synthetic 20000 corpus.jsonl`.

As in a real one, what a dialogue says is its own, while its tools are those of its block. A dialogue has
four user turns, ten calls and about 9 kB, of which 3 kB are tools.
"""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

BLOCKS = ("files", "mail", "shop", "travel")
TOOLS = 9
"""Of each block; every dialogue has all of its block."""
CALLS = (3, 3, 2, 2)
"""Of each user turn."""
SYLLABLES = "ba co di fu ga hel in jor ka lum mi nor os pra qui ros sel tan ur vey wix yo zed".split()


def tools(block: str) -> list[dict]:
    """The tools of a block, the same in every corpus."""
    draw = random.Random(block)
    return [
        {
            "name": f"{block}_{_word(draw)}",
            "description": f"{_words(draw, 12)}.",
            "parameters": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": _words(draw, 6)},
                    "count": {"type": "integer", "description": _words(draw, 4)},
                },
            },
        }
        for _ in range(TOOLS)
    ]


def rows(count: int, seed: int = 0) -> Iterator[dict]:
    """So many dialogues of chat messages, block after block in turn."""
    draw = random.Random(seed)
    of_block = {block: tools(block) for block in BLOCKS}
    for number in range(count):
        block = BLOCKS[number % len(BLOCKS)]
        yield {
            "id": f"{block}-{number}",
            "block": block,
            "held_out": number // len(BLOCKS) % 5 == 4,
            "tools": of_block[block],
            "messages": list(_messages(draw, of_block[block])),
        }


def _messages(draw: random.Random, known: list[dict]) -> Iterator[dict]:
    for calls in CALLS:
        yield {"role": "user", "content": f"Please {_words(draw, 30)}."}
        for _ in range(calls):
            arguments = {"name": _words(draw, 2), "count": draw.randrange(10_000)}
            function = {"name": draw.choice(known)["name"], "arguments": json.dumps(arguments)}
            yield {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}
            found = {"result": _words(draw, 24), "id": draw.randrange(10**6), "left": [_word(draw), _word(draw)]}
            yield {"role": "tool", "content": json.dumps(found)}
        yield {"role": "assistant", "content": f"Done: {_words(draw, 16)}."}


def _words(draw: random.Random, count: int) -> str:
    return " ".join(_word(draw) for _ in range(count))


def _word(draw: random.Random) -> str:
    return "".join(draw.choices(SYLLABLES, k=draw.randint(1, 4)))


def write(path: Path, count: int, seed: int = 0) -> None:
    """A file of so many dialogues, one a line."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows(count, seed):
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[2]), int(sys.argv[1]))
