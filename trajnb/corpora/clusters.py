"""Blocks of a corpus of one's own: by what its APIs are about, and none too small to be learnt and asked.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from trajnb.corpora.blocks import words
from trajnb.formatting import documents
from trajnb.formatting.dialogue import Dialogue

MOST = 4  # blocks, as many as the corpora that come with this project have
SEED = 0  # of every corpus, never a run's own: runs that are compared have the same blocks
_IN_NAME = 2  # words


def clusters(dialogues: Sequence[Dialogue]) -> list[str]:
    """The block of each dialogue: that of most of its calls, ties to the earliest.

    APIs are put together by TF-IDF of the words of their names and descriptions and by k-means, at most
    `MOST` clusters of them, each weighing as many calls as are made of it. A block is named for the
    commonest words of its calls that set it apart. The same dialogues get the same blocks in any order.
    """
    calls = [[turn.call.name for turn in dialogue.turns if turn.call] for dialogue in dialogues]
    counts = Counter(name for names in calls for name in names)
    described = {}
    for document in dict.fromkeys(line for dialogue in dialogues for line in dialogue.documents):
        for api in documents.read([document]):
            described[api["name"]] = max(described.get(api["name"], ""), str(api["description"]))
    names = sorted(counts)
    texts = [words(name, described.get(name, "")) for name in names]
    of_api = dict(zip(names, _cluster(texts, [counts[name] for name in names]), strict=True))
    return [Counter(of_api[name] for name in made).most_common(1)[0][0] for made in calls]


def _cluster(texts: Sequence[str], weights: Sequence[int]) -> list[str]:
    """The name of each text's cluster."""
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    count = min(MOST, len(set(texts)))
    try:
        vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True)
        vectors = vectorizer.fit_transform(texts)
    except ValueError:  # there is no word in any of them
        count = 1
    if count == 1:
        labels = [0] * len(texts)
    else:
        labels = KMeans(count, random_state=SEED, n_init=10).fit_predict(vectors, sample_weight=weights)
    names = _names(texts, weights, list(map(int, labels)))
    return [names[int(label)] for label in labels]


def _names(texts: Sequence[str], weights: Sequence[int], labels: Sequence[int]) -> dict[int, str]:
    """Of each cluster its commonest words: those that most of its calls have and few of the others."""
    inside = {label: Counter() for label in sorted(set(labels))}
    everywhere: Counter[str] = Counter()
    for text, weight, label in zip(texts, weights, labels, strict=True):
        for word in _telling(text):
            inside[label][word] += weight
            everywhere[word] += weight
    found: dict[int, str] = {}
    for label, counts in inside.items():
        ranked = sorted(counts, key=lambda word: (-counts[word] ** 2 / everywhere[word], word))
        name = "_".join(ranked[:_IN_NAME])[:50] or "apis"
        taken = sum(name == other or other.startswith(f"{name}-") for other in found.values())
        found[label] = f"{name}-{taken + 1}" if taken else name
    return found


def _telling(text: str) -> set[str]:
    """The words of a text that may stand in a name: of three letters at least, and not everybody's."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return {w for w in re.findall(r"[^\W\d_]{3,24}", text) if w not in ENGLISH_STOP_WORDS}


def merge_small(
    dialogues: Sequence[Dialogue], is_whole: Callable[[Sequence[Dialogue]], bool]
) -> tuple[tuple[Dialogue, ...], dict[str, str]]:
    """The dialogues with blocks that all are whole, as far as that can be, and which block became part of
    which.

    Those that are not whole become one, together with the smallest of the others while that is not whole
    either; it has the name of the largest in it.
    """
    groups: dict[str, list[Dialogue]] = {}
    for dialogue in dialogues:
        groups.setdefault(dialogue.block, []).append(dialogue)
    small = [block for block, group in groups.items() if not is_whole(group)]
    rest = sorted((block for block in groups if block not in set(small)), key=lambda b: len(groups[b]))
    pool = [dialogue for block in small for dialogue in groups[block]]
    while small and rest and not is_whole(pool):
        small.append(rest.pop(0))
        pool += groups[small[-1]]
    if len(small) < 2:
        return tuple(dialogues), {}
    into = max(small, key=lambda block: len(groups[block]))
    merged = {block: into for block in small if block != into}
    return tuple(replace(d, block=merged.get(d.block, d.block)) for d in dialogues), merged
