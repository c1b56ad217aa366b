"""The sample corpus: twelve short dialogues of BFCL, shipped with the package so that nothing is downloaded.

    python -m trajnb.corpora.sample

writes `sample.jsonl` anew: per block the two training dialogues and the one held-out dialogue with the
shortest text, from the built corpus `bfcl` with documents "used", unchanged. Source: Berkeley
Function-Calling Leaderboard v4 (Patil et al.), Apache-2.0, https://github.com/ShishirPatil/gorilla.
"""

from trajnb.assets import ASSETS
from trajnb.corpora.load import SAMPLE_FILE, load_corpus
from trajnb.corpora.splits import on_side
from trajnb.corpora.storage import dump, write_dialogues
from trajnb.formatting.dialogue import Dialogue

SOURCE = f"Berkeley Function-Calling Leaderboard, {ASSETS['bfcl'].revision}, Apache-2.0"


def write_sample() -> None:
    """Write `SAMPLE_FILE`."""
    corpus = load_corpus("bfcl", documents="used")
    chosen: set[str] = set()
    for block in corpus.blocks:
        for side, count in (("train", 2), ("held_out", 1)):
            dialogues = on_side(corpus.dialogues, corpus.held_out, block, side)
            chosen.update(dialogue.id for dialogue in sorted(dialogues, key=_size)[:count])
    dialogues = [dialogue for dialogue in corpus.dialogues if dialogue.id in chosen]
    write_dialogues(SAMPLE_FILE, dialogues, corpus.held_out, SOURCE)


def _size(dialogue: Dialogue) -> tuple[int, str]:
    return len(dump([dialogue], [])[0]), dialogue.id


if __name__ == "__main__":
    write_sample()
