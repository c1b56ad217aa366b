"""The explorer in JupyterLab itself, light and dark, and in a notebook that is not trusted."""

import os
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from trajnb import explore
from trajnb.machine import ROOT

QUICK = ROOT / "reports" / "quick"
CELLS = [
    f"from trajnb import explore\ns = explore.open({str(QUICK)!r})",
    "s.browse(right='full', wrong='stripped')",
    "s.show('multi_turn_base_89', 4)",
    "s.table('headline')",
    "s.figure('items')",
]
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
KERNEL_OF = "jupyterapp.shell.currentWidget?.context?.sessionContext?.session?.kernel"
PATIENCE = 180_000
"""Milliseconds for a kernel of a busy machine."""
CONTRASTS = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const over = (colour, ground) => {
    canvas.fillStyle = `rgb(${ground.join()})`;
    canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const ground = node => node
    ? over(getComputedStyle(node).backgroundColor, ground(node.parentElement)) : [255, 255, 255];
  const light = colour => colour.map(value => value / 255)
    .map(value => value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4)
    .reduce((sum, value, place) => sum + value * [.2126, .7152, .0722][place], 0);
  const found = [];
  const texts = '.trajnb th, .trajnb td, .trajnb .line, .trajnb .word, .trajnb p';
  for (const node of document.querySelectorAll(texts)) {
    const own = ground(node), ink = over(getComputedStyle(node).color, own);
    const [dark, bright] = [light(own), light(ink)].sort((one, other) => one - other);
    found.push([(bright + .05) / (dark + .05), node.textContent.slice(0, 40)]);
  }
  return found;
}"""


def settings(folder, name: str, text: str) -> None:
    path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(scope="module")
def lab(tmp_path_factory, browser):
    """The address of a JupyterLab over two notebooks: one to be run, one that a stranger ran."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    settings(folder, "notebook-extension/tracker", '{"windowingMode": "none"}')
    cells = list(map(new_code_cell, CELLS))
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), folder / "notebooks" / "own.ipynb")
    study = explore.open(QUICK)
    page, call = study.browse(right="full", wrong="stripped"), study.show("multi_turn_base_89", 4)
    shown = [page._repr_html_(), call.data]
    cells = [
        new_code_cell("", execution_count=1, outputs=[new_output("display_data", {"text/html": html})])
        for html in shown
    ]
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), folder / "notebooks" / "strange.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    places = {f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    places |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "PYTHONPATH": str(ROOT)}
    places |= {"JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"), "IPYTHONDIR": str(folder / "ipython")}
    words = [
        "--no-browser", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--IdentityProvider.token=t",
        f"--ServerApp.root_dir={folder / 'notebooks'}", "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=", "--allow-root",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *words],
            env=os.environ | places, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        _wait_for(f"{address}/api/status?token=t", server, folder / "log")
        yield address
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it waits for its kernel, which ends with it
            server.kill()
            server.wait()


def _wait_for(address: str, server: subprocess.Popen, log) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"JupyterLab does not answer: {log.read_text()}")


@pytest.fixture
def opened(lab, browser):
    """A function that opens a notebook in JupyterLab; nothing may be asked of any other machine."""
    contexts, elsewhere = [], []

    def open_one(name: str):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        own = (lab, lab.replace("http", "ws"), "data:", "blob:", "about:")
        page.on("request", lambda one: one.url.startswith(own) or elsewhere.append(one.url))
        page.goto(f"{lab}/lab/tree/{name}?token=t")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert elsewhere == []


def check_contrasts(page) -> None:
    found = page.evaluate(CONTRASTS)
    assert len(found) > 100
    assert [pair for pair in found if pair[0] < 4.5] == []


def test_the_explorer_is_used_in_jupyterlab_light_and_dark(opened):
    page = opened("own.ipynb")
    page.wait_for_function(f"{KERNEL_OF}?.status === 'idle'")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_selector(".jp-OutputArea .trajnb.figure svg")
    inside = page.frame_locator(".jp-OutputArea iframe")
    inside.locator("body[data-ready]").wait_for()
    assert inside.locator("#tally").inner_text() == "7 of 37"
    inside.locator("select[name='arm full']").select_option("")
    inside.locator("select[name='arm stripped']").select_option("")
    assert inside.locator("#tally").inner_text() == "37 of 37"
    inside.locator("#list > button").nth(1).click()
    assert inside.locator("#reader h2").inner_text()
    gold, *arms = (
        page.locator(".trajnb.item table").first.locator("thead th").nth(place).bounding_box()["x"]
        for place in (1, 2, 3)
    )
    assert gold < arms[0] < arms[1]
    assert "stripped" in page.locator(".trajnb.figure svg text").all_text_contents()
    check_contrasts(page)
    page.evaluate("jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    page.wait_for_selector("body[data-jp-theme-light='false']", state="attached")
    check_contrasts(page)
    assert "invert" in page.evaluate("getComputedStyle(document.querySelector('.trajnb.figure svg')).filter")


def test_in_a_notebook_that_is_not_trusted_counts_and_answers_stand(opened):
    page = opened("strange.ipynb")
    page.get_by_text("7 of 37 items: full right, stripped wrong").wait_for()
    assert page.locator(".jp-OutputArea iframe").count() == 0
    assert page.get_by_text("[fillFuelTank(fuelAmount=30.0)]").count() > 0
    assert page.locator(".jp-OutputArea td", has_text="estimate_distance").count() > 0
