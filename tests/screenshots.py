"""Pictures of a committed report as a browser shows it, for light and for dark pages.

    python -m tests.screenshots        # after a report was made
"""

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image

from tests.show.conftest import SIZES, program
from trajnb.machine import ROOT

REPORT = ROOT / "reports" / "quick"
OUT = ROOT / "reports"
VIEWS = {
    "index": ("index.html", "", 800),
    "items": ("items.html", "arm+full=right&arm+stripped=wrong&item=multi_turn_base_89%3A4", 800),
    "rollouts": ("rollouts.html", "", 800),
}
"""By name: a page, its address behind #, and how much of it is shown, in pixels."""
THEMES = ("light", "dark")


def take(browser, report: Path, out: Path) -> list[Path]:
    """Have a `browser` of playwright write `<view>-<theme>.png` of a report to `out`; returns their paths."""
    written = []
    for theme in THEMES:
        context = browser.new_context(viewport=SIZES["desk"], color_scheme=theme)
        page = context.new_page()
        for view, (file, address, height) in VIEWS.items():
            page.goto(f"{(report / file).resolve().as_uri()}{address and '#'}{address}")
            if file != "index.html":
                page.wait_for_selector("body[data-ready]")
            clip = {"x": 0, "y": 0, "width": SIZES["desk"]["width"], "height": height}
            picture = Image.open(BytesIO(page.screenshot(clip=clip))).convert("RGB")
            written.append(out / f"{view}-{theme}.png")
            picture.quantize(64, dither=Image.Dither.NONE).save(written[-1], optimize=True)
        context.close()
    return written


if __name__ == "__main__":
    from playwright.sync_api import sync_playwright

    found = program()
    if found is None:
        sys.exit("there is no browser: install chromium")
    with sync_playwright() as playwright:
        for path in take(playwright.chromium.launch(executable_path=found), REPORT, OUT):
            print(path.relative_to(ROOT), f"{path.stat().st_size / 1000:.0f} kB")
