"""Numbers as text."""

import math

import pytest

from analysis.sections.wording import duration, interval_text, millions, number
from analysis.statistics.summaries import summarize


def test_numbers_as_text():
    assert (number(-0.0001), number(None), number(math.nan, 3)) == ("0.00", "–", "–")
    assert interval_text(summarize([1.0, 3.0])) == "2.00 [-10.71, 14.71]"
    assert interval_text(summarize([1.0])) == "1.00" and interval_text(summarize([])) == "–"


@pytest.mark.parametrize(
    ("count", "text"), [(556_670_592, "557"), (24_300_000, "24.3"), (3_634_678, "3.63"), (None, "–"), (math.nan, "–")]
)
def test_millions_have_three_digits_or_more(count, text):
    assert millions(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(119.4, "119 seconds"), (120, "2.0 minutes"), (7200, "2.0 hours"), (8e8, "9,259.3 days")]
)
def test_times_have_the_largest_unit_of_which_there_are_two(seconds, text):
    assert duration(seconds) == text
