"""Tests of analysis.drawing.svg, .charts and .rows: what is drawn, read from the SVG."""

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from analysis.drawing.charts import Axis, Band, Dot, Line, chart
from analysis.drawing.rows import (
    MAX_DOTS,
    Row,
    Strip,
    heat_map,
    strip_plot,
)
from analysis.drawing.svg import COLORS, color, polyline, shortened, ticks
from analysis.statistics.summaries import summarize

TAG = "{http://www.w3.org/2000/svg}"
EPOCHS = Axis(name="epoch", whole=True)


def parsed(svg):
    """The drawing: well formed, named and described for those who cannot see it, nothing undefined in it."""
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img" and root.find(f"{TAG}title").text and root.find(f"{TAG}desc").text
    assert not re.search(r'="[^"]*(nan|inf)', svg)
    return root


def hover(root):
    return [title.text for element in root.iter() for title in element.findall(f"{TAG}title") if element is not root]


def texts(root):
    return [element.text for element in root.iter(f"{TAG}text")]


def strip(name, values, series=0):
    points = tuple((f"seed {seed}", value) for seed, value in enumerate(values))
    return Strip(name=name, points=points, summary=summarize(values), series=series)


def test_ticks_are_round_and_cover_the_range():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(79.4, 80.3) == [79.4, 79.6, 79.8, 80, 80.2, 80.4]
    for low, high in ((5, 5), (0, 0), (-3, 1e6), (1e-9, 2e-9)):
        marks = ticks(low, high)
        assert marks[0] <= low and high <= marks[-1] and 2 <= len(marks) <= 8


def test_long_names_keep_their_beginning_and_their_end():
    assert shortened("k=4", 9) == "k=4"
    assert shortened("drop_path=0.2, weight_decay=0.0009", 15) == "drop_pa…=0.0009"


def test_series_have_colors_in_turn():
    assert color(1) == "var(--series-1,#c2570c)" and color(len(COLORS)) == color(0)
    assert len(set(COLORS)) == len(COLORS) == 12


def test_a_line_is_interrupted_by_nan():
    assert polyline([(0, 1), (1, math.nan), (2, 3), (3, 4)]) == "M0.0 1.0h0M2.0 3.0h0L3.0 4.0"


def test_strips_show_every_seed_and_keep_equal_ones_apart():
    root = parsed(strip_plot([strip("a <b>", [1.0, math.nan, 1.0], 9)], "title", "axis"))
    dots = root.findall(f"{TAG}circle")
    assert len(dots) == 2 and dots[0].get("cx") == dots[1].get("cx") and dots[0].get("cy") != dots[1].get("cy")
    assert "seed 2: 1.00" in hover(root)


def test_a_crowded_strip_is_its_mean_and_deviation():
    root = parsed(strip_plot([strip("k=4", [float(i) for i in range(MAX_DOTS + 1)])], "title", "axis"))
    assert not root.findall(f"{TAG}circle")
    assert hover(root) == ["k=4: 30.00 ± 17.75, n = 61"]


def test_a_chart_draws_lines_bands_and_dots_with_intervals():
    line = Line(label="<l>", points=((0, 1.0), (1, math.nan), (2, 3.0)), series=0, dashed=True)
    band = Band(label="band", points=((0, 1.0, 2.0), (1, math.nan, 3.0), (2, 2.0, 4.0)), series=0)
    dot = Dot(label="dot", x=1, y=2.0, low=1.5, high=2.5, series=1)
    root = parsed(chart("title", EPOCHS, "axis", lines=[line], frozen=2, bands=[band], dots=[dot]))
    assert sorted(hover(root)) == ["<l>", "band", "dot"]
    drawn = {
        p.find(f"{TAG}title").text: p.get("d") for p in root.iter(f"{TAG}path") if p.find(f"{TAG}title") is not None
    }
    assert drawn["<l>"].count("M") == 2 and drawn["band"].count("L") == 3
    assert "alpha frozen" in texts(root)
    assert root.find(f"{TAG}desc").text == "1 line, 1 band, 1 point over epoch; values from 1 to 4."


def test_a_line_of_one_point_is_a_dot():
    root = parsed(chart("title", EPOCHS, "axis", lines=[Line(label="once", points=((4.0, 1.0),), series=0)]))
    assert len(root.findall(f"{TAG}circle")) == 1 and hover(root) == ["once"]


def test_steps_keep_their_height_up_to_the_next_place():
    line = Line(label="l", points=((0.0, 1.0), (1.0, 0.0)), series=0, steps=True)
    root = parsed(chart("title", Axis(name="x"), "y", lines=[line]))
    path = next(p.get("d") for p in root.iter(f"{TAG}path") if p.find(f"{TAG}title") is not None)
    assert re.fullmatch(r"M\S+ \S+H\S+V\S+", path)


def test_marks_of_an_axis_set_its_range():
    root = parsed(
        chart(
            "t", Axis(name="rate", marks=((-2.0, "1/4"), (0.0, "1"))), "y", dots=[Dot(label="d", x=-1, y=1, series=0)]
        )
    )
    places = {t.text: float(t.get("x")) for t in root.findall(f"{TAG}text") if t.get("x")}
    assert float(root.find(f"{TAG}circle").get("cx")) == pytest.approx((places["1/4"] + places["1"]) / 2, abs=0.1)


def test_charts_without_a_number():
    missing = Dot(label="d", x=math.nan, y=1.0, series=0)
    for svg in (chart("t", EPOCHS, "y"), chart("t", Axis(name="x"), "y", dots=[missing]), strip_plot([], "t", "y")):
        assert not parsed(svg).findall(f"{TAG}circle")
    assert parsed(chart("t", EPOCHS, "y")).find(f"{TAG}desc").text == "Nothing to show."


def test_a_heat_map_shades_from_low_to_high():
    rows = [Row(name="a", values=(0.0, 0.5, math.nan)), Row(name="b", values=(2.0, 1.0, -1.0), shown="-1")]
    root = parsed(heat_map(rows, ["x", "", "z"], "t", "axis", low=0.0, high=1.0, numbers=True))
    places = [rect for rect in root.iter(f"{TAG}rect") if rect.find(f"{TAG}title") is not None]
    assert [rect.get("fill-opacity") for rect in places] == ["0.00", "0.50", "1.00", "1.00", "0.00"]
    assert hover(root)[:2] == ["a, x: 0.000", "a, 1: 0.500"]
    assert "0.50" in texts(root) and "-1" in texts(root)
    parsed(heat_map([], [], "t", "axis", low=0.0, high=1.0))
