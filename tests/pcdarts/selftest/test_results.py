"""Verdicts, the JSON file and the page."""

import json

import pytest

from pcdarts.selftest.page import page, shown
from pcdarts.selftest.results import PartResult, from_dict, overall, to_json


def result(verdict="pass", **fields):
    return PartResult(**{"name": "one", "title": "Part one", "verdict": verdict, "reason": "because"} | fields)


def test_the_worst_verdict_counts():
    assert overall([result("pass"), result("not run")]) == "pass"
    assert overall([result("pass"), result("slower than expected")]) == "slower than expected"
    assert overall([result("slower than expected"), result("fail"), result("pass")]) == "fail"
    assert overall([result("not run")]) == overall([]) == "not run"


def test_a_result_survives_the_file():
    one = result(tables={"t": [{"a": 1, "b": None, "c": "x"}]}, costs={"search": 2.5}, seconds=1.5)
    found = json.loads(to_json({"device": "cpu"}, [one], finished=True))
    assert from_dict(found["parts"][0]) == one
    assert found["costs"] == {"search": 2.5} and found["machine"] == {"device": "cpu"}


def test_values_that_json_lacks_are_text():
    one = result(tables={"t": [{"a": float("inf"), "b": float("nan")}]})
    (row,) = json.loads(to_json({}, [one], finished=False))["parts"][0]["tables"]["t"]
    assert row == {"a": "inf", "b": "nan"}


def test_what_a_verdict_lacks_is_named():
    with pytest.raises(ValueError, match="verdict is 'good', but must be one of pass, fail"):
        result("good")
    with pytest.raises(ValueError, match="reason is empty"):
        result(reason="")


def test_the_page_shows_rows_of_different_columns_and_escapes():
    one = result("fail", title="A & B", tables={"<t>": [{"a": 1.23456}, {"b": True, "verdict": "not run"}]})
    html = page({"device": "cpu"}, [one], finished=True)
    assert "<caption>&lt;t&gt;</caption><tr><th>a</th><th>b</th><th>verdict</th></tr>" in html
    assert '<tr><td class="number">1.235</td><td></td><td></td></tr>' in html and "<td>True</td>" in html
    assert "<h2>A &amp; B</h2>" in html and 'selftest: <span class="fail">fail</span>' in html
    assert '<span class="not">not run</span>' in html


def test_numbers_have_four_digits():
    assert [shown(v) for v in (1234.56, 0.000123456, 7, None, "x")] == ["1235", "0.0001235", "7", "", "x"]
