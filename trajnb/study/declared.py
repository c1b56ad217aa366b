"""What a params file declares before its first run: the family of tests, the measure that decides, and
the smallest effect that can be found.
"""

from collections.abc import Sequence
from pathlib import Path

from trajnb.known import as_kind, nearest, with_type


def read_family(file: Path, value: object) -> dict[str, list[str]]:
    """The comparisons that are tested together: every effect on every measure, those of the crossing
    of conditions, of preferences or of repair.
    """
    known = _words_of_family(value)
    if not isinstance(value, dict) or sorted(value) != sorted(known):
        raise ValueError(
            f"{file}: family must map measures and effects to lists, not {with_type(value)}"
        )
    for part, words in known.items():
        if not isinstance(value[part], list) or not value[part]:
            raise ValueError(f"{file}: family.{part} must be a list of {', '.join(words)}")
        for word in value[part]:
            if word not in words:
                hint = nearest(str(word), words)
                raise ValueError(
                    f"{file}: family.{part}: unknown {word!r}{hint}; known: {', '.join(words)}"
                )
    return value


def _words_of_family(value: object) -> dict[str, Sequence[str]]:
    """The measures and effects of preferences, or of repair, where one of these effects is named, else
    those of the crossing: one family has one kind.
    """
    from trajnb.scoring import crossing, preferences, repairs
    from trajnb.scoring.score import MEASURES

    effects = value.get("effects") if isinstance(value, dict) else None
    for kind in (preferences, repairs):
        if isinstance(effects, list) and set(map(str, effects)) & set(kind.EFFECTS):
            return {"measures": list(kind.MEASURES), "effects": kind.EFFECTS}
    return {"measures": list(MEASURES), "effects": crossing.EFFECTS}


def read_primary(file: Path, content: dict, family: dict | None) -> str:
    """The measure that decides, one of the family's."""
    from trajnb.scoring import preferences
    from trajnb.scoring.score import MEASURES

    primary, known = content.get("primary"), [*MEASURES, *preferences.MEASURES]
    if primary is None:
        return ""
    if not isinstance(primary, str) or primary not in known:
        hint = nearest(str(primary), known)
        raise ValueError(f"{file}: unknown primary {primary!r}{hint}; known: {', '.join(known)}")
    if family is None or primary not in family["measures"]:
        raise ValueError(
            f"{file}: primary is {primary}, but family.measures does not name it, so no test of it "
            "would be declared"
        )
    return primary


def read_smallest_effect(file: Path, content: dict, primary: str) -> float | None:
    """A positive number of points of the primary measure."""
    value = content.get("smallest_effect")
    if value is None:
        return None
    number = as_kind(value, "float")
    if number is None or number <= 0:
        raise ValueError(
            f"{file}: smallest_effect must be a positive number of points, not {with_type(value)}"
        )
    if not primary:
        raise ValueError(f"{file}: smallest_effect is of the primary measure: declare one")
    return number
