"""The index, the items and the rollouts in a browser: what they show is what the records hold."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from trajnb.corpora.load import corpora_of
from trajnb.files import read_lines, write_json, write_lines
from trajnb.formatting.dialogue import Call, Corpus, Dialogue, Turn
from trajnb.keeping import keep
from trajnb.records import read_study
from trajnb.show import reader
from trajnb.show.report import write_index, write_readers

REPORTS = ("quick", "crossing-quick", "bfcl-one-epoch", "prefer-quick")
BAD_WORDS = {"differs", "missing", "extra", "no call"}


def final_of(folder: Path) -> dict[str, dict[tuple, bool]]:
    """By condition of the run, the exact calls of the last stage in its own prompts."""
    found = {}
    for run in read_study(folder):
        last = max(row["stage"] for row in run.predictions)
        condition = run.record.parameters["condition"]
        found[condition] = {
            (row["dialogue_id"], row["step"]): row["canonical"]
            for row in run.predictions
            if row["stage"] == last and row["eval_condition"] == condition
        }
    return found


def tally(page) -> int:
    return int(page.inner_text("#tally").split()[0])


def listed(page) -> int:
    return page.locator("#list > button").count()


@pytest.mark.parametrize("size", ["desk", "phone"])
def test_the_index_answers_on_the_first_screen(report, watched, size):
    folder = report("quick")
    full, stripped = (sum(final_of(folder)[name].values()) for name in ("full", "stripped"))
    one = watched(size)
    page = one.open(folder / "index.html")
    answer = page.inner_text(".answer")
    assert len(answer.split()) <= 35
    assert f"{full} of {len(final_of(folder)['full'])}" in answer and f"stripped, {stripped}" in answer
    assert "tells nothing about other seeds" in answer and "interval" not in answer
    end = page.locator(".picture").bounding_box()
    assert end["y"] + end["height"] <= page.viewport_size["height"]
    sentences = re.split(r"(?<=[.?!])\s+", page.inner_text("body"))
    twice = [text for text, count in Counter(sentences).items() if count > 1 and len(text.split()) > 4]
    assert twice == []


@pytest.mark.parametrize("name", ["quick", "bfcl-one-epoch"])
def test_each_count_of_the_index_opens_as_many_items(report, watched, name):
    page = watched().open(report(name) / "index.html")
    links = page.locator("nav.counts a")
    counts = [int(text.split()[0].replace(",", "")) for text in links.all_inner_texts()]
    if name == "quick":
        full, stripped = (final_of(report(name))[key] for key in ("full", "stripped"))
        both = Counter((full[key], stripped[key]) for key in full)
        order = [(True, False), (False, True), (True, True), (False, False)]
        assert counts == [both[key] for key in order]
    for place, count in enumerate(counts):
        page.goto((report(name) / "index.html").as_uri())
        links.nth(place).click()
        page.wait_for_selector("body[data-ready]")
        assert (tally(page), listed(page)) == (count, count)


def test_any_other_pair_of_arms_can_be_chosen(report, watched):
    page = watched().open(report("crossing-quick") / "index.html")
    page.click("summary")
    rows = page.locator("details tbody tr")
    arms = len(page.evaluate("[...new Set([...document.querySelectorAll('details tbody td:first-child')]"
                             ".flatMap(cell => cell.textContent.split(', ')))]"))  # fmt: skip
    assert arms > 2 and rows.count() > arms
    numbers = rows.first.locator("a").all_inner_texts()
    rows.first.locator("a").nth(3).click()
    page.wait_for_selector("body[data-ready]")
    assert listed(page) == int(numbers[3].split()[0])


def test_a_square_of_the_index_opens_its_item(report, watched):
    page = watched().open(report("quick") / "index.html")
    link = page.locator(".picture a").nth(7)
    name = link.locator("title").text_content()
    link.click(position={"x": 5, "y": 5})
    page.wait_for_selector("body[data-ready]")
    assert name in page.inner_text("#reader h2")


def test_choices_are_kept_in_the_address(report, watched):
    folder = report("quick")
    full, stripped = (final_of(folder)[name] for name in ("full", "stripped"))
    wanted = sum(full[key] and not stripped[key] for key in full)
    page = watched().open(folder / "items.html")
    page.select_option("select[name='arm full']", "right")
    page.select_option("select[name='arm stripped']", "wrong")
    assert listed(page) == wanted > 0
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert listed(page) == wanted
    options = page.eval_on_selector_all(
        "select[name=block] option:not([hidden])", "nodes => nodes.map(node => node.text)"
    )
    assert sum(int(text.split(" · ")[1]) for text in options[1:]) == wanted


def test_an_item_shows_both_prompts_gold_and_every_answer(report, watched):
    page = watched().open(report("quick") / "items.html", "item=multi_turn_base_89:4")
    text = page.inner_text("#reader")
    assert "multi_turn_base_89, step 4" in text
    assert "stripped prompt" in text and "full prompt" in text
    columns = page.locator("#reader .columns section")
    shown = [columns.nth(place).locator(".request:not(.hidden)").count() for place in (0, 1)]
    assert shown[0] == 0 < shown[1]
    assert page.inner_text("#reader .gold") == "[fillFuelTank(fuelAmount=30.0)]"
    assert page.locator("#reader table").first.locator("tr").nth(1).locator(".word").count() == 2
    assert page.locator("#list [aria-current]").count() == 1
    page.keyboard.press("j")
    assert "step 5" in page.inner_text("#reader h2")
    page.keyboard.press("k")
    page.keyboard.press("/")
    page.keyboard.type("zipcode")
    assert 0 < listed(page) < 37


@pytest.mark.parametrize("name", REPORTS)
def test_every_wrong_answer_says_what_is_wrong_with_it(report, watched, name):
    page = watched().open(report(name) / "items.html")
    found = page.evaluate("""() => [...document.querySelectorAll('#list > button')].map(button => {
      button.click();
      const rows = [...document.querySelector('#reader table').rows].map(row => [...row.cells]);
      return rows[1].slice(2).map((cell, arm) => [
        cell.textContent.slice(0, 1),
        rows.slice(2).flatMap(cells => [...cells[arm + 2].querySelectorAll('.word')])
          .map(word => word.textContent),
      ]);
    })""")
    wrong = [words for row in found for sign, words in row if sign == "✗"]
    right = [words for row in found for sign, words in row if sign == "✓"]
    predictions = [row for run in read_study(report(name)) for row in _last(run)]
    untrained = [row for run in read_study(report(name)) for row in run.predictions if not row["stage"]]
    if name == "bfcl-one-epoch":  # one training: the untrained model stands beside it
        predictions += untrained
    assert len(wrong) == sum(not row["canonical"] for row in predictions)
    assert [words for words in wrong if not BAD_WORDS & set(words)] == []
    assert [words for words in right if BAD_WORDS & set(words)] == []


def _last(run):
    last = len(run.record.stages)
    return [row for row in run.predictions if row["stage"] == last]


def test_a_missing_argument_is_called_missing(report, watched):
    page = watched().open(report("quick") / "items.html", "item=multi_turn_base_42:2")
    mode = page.locator("#reader tr", has=page.get_by_text("mode =", exact=True))
    assert "missing" in mode.inner_text()


@pytest.mark.parametrize("name", ["quick", "bfcl-one-epoch"])
def test_what_was_learnt_and_lost_can_be_chosen(report, watched, name):
    lost = set()
    for run in read_study(report(name)):
        right: dict[tuple, list] = {}
        for row in sorted(run.predictions, key=lambda row: row["stage"]):
            right.setdefault((row["dialogue_id"], row["step"]), []).append(row["canonical"])
        lost |= {key for key, values in right.items() if any(values) and not values[-1]}
    page = watched().open(report(name) / "items.html")
    page.select_option("select[name=course]", "forgot")
    assert listed(page) == len(lost) > 0
    assert page.locator("select[name=error] option").count() > 3


def test_every_rollout_is_two_clicks_from_the_index(report, watched):
    folder = report("quick")
    lines = [line for run in read_study(folder) for line in read_lines(run.folder / "rollouts.jsonl")]
    runs = read_study(folder)
    corpora = corpora_of({run.record.corpus["hash"]: run.record.parameters for run in runs})
    (corpus,) = corpora.values()
    said = {
        one.id: [turn.text for turn in one.turns if turn.role == "user"] for one in corpus.dialogues
    }
    page = watched().open(folder / "index.html")
    page.get_by_role("link", name="Rollouts").click()
    page.wait_for_selector("body[data-ready]")
    seen = 0
    for place in range(listed(page)):
        page.locator("#list > button").nth(place).click()
        name = page.inner_text("#reader h2")
        turns = page.locator("#reader .turn .user").all_inner_texts()
        assert [text.partition(": ")[2] for text in turns] == said[name]
        calls = page.locator("#reader .request").count()
        assert calls == sum(len(line["calls"]) for line in lines if line["dialogue_id"] == name)
        seen += len([line for line in lines if line["dialogue_id"] == name])
        long = page.evaluate("""() => [...document.querySelectorAll('#reader .text')].filter(node =>
          node.clientHeight > 12.9 * parseFloat(getComputedStyle(node).lineHeight)).length""")
        assert long == 0
        assert page.locator(".slots .here").count() == 3  # the reference and two arms
        assert page.locator(".first").count() == sum(
            not line["success"] for line in lines if line["dialogue_id"] == name
        )
    assert seen == len(lines)
    first = page.locator(".here").first.inner_text()
    page.keyboard.press("ArrowRight")
    second = page.locator(".here").first.inner_text()
    page.keyboard.press("ArrowLeft")
    assert page.locator(".here").first.inner_text() == first != second


def test_what_is_listed_can_be_had_as_a_table(report, watched):
    page = watched().open(report("quick") / "items.html", "arm+full=right")
    with page.expect_download() as waiting:
        page.click("#csv")
    rows = waiting.value.path().read_text("utf-8").splitlines()
    assert len(rows) == 1 + listed(page) and rows[0].startswith('"dialogue_id","step"')


HOSTILE = [
    "<script>hacked=1;alert('x')</script>",
    "<img src=x onerror=\"hacked=1;alert(1)\">",
    "</script><script>hacked=1</script>",
    "\"'><svg onload=hacked=1>",
    "{{ 7 * 7 }} ${hacked=1} `x` javascript:alert(1) =1+1",
    "<!-- ]]> &lt; \u202e \u2028 \x00 %s __proto__",
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, write_run):
    """A study that is hostile in every text, with its corpus and with rollouts."""
    tmp_path = tmp_path_factory.mktemp("hostile")
    words = {name: HOSTILE[place % len(HOSTILE)] for place, name in enumerate("abcdefgh")}
    corpus = None
    for condition in ("stripped", words["b"]):
        folder = write_run(tmp_path / "runs" / f"{condition[:1]}-s0", condition=condition, dialogues=1)
        corpus = _taint(folder, words)
    (tmp_path / "study.yaml").write_text(
        json.dumps({"title": words["c"], "description": words["d"], "runs": {}}), "utf-8"
    )
    runs = read_study(tmp_path)
    write_readers(tmp_path, runs, {corpus.hash: corpus})
    write_index(tmp_path, runs)
    return tmp_path


def _taint(folder: Path, words: dict) -> Corpus:
    """Put hostile words into every text of a run; its corpus, tainted too."""
    def ids(name):
        return f"{words['e']}{name}{words['f']}"

    def block(name):
        return f"{name}{words['a']}"

    gold = "[send(text=%r, __proto__='x', constructor=%r)]"
    items, predictions = read_lines(folder / "items.jsonl"), read_lines(folder / "predictions.jsonl")
    for place, row in enumerate([*items, *predictions]):
        row |= {"dialogue_id": ids(row["dialogue_id"]), "block": block(row["block"])}
        if "gold" in row:
            row["gold"] = gold % (HOSTILE[row["step"] % 6], HOSTILE[0])
        else:
            calls = gold % (HOSTILE[place % 6], HOSTILE[place % 5])
            row["prediction"] = calls if place % 2 else HOSTILE[place % 6] * 40
    write_lines(folder / "items.jsonl", items)
    write_lines(folder / "predictions.jsonl", predictions)
    record = json.loads((folder / "record.json").read_text())
    record["blocks"] = list(map(block, record["blocks"]))
    record["stages"] = [list(map(block, stage)) for stage in record["stages"]]
    record["corpus"]["name"] = record["machine"] = record["model"]["id"] = words["g"]
    write_json(folder / "record.json", record)
    dialogues, lines = [], []
    for dialogue_id in dict.fromkeys(item["dialogue_id"] for item in items):
        own = [item for item in items if item["dialogue_id"] == dialogue_id]
        turns = []
        for place, _ in enumerate(own):
            call = Call("send", {"text": HOSTILE[place]})
            turns += [Turn("user", HOSTILE[place]), Turn("api", HOSTILE[1], call)]
        document = json.dumps({"name": "send", "description": HOSTILE[2], "parameters": {}})
        dialogues.append(Dialogue(dialogue_id, own[0]["block"], (document,), tuple(turns)))
        lines.append(
            {
                "dialogue_id": dialogue_id, "block": own[0]["block"], "success": False, "progress": 0.0,
                "turns": [False] * len(own), "cut": 0, "ends": "oracle", "stage": 4,
                "train_condition": record["parameters"]["condition"], "figures": {},
                "eval_condition": record["parameters"]["condition"], "gold": [[one["gold"]] for one in own],
                "calls": [
                    {"turn": place, "text": HOSTILE[place % 6], "response": HOSTILE[3] * 30, "failed": True}
                    for place, _ in enumerate(own)
                ],
            }
        )  # fmt: skip
    write_lines(folder / "rollouts.jsonl", lines)
    ids_of = frozenset(one.id for one in dialogues)
    return Corpus("x", tuple(record["blocks"]), tuple(dialogues), ids_of, {}, record["corpus"]["hash"])


@pytest.mark.parametrize("size", ["desk", "phone"])
def test_hostile_texts_stay_texts(hostile, watched, size):
    one = watched(size)  # at its end: no dialog, no request, no message of the console
    for name in ("index.html", "items.html", "rollouts.html"):
        page = one.open(hostile / name)
        assert page.evaluate("typeof hacked") == "undefined"
        policy = page.get_attribute("meta[http-equiv=Content-Security-Policy]", "content")
        assert "default-src 'none'" in policy and "unsafe" not in policy
        scripts = 0 if name == "index.html" else 2
        assert page.locator("script").count() == scripts
        assert page.locator("img, iframe, object, embed, link, base").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
        if name == "index.html":
            continue
        assert HOSTILE[0] in page.inner_text("#list") + page.inner_text("#reader")
        foreign = page.evaluate("""() => {
          for (const select of document.querySelectorAll('select'))
            for (const place of [select.options.length - 1, 0]) {
              select.selectedIndex = place;
              select.onchange();
            }
          return [...document.querySelectorAll('#list > button')].flatMap(button => {
            button.click();
            return [...document.querySelectorAll('main :is(script, img, svg, iframe)')];
          }).length;
        }""")
        assert foreign == 0
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.evaluate("typeof hacked") == "undefined"


def test_every_relative_link_of_the_hostile_study_resolves(hostile, watched):
    one = watched()
    for name in ("index.html", "items.html", "rollouts.html"):
        page = one.open(hostile / name)
        for href in page.eval_on_selector_all("a[href]", "nodes => nodes.map(a => a.getAttribute('href'))"):
            assert (hostile / href.partition("#")[0]).is_file(), href
    page = one.open(hostile / "index.html")
    counts = page.locator("nav.counts a")
    number = int(counts.nth(3).inner_text().split()[0])
    counts.nth(3).click()
    page.wait_for_selector("body[data-ready]")
    assert listed(page) == number


def test_pages_of_records_without_texts_say_so(tmp_path, write_run, watched):
    for condition in ("stripped", "full"):
        write_run(tmp_path / "runs" / f"{condition}-s0", condition=condition, dialogues=1)
    keep(tmp_path, tmp_path / "kept", scores_only=True)
    runs = read_study(tmp_path / "kept")
    write_readers(tmp_path / "kept", runs, {})
    page = watched().open(tmp_path / "kept" / "items.html")
    assert listed(page) == 9 and "Kept without texts" in page.inner_text("#reader")
    assert "NaN" not in page.content() and "null" not in page.inner_text("body")
    page.select_option("select[name='arm full']", "wrong")
    assert 0 < listed(page) < 10


def test_without_the_corpus_the_page_shows_what_the_records_hold(tmp_path, write_run, watched):
    write_run(tmp_path / "full-s0", dialogues=1)
    write_readers(tmp_path, read_study(tmp_path), {})
    page = watched().open(tmp_path / "items.html")
    text = page.inner_text("#reader")
    assert "Prompts are not shown" in text and "[cd(folder='temp')]" in text


CONTRASTS = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = colour => rgba(colour).slice(0, 3).map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, place) => sum + v * [.2126, .7152, .0722][place], 0);
  const ground = node => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (rgba(colour)[3] > 250) return colour;
    }
    return getComputedStyle(document.documentElement).backgroundColor;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const apart = node.closest('script, style, title, option');
    // black and white texts of a figure stand on areas of it, see tests/show/test_vector.py
    if (node.closest('.output_svg') && !/fill: (?!#ffffff)/.test(node.getAttribute('style'))) continue;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || apart) continue;
    const style = getComputedStyle(node);
    const colour = node.closest('svg') ? style.fill : style.color;
    const [low, high] = [light(colour), light(ground(node))].sort((a, b) => a - b);
    const ratio = (high + .05) / (low + .05);
    const least = node.closest('.strip, .legend b') ? 3 : 4.5;  // squares are no letters
    const what = `${node.tagName} ${node.getAttribute('class')} ${walker.currentNode.data.slice(0, 30)}`;
    if (ratio < least) found.push(`${what}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
}"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_can_be_read(report, watched, dark):
    for name, size in (("quick", "phone"), ("crossing-quick", "desk")):
        one = watched(size, dark)
        for file in ("index.html", "items.html", "rollouts.html"):
            if not (report(name) / file).is_file():
                continue
            page = one.open(report(name) / file)
            assert page.evaluate(CONTRASTS) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
            small = page.eval_on_selector_all(
                "svg text", "nodes => nodes.filter(text => text.getBoundingClientRect().height < 9).length"
            )
            assert small == 0


def test_no_large_area_is_bright_in_the_dark(report, watched):
    from io import BytesIO

    from PIL import Image

    one = watched(dark=True)
    for file in ("index.html", "items.html", "rollouts.html"):
        page = one.open(report("quick") / file)
        picture = Image.open(BytesIO(page.screenshot())).convert("L")
        tiles = picture.reduce(100)  # the mean of every 100 x 100 pixels
        assert tiles.getextrema()[1] < 128, file


def test_pages_are_small(report):
    assert (report("quick") / "index.html").stat().st_size <= 120_000
    assert (report("quick") / "items.html").stat().st_size <= 60_000


def test_scripts_are_small_and_write_text_only():
    sizes = {}
    for name in ("reader", "items", "rollouts"):
        script = reader.without_comments(reader.template(f"{name}.js"))
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser", script)
        sizes[name] = len(re.sub(r"\n\s*\n", "\n", script).encode())
    assert sizes["reader"] + sizes["items"] <= 8 * 1024, sizes
    assert sizes["rollouts"] <= 6 * 1024, sizes


def test_scripts_pass_the_linter(tmp_path):
    linter = Path(sys.executable).with_name("oxlint")
    if not linter.is_file():
        pytest.skip("oxlint is not installed: pip install -e '.[test]'")
    config = Path(__file__).with_name("oxlint.json")
    for name in ("items", "rollouts"):  # as a page has them: what both share comes first
        script = reader.template("reader.js") + reader.template(f"{name}.js")
        (tmp_path / f"{name}.js").write_text(script, "utf-8")
    done = subprocess.run([linter, "-c", config, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_study_of_13740_predictions_is_quick_to_read(tmp_path, report, watched):
    (kept,) = read_study(report("bfcl-one-epoch"))
    count = 0
    for seed in range(3):
        for condition in ("stripped", "full"):
            folder = tmp_path / "runs" / f"{condition}-s{seed}"
            rows = []
            for asked in ("stripped", "full"):
                for row in kept.predictions:
                    count += 1
                    text = f"{row['prediction']} {count}" if row["stage"] < 4 else row["prediction"]
                    names = {"train_condition": condition, "eval_condition": asked}
                    rows.append(row | names | {"prediction": text})
            own = kept.record.parameters | {"condition": condition, "seed": seed}
            record = vars(kept.record) | {
                "parameters": own | {"eval_conditions": ["stripped", "full"]},
                "matrix": {asked: kept.record.matrix["full"] for asked in ("stripped", "full")},
            }
            write_json(folder / "record.json", record)
            write_lines(folder / "items.jsonl", kept.items)
            write_lines(folder / "predictions.jsonl", rows)
    assert count == 13_740
    runs = read_study(tmp_path)
    corpora = corpora_of({kept.record.corpus["hash"]: kept.record.parameters})
    write_readers(tmp_path, runs, corpora)
    assert (tmp_path / "items.html").stat().st_size <= 1_000_000
    one, ready = watched(), []
    for _ in range(3):  # the best of three: a busy machine is no failure
        began = time.monotonic()
        page = one.open(tmp_path / "items.html")
        ready.append(time.monotonic() - began)
    assert min(ready) <= 3, ready
    took = page.evaluate("""() => [...document.querySelectorAll('select')].map(select => {
      const all = [1, 1, 1].map(place => {
        select.selectedIndex = place;
        const began = performance.now();
        select.onchange();
        document.body.offsetHeight;
        const took = performance.now() - began;
        select.selectedIndex = 0;
        select.onchange();
        return took;
      });
      return [select.name, Math.round(Math.min(...all))];
    })""")
    print(f"ready in {min(ready):.2f} s; ms by choice: {took}")
    assert max(ms for _, ms in took) <= 200, took
