"""What each run of a study asks of a cluster: `resources` of its params file."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from trajnb.known import as_kind, nearest


@dataclass(frozen=True)
class Resources:
    """Of one run. They shape where it runs, not what it is: no run is named for them."""

    cpus: float = 1
    """Cores."""
    gpus: float = 0
    memory_gb: float = 0
    """0: what the cluster gives where nobody asks."""
    hours: float = 24
    """Slurm stops a run then; it is queued again and goes on."""
    partition: str = ""
    """Of Slurm."""
    account: str = ""
    """Of Slurm."""


def read_resources(file: Path, value: object) -> Resources:
    """What a params file says under `resources`; ValueError where it is no such thing."""
    known = {field.name: field for field in fields(Resources)}
    if value is None:
        return Resources()
    if not isinstance(value, Mapping):
        names = ", ".join(known)
        raise ValueError(f"{file}: resources must map {names} to values, not {value!r:.80}")
    found = {}
    for name, given in value.items():
        if name not in known:
            hint = f"{nearest(str(name), known)}; known: {', '.join(known)}"
            raise ValueError(f"{file}: resources: unknown {name!r:.80}{hint}")
        kind = known[name].type.__name__
        found[name] = as_kind(given, kind)
        if found[name] is None or (kind == "float" and found[name] < 0):
            wanted = f"{kind}, 0 or more" if kind == "float" else kind
            raise ValueError(f"{file}: resources.{name} must be {wanted}, not {given!r:.80}")
    return Resources(**found)
