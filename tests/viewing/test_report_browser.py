"""The report page in a real browser: what a person sees, points at, and reaches by keyboard."""

import csv
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from browsing import browser
from datasets import ClassLabel, Dataset
from needs import needs

from hf_curriculum import CurriculumConfig, add_difficulty, report

playwright = needs("playwright.sync_api")
pytestmark = pytest.mark.slow

LAPTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture
def visit(chromium):
    """Opens a page; after the test, nothing may have gone wrong in it and nothing may have been asked of a network."""
    contexts, faults, requests = [], [], []

    def opened(path, **options):
        contexts.append(chromium.new_context(**{**LAPTOP, **options}))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: faults.append(message.text) if message.type != "log" else None)
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(path.as_uri())
        tab.wait_for_selector("html[data-ready]", timeout=120_000)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert faults == []
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == requests[:1]
    assert requests[0].startswith("file:")


@pytest.fixture(scope="module")
def page(scored, tmp_path_factory):
    config = CurriculumConfig(warmup_steps=30)
    return report(scored, tmp_path_factory.mktemp("page") / "report.html", curriculum=config, total_steps=40)


def readout(tab):
    return dict(
        zip(tab.locator("#readout dt").all_inner_texts(), tab.locator("#readout dd").all_inner_texts(), strict=True)
    )


def trace(tab, plot, number):
    """Places of a trace, as the plot has them now."""
    return tab.evaluate(f"(({{ x, y }}) => [[...x], [...y]])(document.getElementById('{plot}').data[{number}])")


# --- what is there ------------------------------------------------------------------------------------------------


def test_all_plots_are_drawn_and_all_sections_can_be_reached(page, scored, visit):
    tab = visit(page)
    for plot in ("difficulty", "schedule", "sizes", "curve", "map"):
        playwright.expect(tab.locator(f"#{plot}-plot .main-svg").first).to_be_visible()
    for link in tab.locator("nav a").all():
        playwright.expect(tab.locator(link.get_attribute("href"))).to_have_count(1)
    assert tab.locator("#map-plot .point").count() == len(scored)
    assert tab.locator("#sizes-plot .point").count() == len(np.unique(scored["cluster"]))
    assert tab.locator("#extremes .cluster").count() == len(np.unique(scored["cluster"]))


def test_images_are_shown(page, visit):
    tab = visit(page)
    images = tab.locator("#drawn img")
    assert images.count() > 3
    for image in images.all():
        image.scroll_into_view_if_needed()
        tab.wait_for_function("image => image.naturalWidth === 8", arg=image.element_handle())
        assert image.get_attribute("alt").startswith("row ")


def test_sound_can_be_played(clips, tmp_path, visit):
    tab = visit(report(add_difficulty(clips, "builtin/logmel", n_clusters=2), tmp_path / "report.html"))
    lengths = tab.evaluate(
        """() => Promise.all([...document.querySelectorAll('#extremes audio')].slice(0, 4).map(audio =>
            new Promise((found, failed) => {
              audio.onloadedmetadata = () => found(audio.duration); audio.onerror = failed; audio.load();
            })))"""
    )
    assert len(lengths) == 4 and all(0.04 < length < 0.5 for length in lengths)


# --- slider -------------------------------------------------------------------------------------------------------


def test_the_slider_goes_through_the_schedule(page, scored, visit):
    tab = visit(page)
    assert (readout(tab)["Step"], readout(tab)["Effective fraction"]) == ("0 of 40", "0.30")
    start = trace(tab, "difficulty-plot", 1)[1]
    cards = tab.locator("#drawn figcaption").all_inner_texts()
    tab.get_by_role("button", name="Half-way up").click()
    assert readout(tab)["Step"] == "15 of 40"
    assert trace(tab, "schedule-plot", 1)[0] == [15]
    tab.get_by_role("button", name="Uniform").click()
    assert readout(tab)["Step"] == "30 of 40"
    assert (readout(tab)["Effective fraction"], readout(tab)["Temperature"]) == ("0.63", "uniform")
    shares = trace(tab, "difficulty-plot", 1)[1]
    np.testing.assert_allclose(shares, np.histogram(scored["difficulty"], 40)[0] / len(scored), atol=1e-9)
    assert np.abs(np.subtract(shares, start)).sum() > 0.3
    assert tab.locator("#drawn figcaption").all_inner_texts() != cards


def test_difficulties_that_are_all_the_same_draw_uniformly_from_the_start(tmp_path, visit):
    dataset = Dataset.from_dict({"text": [f"text {i}" for i in range(40)], "difficulty": [0.5] * 40})
    tab = visit(report(dataset, tmp_path / "report.html"))
    assert readout(tab)["Step"].startswith("0 of") and readout(tab)["Temperature"] == "uniform"
    assert tab.locator("#drawn > *").count() > 0


def test_the_slider_works_by_keyboard_and_says_where_it_is(page, visit):
    tab = visit(page)
    slider = tab.get_by_role("slider", name="Step")
    slider.focus()
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    assert readout(tab)["Step"] == "3 of 40"
    assert slider.get_attribute("aria-valuetext") == "step 3 of 40"
    tab.keyboard.press("End")
    assert readout(tab)["Step"] == "40 of 40"


# --- map ----------------------------------------------------------------------------------------------------------


def test_pointing_at_a_row_shows_it(page, scored, visit):
    tab = visit(page)
    point = tab.locator("#map-plot .scatterlayer .trace").first.locator(".point").nth(17)
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    playwright.expect(tab.locator("#preview img")).to_be_visible()
    cells = dict(
        zip(tab.locator("#preview th").all_inner_texts(), tab.locator("#preview td").all_inner_texts(), strict=True)
    )
    row = int(cells["row"])  # another one may lie on top of the one pointed at
    assert cells["cluster"] == str(scored[row]["cluster"])
    assert float(cells["difficulty"]) == pytest.approx(scored[row]["difficulty"], abs=0.006)
    assert cells["label"] == str(scored[row]["label"])
    x, y = (places[row] for places in trace(tab, "map-plot", 0))
    assert trace(tab, "map-plot", 1) == [[x], [y]]


def test_arrow_keys_go_from_row_to_row_in_their_direction(page, visit):
    tab = visit(page)
    tab.locator("#map-plot").focus()
    tab.keyboard.press("ArrowRight")
    for key, axis, sign in (("ArrowRight", 0, 1), ("ArrowUp", 1, 1), ("ArrowLeft", 0, -1), ("ArrowDown", 1, -1)):
        before = [places[0] for places in trace(tab, "map-plot", 1)]
        tab.keyboard.press(key)
        after = [places[0] for places in trace(tab, "map-plot", 1)]
        assert after == before or sign * (after[axis] - before[axis]) > 0  # there may be none in this direction
    playwright.expect(tab.locator("#preview td").first).to_be_visible()


def test_the_map_is_coloured_by_cluster_or_by_difficulty(page, scored, visit):
    tab = visit(page)
    colours = "[...document.getElementById('map-plot').data[0].marker.color]"
    by_cluster = tab.evaluate(colours)
    assert len(set(by_cluster)) == len(np.unique(scored["cluster"]))
    tab.get_by_label("difficulty", exact=True).check()
    np.testing.assert_allclose(tab.evaluate(colours), scored["difficulty"], atol=1e-6)
    tab.get_by_label("cluster", exact=True).check()
    assert tab.evaluate(colours) == by_cluster


def lit(tab):
    """Number of rows of the map that are bright."""
    return tab.evaluate("[...document.getElementById('map-plot').data[0].marker.opacity].filter(x => x > 0.5).length")


def test_the_map_lights_what_the_step_draws(page, scored, visit):
    tab = visit(page)
    shares = []
    for name in ("Start", "Half-way up", "Uniform"):
        tab.get_by_role("button", name=name).click()
        shares.append(lit(tab) / len(scored))
    np.testing.assert_allclose(shares, [0.3, 0.466, 0.632], atol=0.06)
    tab.get_by_label("light up what is drawn").uncheck()
    assert lit(tab) == len(scored)


def test_the_step_plays_by_itself_and_stops(page, visit):
    tab = visit(page)
    tab.get_by_role("button", name="Play").click()
    playwright.expect(tab.locator("#readout dd").first).not_to_have_text("0 of 40")
    tab.get_by_role("button", name="Stop").click()
    stopped = readout(tab)["Step"]
    tab.wait_for_timeout(400)
    assert readout(tab)["Step"] == stopped != "0 of 40"


def test_the_legend_and_the_search_filter_and_what_is_left_can_be_taken_away(page, scored, visit, tmp_path):
    tab = visit(page)
    tab.get_by_label("light up what is drawn").uncheck()
    tab.get_by_label("label", exact=True).check()
    entry = tab.locator("#legend button", has_text="3 ").first
    label = entry.inner_text().split()[0]
    entry.click()
    expected = [row for row, one in enumerate(scored["label"]) if scored.features["label"].int2str(one) == label]
    assert lit(tab) == len(expected) and entry.get_attribute("aria-pressed") == "true"
    with tab.expect_download() as saved:
        tab.locator("#selection").get_by_role("button", name="Row numbers").click()
    assert json.loads(Path(saved.value.path()).read_text()) == expected
    with tab.expect_download() as saved:
        tab.locator("#selection").get_by_role("button", name="CSV").click()
    with open(saved.value.path(), newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(line["row"]) for line in table] == expected and {line["label"] for line in table} == {label}
    np.testing.assert_allclose([float(line["difficulty"]) for line in table], np.array(scored["difficulty"])[expected])
    tab.get_by_role("button", name="Show all", exact=True).click()
    assert lit(tab) == len(scored) and tab.locator("#selection").inner_text() == ""


def test_a_box_on_the_map_selects_its_rows(page, scored, visit):
    tab = visit(page)
    tab.get_by_label("light up what is drawn").uncheck()
    tab.get_by_role("button", name="Box").click()
    tab.evaluate("document.getElementById('map-plot').scrollIntoView({ block: 'center', behavior: 'instant' })")
    box = tab.locator("#map-plot .nsewdrag").bounding_box()
    middle = box["x"] + box["width"] / 2
    tab.mouse.move(box["x"] + 3, box["y"] + 3)
    tab.mouse.down()
    tab.mouse.move(middle, box["y"] + box["height"] - 3, steps=5)
    tab.mouse.up()
    playwright.expect(tab.locator("#selection")).to_contain_text("rows of the map")
    at = tab.evaluate("document.getElementById('map-plot')._fullLayout.xaxis.p2d(%f)" % (box["width"] / 2))
    inside = sum(x < at for x in trace(tab, "map-plot", 0)[0])
    assert 0 < inside < len(scored) and abs(lit(tab) - inside) <= 2
    assert f"{lit(tab)} of {len(scored)} rows of the map" in tab.locator("#selection").inner_text()


def test_the_axes_of_the_map_have_one_scale(page, visit):
    x, y = visit(page).evaluate(
        "(({ xaxis, yaxis }) => [xaxis, yaxis].map(axis => axis._length / Math.abs(axis.range[1] - axis.range[0])))"
        "(document.getElementById('map-plot')._fullLayout)"
    )
    assert x == pytest.approx(y, rel=0.01)


# --- labels -------------------------------------------------------------------------------------------------------


def test_doubtful_labels_stand_beside_both_prototypes(page, scored, visit):
    tab = visit(page)
    found = json.loads(tab.locator("#data").text_content())["labels"]
    first = tab.locator("#wrong .doubt").first
    assert f"row {found['wrong'][0]} " in first.locator(".row").first.inner_text()
    given, suggested = found["names"][found["given"][0]], found["names"][found["suggested"][0]]
    assert first.locator("p").all_inner_texts() == [f"labelled {given}", f"typical {given}", f"looks like {suggested}"]
    assert first.locator("img").count() == 3
    with tab.expect_download() as saved:
        tab.locator("#wrong").get_by_role("button", name="CSV").click()
    with open(saved.value.path(), newline="") as file:
        assert [int(line["row"]) for line in csv.DictReader(file)] == found["wrong"]


def test_a_file_for_a_spreadsheet_has_no_formula(tmp_path, visit):
    texts = ["=1+1", "+cmd", "@x", "-5", 'a "quoted", text']
    dataset = Dataset.from_dict({"text": texts, "difficulty": [0.5, 0.4, 0.3, 0.2, 0.1]})
    tab = visit(report(dataset, tmp_path / "report.html", input_column="text"))
    with tab.expect_download() as saved:
        tab.locator("#hardest").get_by_role("button", name="CSV").click()
    with open(saved.value.path(), newline="") as file:
        assert [line["shown"] for line in csv.DictReader(file)] == ["'=1+1", "'+cmd", "'@x", "-5", texts[-1]]


# --- clusters -----------------------------------------------------------------------------------------------------


def test_a_chosen_cluster_comes_into_view(page, visit):
    tab = visit(page)
    last = tab.locator("#jump option").last.get_attribute("value")
    tab.locator("#jump").select_option(last)
    playwright.expect(tab.locator(f"#{last}")).to_be_in_viewport()
    assert tab.evaluate("document.activeElement.id") == last


def test_a_bar_opens_its_cluster_and_one_is_open_at_a_time(page, visit):
    tab = visit(page)
    opened = tab.locator("#extremes .cluster:visible")
    first = opened.get_attribute("id")
    bar = tab.locator("#sizes-plot .point").last
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    playwright.expect(opened).to_have_count(1)
    assert opened.get_attribute("id") == tab.locator("#jump option").last.get_attribute("value") != first
    assert tab.locator("#jump").input_value() == opened.get_attribute("id")
    playwright.expect(opened.locator("img").first).to_be_visible()


def test_a_tapped_row_is_in_view_on_a_phone(page, visit):
    tab = visit(page, **PHONE)
    tab.locator("#map-plot").scroll_into_view_if_needed()
    point = tab.locator("#map-plot .scatterlayer .trace").first.locator(".point").nth(17).bounding_box()
    tab.touchscreen.tap(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    playwright.expect(tab.locator("#preview img")).to_be_in_viewport()


def test_a_hundred_thousand_rows_open_in_three_seconds(tmp_path, visit):
    rng = np.random.default_rng(0)
    rows = 100_000
    dataset = Dataset.from_dict(
        {
            "text": ["some words of a row"] * rows,
            "embedding": np.ones((rows, 2), np.float32),
            "cluster": rng.integers(0, 300, rows),
            "difficulty": rng.random(rows),
            "label": rng.integers(0, 10, rows),
        }
    ).cast_column("label", ClassLabel(names=list("abcdefghij")))
    path = report(dataset, tmp_path / "report.html")
    start = time.perf_counter()
    visit(path)
    assert time.perf_counter() - start < 3 * (1 + os.getloadavg()[0] / os.cpu_count())  # on a machine of its own: 3 s


# --- hostile rows, sizes, themes ----------------------------------------------------------------------------------


def test_hostile_rows_run_nothing(tmp_path, visit):
    rng = np.random.default_rng(0)
    dataset = Dataset.from_dict(
        {"text": [HOSTILE] * 20, HOSTILE: [HOSTILE] * 20, "embedding": rng.random((20, 3)).tolist()}
    )
    scored = add_difficulty(dataset, n_clusters=2)
    tab = visit(report(scored, tmp_path / "report.html", title=HOSTILE, input_column="text"))
    assert tab.title() == HOSTILE
    assert tab.locator("#extremes blockquote").first.text_content() == HOSTILE
    tab.locator("#map-plot").focus()
    tab.keyboard.press("ArrowRight")
    assert HOSTILE in tab.locator("#preview").inner_text()
    tab.wait_for_timeout(300)
    assert tab.evaluate("window.hacked") is None


@pytest.mark.parametrize("device", [LAPTOP, PHONE], ids=["laptop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen_and_text_can_be_read(page, visit, device, scheme):
    tab = visit(page, **device, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ink, ground = (
        np.array(tab.evaluate(f"getComputedStyle(document.body).{name}.match(/[0-9]+/g).slice(0, 3).map(Number)"))
        for name in ("color", "backgroundColor")
    )
    assert (ground.mean() > 200) == (scheme == "light")
    assert contrast(ink, ground) > 7
    legend = tab.evaluate("document.getElementById('difficulty-plot')._fullLayout.font.color")
    assert contrast(np.array([int(legend[i : i + 2], 16) for i in (1, 3, 5)]), ground) > 7


def test_no_strip_is_blank_under_the_map(page, visit):
    tab = visit(page)
    beside, plot = (tab.locator(name).bounding_box() for name in (".beside", "#map-plot"))
    assert beside["height"] == pytest.approx(plot["height"], abs=2)


def test_doubtful_texts_and_the_record_can_be_read_on_a_phone(tmp_path, visit):
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 30)
    vectors = np.eye(3)[label] + 0.1 * rng.random((60, 3))
    vectors[-1] = 0, 0, 9  # too far from all others for a cluster of its own: a long line of the record
    label[0] = 1
    dataset = Dataset.from_dict({"text": ["some words of a row " * 6] * 60, "embedding": vectors, "label": label})
    scored = add_difficulty(dataset.cast_column("label", ClassLabel(names=["cat", "dog"])), n_clusters=3)
    tab = visit(report(scored, tmp_path / "report.html"), **PHONE)
    parts = (
        tab.locator("#wrong .doubt")
        .first.locator("> div")
        .evaluate_all("parts => parts.map(part => part.getBoundingClientRect().right)")
    )
    assert len(parts) == 3 and max(parts) <= PHONE["viewport"]["width"]
    record = tab.locator("#record > table")
    assert "too small for a prototype" in record.inner_text()
    assert record.locator("td").first.bounding_box()["width"] > 150


def test_the_plots_follow_a_change_of_the_theme(page, visit):
    tab = visit(page)
    ink = "document.getElementById('difficulty-plot')._fullLayout.font.color"
    light = tab.evaluate(ink)
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_timeout(500)
    assert (light, tab.evaluate(ink)) == ("#1f2937", "#e5e7eb")


def contrast(one, other):
    """Contrast ratio of WCAG 2."""
    weights = [0.2126, 0.7152, 0.0722]
    light = [
        np.where(c / 255 <= 0.03928, c / 255 / 12.92, ((c / 255 + 0.055) / 1.055) ** 2.4) @ weights
        for c in (one, other)
    ]
    return (max(light) + 0.05) / (min(light) + 0.05)
