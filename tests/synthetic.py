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
WORDS = (
    "the of and to in is that for on with as at by from this be or have an they which one had all there when "
    "up use word how said each she their time will way about many then write would like so these her long make "
    "thing see him two has look more day could go come did number sound no most people my over know water than "
    "call first who may down side been now find any new work part take get place made live where after back "
    "little only round man year came show every good me give our under name very through just form sentence "
    "great think say help low line differ turn cause much mean before move right boy old too same tell does set "
    "three want air well also play small end put home read hand port large spell add even land here must big "
    "high such follow act why ask men change went light kind off need house picture try us again animal point"
).split()


def tools(block: str) -> list[dict]:
    """The tools of a block, the same in every corpus."""
    draw = random.Random(block)
    return [
        {
            "name": f"{block}_{number}_{_word(draw)}",
            "description": f"{_words(draw, 16)}.",
            "parameters": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": _words(draw, 6)},
                    "count": {"type": "integer", "description": _words(draw, 4)},
                },
            },
        }
        for number in range(TOOLS)
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
        yield {"role": "user", "content": f"Please {_words(draw, 40)}."}
        for _ in range(calls):
            arguments = {"name": _words(draw, 2), "count": draw.randrange(10_000)}
            function = {"name": draw.choice(known)["name"], "arguments": json.dumps(arguments)}
            yield {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}
            found = {"result": _words(draw, 40), "id": draw.randrange(10**6), "left": [_word(draw), _word(draw)]}
            yield {"role": "tool", "content": json.dumps(found)}
        yield {"role": "assistant", "content": f"Done: {_words(draw, 16)}."}


def _words(draw: random.Random, count: int) -> str:
    return " ".join(_word(draw) for _ in range(count))


def _word(draw: random.Random) -> str:
    return draw.choice(WORDS)


def write(path: Path, count: int, seed: int = 0) -> None:
    """A file of so many dialogues, one a line."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows(count, seed):
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[2]), int(sys.argv[1]))
