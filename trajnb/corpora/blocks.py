"""Blocks: which API domain a dialogue belongs to, where the corpus does not say.

`semantic` merges API-Bank's scenes into four domains that no dialogue mixes. `balanced` is what arXiv
2605.09734 does: names of APIs packed into bins of about as many tokens, whatever they are about.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from trajnb.formatting import documents
from trajnb.formatting.dialogue import Dialogue

BLOCKS = ("account_finance", "schedule", "health", "info_home_travel")
WITHOUT_VOTE = ("GetUserToken", "ToolSearcher")  # called in every domain

_SCHEDULED = ("Reminder", "Meeting", "Agenda", "Alarm")
_APIS = {
    "account_finance": "RegisterUser DeleteAccount ModifyPassword ForgotPassword OpenBankAccount "
    "QueryBalance QueryStock AccountInfo PersonalInfoUpdate GetOccupationSalary TaxCalculator",
    "schedule": " ".join(
        f"{verb}{what}" for what in _SCHEDULED for verb in ("Add", "Delete", "Modify", "Query")
    )
    + " GetToday EmailReminder OrganizationMembers TravelStatus",
    "health": "QueryHealthData RecordHealthData SymptomSearch EmergencyKnowledge AppointmentRegistration "
    "CancelRegistration ModifyRegistration QueryRegistration",
    "info_home_travel": "Calculator QueryHistoryToday BookHotel DocumentQA QueryScene DeleteScene "
    "CancelTimedSwitch TimedSwitch Dictionary Translate PlayMusic ImageCaption Wiki SearchEngine "
    "SpeechRecognition SendEmail",
}
KNOWN = {name: block for block, names in _APIS.items() for name in names.split()}

# Stems that tell a domain where its known APIs are too few to; a stem counts as much as this much cosine.
_STEM_WEIGHT = 0.2
_STEMS = {
    "account_finance": "account password login bank balance stock salary tax loan credit invest payment "
    "currency price fund insur",
    "schedule": "schedul remind meeting agenda alarm calendar event task deadline timetable today",
    "health": "health medic doctor patient symptom hospital disease drug fitness diet exercise sleep "
    "appointment",
    "info_home_travel": "search translat dictionary wiki weather news music movie image speech travel hotel "
    "flight map recipe device light temperature home scene restaurant",
}


def semantic(dialogues: Sequence[Dialogue]) -> list[str]:
    """The block of each dialogue: that of most of its calls, ties to the earliest.

    Calls in `WITHOUT_VOTE` do not count. APIs that API-Bank's levels 1 to 3 do not have go by the words of
    their documents (see `_by_words`). A dialogue without any vote goes by the APIs that its lines name, else
    by their words.
    """
    described = {}
    for dialogue in dialogues:
        for document in documents.read(dialogue.documents):
            described[document["name"]] = document["description"]
    votes = list(map(_votes, dialogues))
    unseen = sorted({name for names in votes for name in names} - set(KNOWN))
    silent = [_said(d).lower() for d, names in zip(dialogues, votes, strict=True) if not names]
    texts = [words(name, described.get(name, "")) for name in unseen]
    placed = _by_words([*texts, *silent], described)
    of_api = KNOWN | dict(zip(unseen, placed, strict=False))
    of_silent = iter(placed[len(unseen) :])
    return [
        Counter(of_api[name] for name in names).most_common(1)[0][0] if names else next(of_silent)
        for names in votes
    ]


def label(dialogue: Dialogue) -> str:
    """The API that a dialogue counts for in `balanced`: the first it calls, those without vote last."""
    return next(iter([*_votes(dialogue), *(turn.call.name for turn in dialogue.turns if turn.call)]), "")


def _votes(dialogue: Dialogue) -> list[str]:
    called = [turn.call.name for turn in dialogue.turns if turn.call and turn.call.name not in WITHOUT_VOTE]
    return called or [name for name in re.findall(r"\w+", _said(dialogue)) if name in KNOWN]


def _said(dialogue: Dialogue) -> str:
    return " ".join(turn.text for turn in dialogue.turns if turn.role != "api")


def _by_words(texts: Sequence[str], described: Mapping[str, str]) -> list[str]:
    """The block whose APIs are described most like each text: TF-IDF cosine to the mean of their documents,
    and a bonus for stems that tell a domain. Nothing is drawn, so the same text always gets the same block.
    """
    if not texts:
        return []
    from sklearn.feature_extraction.text import TfidfVectorizer

    known = [words(name, described.get(name, "")) for name in KNOWN]
    vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True).fit([*known, *texts])
    vectors = vectorizer.transform(known).toarray()
    asked = vectorizer.transform(texts).toarray()
    scores = []
    for block in BLOCKS:
        centroid = vectors[[place for place, name in enumerate(KNOWN) if KNOWN[name] == block]].mean(0)
        bonus = [_STEM_WEIGHT * sum(stem in text for stem in _STEMS[block].split()) for text in texts]
        scores.append(asked @ centroid / (centroid @ centroid) ** 0.5 + bonus)
    return [BLOCKS[max(range(len(BLOCKS)), key=lambda b: column[b])] for column in zip(*scores, strict=True)]


def words(name: str, description: str) -> str:
    """`QueryHealthData` and its description as lower-case words."""
    return f"{' '.join(re.findall('[A-Z]?[a-z]+|[A-Z]+(?![a-z])', name))} {description}".lower()


def balanced(
    labels: Sequence[str], texts: Sequence[str], count: Callable[[str], int], bins: int = 4
) -> list[str]:
    """The bin of each row by its API's name, bins as even in tokens as greedy packing makes them.

    A name weighs its number of rows times the mean tokens of at most its first 20; the heaviest goes first,
    into the bin that is lightest so far (arXiv 2605.09734, read in its public repository).

    Args:
        labels: the API name of each row; texts: its prompt under `full`; count: tokens of a text.
    """
    rows: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        rows.setdefault(label, []).append(index)
    weights = {}
    for label, indices in rows.items():
        sample = [count(texts[index]) for index in indices[:20]]
        weights[label] = sum(sample) / len(sample) * len(indices)
    loads, chosen = [0.0] * bins, {}
    for label in sorted(weights, key=lambda label: (-weights[label], label)):
        lightest = loads.index(min(loads))
        loads[lightest] += weights[label]
        chosen[label] = f"bin_{lightest + 1}"
    return [chosen[label] for label in labels]


def rare(labels: Iterable[str], least: int = 10) -> set[str]:
    """Names with fewer than `least` rows, which the paper leaves out."""
    return {label for label, count in Counter(labels).items() if count < least}
