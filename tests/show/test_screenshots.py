"""The script that takes the README's pictures of a report."""

from PIL import Image, ImageStat

from tests import screenshots


def test_pictures_of_a_report_in_light_and_dark(browser, report, tmp_path):
    paths = screenshots.take(browser, report("quick"), tmp_path)
    assert len(paths) == len(screenshots.VIEWS) * len(screenshots.THEMES)
    for view in screenshots.VIEWS:
        light, dark = (Image.open(tmp_path / f"{view}-{theme}.png") for theme in screenshots.THEMES)
        assert light.size == dark.size == (1280, 800)
        means = [ImageStat.Stat(picture.convert("L")).mean[0] for picture in (light, dark)]
        assert means[1] < 100 < 200 < means[0]
        assert len(light.convert("L").getcolors()) > 20, "an empty page"
