"""Colors of the settings."""

import pandas as pd

from analysis.figures.palette import COLORS, GRAY, MAX_SETTINGS, UNFINISHED, Palette, colors_of


def test_a_setting_keeps_its_color_when_others_are_missing():
    places = {"k=2": 0, "k=4": 1, "k=8": 2}
    palette = Palette.of(["k=8", "k=2"], places)
    assert palette.series == {"k=2": 0, "k=8": 2} and palette.cut == ""
    frame = palette.numbered(pd.DataFrame({"setting": [UNFINISHED, "k=8", "k=2", "k=8"]}))
    assert colors_of(frame) == {"k=2": COLORS[0], "k=8": COLORS[2], UNFINISHED: GRAY}
    assert list(colors_of(frame)) == ["k=2", "k=8", UNFINISHED]


def test_the_first_settings_of_many_are_shown_in_different_colors():
    places = {f"k={place}": place for place in range(40)}
    palette = Palette.of(list(places)[20:], places)
    assert palette.settings[0] == "k=20" and sorted(palette.series.values()) == list(range(MAX_SETTINGS))
    assert palette.cut == "Figures show the first 12 of 20 settings; the tables list all."
