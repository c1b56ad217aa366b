"""Words for people."""


def counted(count: int, noun: str) -> str:
    """`1 dialogue`, `4,000 dialogues`."""
    return f"{count:,} {noun}{'s' if count != 1 else ''}"
