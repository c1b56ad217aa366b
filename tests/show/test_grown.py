"""Trees and repairs in the page of rollouts: found where a study has them, shown as text, in a browser."""

from pathlib import Path

import pytest

from trajnb.keeping import keep
from trajnb.records import read_study
from trajnb.show.report import write_index, write_readers
from trajnb.show.rollouts import has_rollouts, rollouts_data
from trajnb.world import candidates, repair, trees
from trajnb.world.candidates import Move, Trajectory
from trajnb.world.repair import Repair
from trajnb.world.trees import Node, Tree

ATTACK = "<script>hacked=1</script><img src=x onerror='hacked=1'>"
CD, LS = "[cd(folder='a')]", "[ls()]"
TREE = Tree(
    "multi_turn_base_0#0",
    "file_system",
    "expert",
    (
        Node(-1, -1, CD, CD, "in a", "executed", on_path=True),
        Node(0, -1, "[]", "[]", "", "stop", won=True, on_path=True),
        Node(-1, 0, ATTACK, ATTACK, ATTACK, "refused", harmless=False),
        Node(-1, 1, LS, LS, "a", "executed", harmless=True),
        Node(3, 0, "[]", "[]", "", "stop", won=False),
    ),
    6,
    1,
    True,
)


def trajectory(author: str, won: bool, *forms: str, attempt: int = 0) -> Trajectory:
    kinds = {"[]": "stop", ATTACK: "refused"}
    moves = [Move(form, form, f"got {form}", kinds.get(form, "executed")) for form in forms]
    return Trajectory("multi_turn_base_0#1", "file_system", author, 1, tuple(moves), won, attempt)


CANDIDATE = trajectory("student", False, LS, ATTACK, "[]")
TRIED = (
    trajectory("self", False, LS, "[]"),
    trajectory("self", True, LS, CD, "[]", attempt=1),
)
REPAIR = Repair("multi_turn_base_0#1", 1, "self", "refused", TRIED, True, 1, False)


def put(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


@pytest.fixture
def study(tmp_path, write_run):
    """A study with trees that arms share, and a run that repaired."""
    folder = write_run(tmp_path / "runs" / "full-s0", dialogues=1)
    put(tmp_path / "preferences" / "1-file_system-0123" / "trees.jsonl", trees.to_line(TREE))
    home = folder / "repair" / "2-trading"
    put(home / "candidates.jsonl", candidates.to_line(CANDIDATE))
    put(home / "repairs.jsonl", repair.to_line(REPAIR))
    return tmp_path


def test_trees_and_repairs_are_found_in_the_homes_of_stages(study):
    runs = read_study(study)
    assert has_rollouts(runs)
    data = rollouts_data(runs, {})
    tree, repaired = data["rows"]
    assert tree["tags"]["run"] == ["shared by arms, 1-file_system-0123"]
    assert repaired["tags"]["run"] == ["full-s0, 2-trading"]
    assert [node[4] for node in tree["nodes"]] == ["path", "path", "dead", "harmless", "dead"]
    assert tree["nodes"][0][3] == "executed, the reference's"
    assert repaired["heads"] == ["candidate 1, fails", "self, attempt 1", "self, attempt 2"]
    words = [[call and call[3] for call in calls] for _, *calls in repaired["turns"][0]["slots"]]
    assert words == [["same", "same"], ["missing", "differs"], ["same", "same"]]
    assert repaired["turns"][0]["passed"] == [False, True]
    kinds = next(options for key, _, options in data["choices"] if key == "what")
    assert [value for value, _ in kinds] == ["tree", "repair"]


def test_kept_records_have_them_too(study, tmp_path):
    keep(study, tmp_path / "kept")
    kept = read_study(tmp_path / "kept")
    assert rollouts_data(kept, {}) == rollouts_data(read_study(study), {})
    keep(tmp_path / "kept", tmp_path / "again")
    assert rollouts_data(read_study(tmp_path / "again"), {}) == rollouts_data(kept, {})
    keep(study, tmp_path / "scores", scores_only=True)
    assert not has_rollouts(read_study(tmp_path / "scores"))
    (home,) = (tmp_path / "kept").glob("records/*/*/2-trading")
    (home / "repairs.jsonl.gz").write_bytes(b"x")
    with pytest.raises(ValueError, match="repairs.jsonl.gz"):
        keep(tmp_path / "kept", tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()


def test_a_run_without_them_has_no_such_page(tmp_path, write_run):
    write_run(tmp_path / "full-s0", dialogues=1)
    assert not has_rollouts(read_study(tmp_path))


def test_trees_and_repairs_open_in_the_page_of_rollouts(study, watched):
    runs = read_study(study)
    write_readers(study, runs, {})
    write_index(study, runs)
    page = watched().open(study / "index.html")
    page.get_by_role("link", name="Rollouts").click()
    page.wait_for_selector("body[data-ready]")
    assert page.locator("#list > button").count() == 2
    assert page.locator(".tree li").count() == 5 and page.locator(".tree > .path").count() == 2
    assert page.locator(".tree li:visible").count() == 4, "what lies beside the path is folded"
    assert ATTACK in page.inner_text("#reader") and page.evaluate("typeof hacked") == "undefined"
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert "the turn fails" in page.inner_text(".here"), "a fold opens where one steps into it"
    page.keyboard.press("j")
    assert page.locator(".slots .head").all_inner_texts() == REPAIR_HEADS
    assert page.locator(".slots .word").all_inner_texts() == ["same", "same", "left out", "differs", "same", "same"]
    page.select_option("select[name=what]", "tree")
    assert page.locator("#list > button").count() == 1
    assert page.locator("main :is(script, img)").count() == 0


REPAIR_HEADS = ["candidate 1, fails", "self, attempt 1", "self, attempt 2"]
