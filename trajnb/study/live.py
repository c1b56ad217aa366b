"""The one line that tells how far a study is: `3/6 · 41 min left · stripped-s1 · block 2/4 ...`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean

from trajnb.qlora.progress import duration

TURN = 5.0
"""Seconds for which the line speaks of one of the running jobs, before it speaks of the next."""
JOIN = " · "


@dataclass
class Outlook:
    """How long the jobs of one part of a study take, by those that have ended."""

    total: int
    slots: int
    """Jobs at a time."""
    took: dict[str, list[float]] = field(default_factory=dict)
    """Kind of job -> seconds that each one took."""
    ended: int = 0

    def end(self, kind: str, seconds: float | None = None) -> None:
        """One more job has ended; `seconds` only where its work was done from start to end here."""
        self.ended += 1
        if seconds is not None:
            self.took.setdefault(kind, []).append(seconds)

    def left(self, running: Sequence[tuple[str, float]], waiting: Sequence[str]) -> float | None:
        """Seconds until all have ended; None where of some kind none has ended yet.

        Args:
            running: the kind of each job that runs, and for how many seconds it has.
            waiting: the kinds of those that wait.
        """
        kinds = [*waiting, *(kind for kind, _ in running)]
        if any(kind not in self.took for kind in kinds):
            return None
        usual = {kind: mean(self.took[kind]) for kind in kinds}
        rests = [max(usual[kind] - seconds, 0.0) for kind, seconds in running]
        together = (sum(rests) + sum(usual[kind] for kind in waiting)) / self.slots
        return max([together, *rests])


def live_line(
    outlook: Outlook, left: float | None, jobs: Sequence[tuple[str, str]], now: float, width: int
) -> str:
    """The line, at most `width` characters. What does not fit is left out from its middle, so that
    the end of what a job says, the time left, stays.

    Args:
        left: of the study, in seconds; None is not known.
        jobs: the name of each job that runs and what it says.
        now: seconds of a clock; the jobs come in turn.
    """
    time = "time left unknown" if left is None else f"{duration(left)} left"
    parts = [f"{outlook.ended}/{outlook.total}", time]
    if not jobs:
        return JOIN.join(parts)[:width]
    name, said = jobs[int(now / TURN) % len(jobs)]
    parts += [name, *filter(None, said.split(JOIN))]
    while len(JOIN.join(parts)) > width and len(parts) > 4:
        del parts[-2]
    return JOIN.join(parts)[:width]
