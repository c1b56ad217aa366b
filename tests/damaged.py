"""Folders of records, each damaged or hostile in one way: what `DAMAGES` does to a sound study folder.

`harm(run, study)` gets the folder of one run and that of the study; `file` is what a complaint must name.
"""

import gzip
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

Harm = Callable[[Path, Path], None]
DAMAGES: dict[str, tuple[str, Harm]] = {}
"""By name: the file that is named, and what is done."""

RECORD, ITEMS, PREDICTIONS = "record.json", "items.jsonl", "predictions.jsonl"
LINES = (ITEMS, PREDICTIONS, "stops.jsonl", "rollouts.jsonl")
FILES = (RECORD, *LINES, "rollout.json")


def add(name: str, file: str, harm: Harm) -> None:
    assert name not in DAMAGES
    DAMAGES[name] = file, harm


def change(path: Path, *keys: object, to: object = None, drop: bool = False) -> None:
    """Set, or drop, one value of a JSON file, or of the first line of a JSON-lines file."""
    first, *rest = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    whole = part = json.loads(first)
    for key in keys[:-1]:
        part = part[key]
    if drop:
        del part[keys[-1]]
    else:
        part[keys[-1]] = to
    path.write_text("\n".join([json.dumps(whole), *rest]) + "\n")


def replace(path: Path, make: Callable[[Path], None]) -> None:
    path.unlink()
    make(path)


def pack(path: Path, pieces) -> None:
    """The file compressed, in place of itself; `pieces` are the bytes that it holds."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with path.with_name(f"{path.name}.gz").open("wb") as file:
        for piece in pieces:
            file.write(packer.compress(piece))
        file.write(packer.flush())
    path.unlink()


def cut_archive(run: Path, keep: Callable[[bytes], bytes]) -> None:
    path = run / PREDICTIONS
    path.with_name(f"{path.name}.gz").write_bytes(keep(gzip.compress(path.read_bytes())))
    path.unlink()


for file in FILES:
    add(f"{file} is empty", file, lambda run, study, file=file: (run / file).write_text("") or None)
    add(f"{file} is cut", file, lambda run, study, file=file: os.truncate(run / file, 20))
    add(f"{file} is deep", file, lambda run, study, file=file: (run / file).write_text("[" * 10**5))
    add(
        f"{file} is a link", file,
        lambda run, study, file=file: replace(run / file, lambda path: path.symlink_to("/etc/hostname")),
    )  # fmt: skip
    add(f"{file} is a pipe", file, lambda run, study, file=file: replace(run / file, os.mkfifo))
    add(
        f"{file} is a folder", file,
        lambda run, study, file=file: replace(run / file, lambda path: path.mkdir()),
    )  # fmt: skip
    add(
        f"{file} is no text", file,
        lambda run, study, file=file: (run / file).write_bytes(b'{"\xff\xfe": 1}') or None,
    )  # fmt: skip
for name in ("stops.jsonl", "rollouts.jsonl"):  # none of them is none at all
    DAMAGES.pop(f"{name} is empty")

for key in ("parameters", "blocks", "items", "matrix", "tokens", "seconds", "model", "corpus", "versions"):
    add(f"record without {key}", RECORD, lambda run, study, key=key: change(run / RECORD, key, drop=True))
for keys, value in [
    (("machine",), {"a": 1}), (("parameters",), []), (("parameters", "seed"), "0"),
    (("parameters", "order"), "file_system"), (("parameters", "condition"), ["full"]),
    (("parameters", "strategy"), "none such"), (("parameters", "fold"), {"deep": {}}),
    (("parameters", "epochs"), {"a": [1]}), (("matrix",), {}), (("matrix", "full"), []),
    (("matrix", "full", "name"), [[1]]), (("matrix", "full", "canonical"), [["a"] * 4] * 5),
    (("blocks",), ["a", "a", "b", "c"]), (("stages",), [["elsewhere"]]), (("items",), [1, 2]),
    (("tokens", "train_total"), True), (("tokens", "by_block"), 7), (("seconds", "train"), None),
    (("peak_memory_mb",), "much"), (("model", "id"), 7), (("corpus", "hash"), None),
    (("corpus", "account"), "none"), (("versions",), {"torch": 2}), (("started",), 20260102),
    (("cut_turns",), {"train": 3}), (("leaks",), {"full": 1}), (("flops",), "many"),
    (("peak_memory_mb",), 10**400),
]:  # fmt: skip
    add(
        f"record with {'.'.join(keys)} {str(value)[:30]}", RECORD,
        lambda run, study, keys=keys, value=value: change(run / RECORD, *keys, to=value),
    )  # fmt: skip
add("record with a number that is none", RECORD,
    lambda run, study: (run / RECORD).write_text('{"matrix": NaN}') or None)  # fmt: skip
add("record with half a character", RECORD,
    lambda run, study: change(run / RECORD, "machine", to="\ud800"))  # fmt: skip
add("record that is a list", RECORD, lambda run, study: (run / RECORD).write_text("[]") or None)
add("record that is nothing", RECORD, lambda run, study: (run / RECORD).write_text("null") or None)

for file, key in [(ITEMS, "gold"), (ITEMS, "block"), (PREDICTIONS, "stage"), (PREDICTIONS, "parsed"),
                  ("stops.jsonl", "canonical"), ("rollouts.jsonl", "figures"), ("rollouts.jsonl", "success")]:  # fmt: skip
    add(f"{file} without {key}", file,
        lambda run, study, file=file, key=key: change(run / file, key, drop=True))  # fmt: skip
for file, key, value in [
    (ITEMS, "step", "1"), (ITEMS, "block", "elsewhere"), (ITEMS, "same_prompt", 1), (ITEMS, "cut_turns", [1]),
    (PREDICTIONS, "stage", 99), (PREDICTIONS, "stage", 1.5), (PREDICTIONS, "eval_condition", "none such"),
    (PREDICTIONS, "dialogue_id", "nobody"), (PREDICTIONS, "prediction", ["[ls()]"]),
    (PREDICTIONS, "gold_nll", "low"), (PREDICTIONS, "block", {"a": 1}), ("rollouts.jsonl", "figures", {"a": "b"}),
    ("rollouts.jsonl", "turns", [0.5]), ("rollouts.jsonl", "calls", 5), ("rollouts.jsonl", "calls", [{"text": "[ls()]"}]),
    ("rollouts.jsonl", "gold", ["[ls()]"]), ("rollout.json", "parameters", [1]),
]:  # fmt: skip
    add(f"{file} with {key} {value}", file,
        lambda run, study, file=file, key=key, value=value: change(run / file, key, to=value))  # fmt: skip
for file in LINES:
    add(f"{file} with a line that is a number", file,
        lambda run, study, file=file: (run / file).write_text("7\n") or None)  # fmt: skip
add("predictions that are there twice", PREDICTIONS,
    lambda run, study: (run / PREDICTIONS).write_text(2 * (run / PREDICTIONS).read_text()) or None)  # fmt: skip
add("items that are not there", ITEMS, lambda run, study: (run / ITEMS).unlink())
add("predictions that are not there", PREDICTIONS, lambda run, study: (run / PREDICTIONS).unlink())
add("an archive that is cut", PREDICTIONS, lambda run, study: cut_archive(run, lambda all: all[:-20]))
add("an archive that is none", PREDICTIONS, lambda run, study: cut_archive(run, lambda all: all[20:]))
add("an archive with a flipped byte", PREDICTIONS,
    lambda run, study: cut_archive(run, lambda all: all[:50] + bytes([all[50] ^ 255]) + all[51:]))  # fmt: skip
add("a megabyte that is a gigabyte of one line", PREDICTIONS,
    lambda run, study: pack(run / PREDICTIONS, (b" " * 2**20 for _ in range(2**10))))  # fmt: skip
add("a megabyte that is a gigabyte of short lines", PREDICTIONS,
    lambda run, study: pack(run / PREDICTIONS, (b"{}\n" * 2**18 for _ in range(2**10))))  # fmt: skip
add("a device", RECORD,
    lambda run, study: replace(run / RECORD, lambda path: path.symlink_to("/dev/zero")))  # fmt: skip
add("a file larger than any", ITEMS, lambda run, study: os.truncate(run / ITEMS, 2**33))
add("a run that is a link", "link",
    lambda run, study: (run.rename(study / "elsewhere"), run.symlink_to("../elsewhere"))[1])  # fmt: skip

ABOUT = "study.yaml"
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{9 * f'*a{n - 1}, '}]\n" for n in range(1, 10))
for name, text in {
    "is empty": "", "is a list": "[1]", "is no YAML": "runs: [", "has runs that are a list": "runs: [a]",
    "has runs of nothing": "runs: {a: }", "has a run of lists": "runs: {a: {seed: [[1]]}}",
    "refers to itself": "runs: &a {b: *a}", "is a bomb": BOMB,
    "says runs twice": "runs: {}\nruns: {}", "is deep": "runs: " + "{a: " * 5000 + "}" * 5000,
    "runs code": "runs: !!python/object/apply:os.getcwd []", "is large": "x: 1\n" * 10**6,
    "has a family without measures": "family: {effects: [prompt]}\nruns: {}",
    "has an effect in words": "smallest_effect: much\nruns: {}",
}.items():  # fmt: skip
    add(f"study.yaml {name}", ABOUT,
        lambda run, study, text=text: (study / ABOUT).write_text(text) or None)  # fmt: skip
add("study.yaml is a pipe", ABOUT, lambda run, study: replace(study / ABOUT, os.mkfifo))
add("study.yaml is a link", ABOUT,
    lambda run, study: replace(study / ABOUT, lambda path: path.symlink_to("/etc/hostname")))  # fmt: skip
add("study.yaml has a run without a condition", ABOUT,
    lambda run, study: (study / ABOUT).write_text("runs: {full-s0: {seed: 0}}") or None)  # fmt: skip
