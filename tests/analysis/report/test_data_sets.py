"""Data sets of a page: their names are those of what a page shows of them."""

from math import nextafter

from analysis.report.data_sets import packed


def test_a_name_does_not_depend_on_the_last_bit_of_a_number():
    def spec(name, value):
        rows = [{"epoch": 0, "weight": value}, {"epoch": 1, "weight": 0.25}]
        return {"layer": [{"data": {"name": name}}], "datasets": {name: rows}}

    one, other = (packed(spec(*given)) for given in (("data-a", 0.1), ("data-b", nextafter(0.1, 1.0))))
    (name,) = one["datasets"]
    assert one == other and one["layer"] == [{"data": {"name": name}}]
    assert one["datasets"][name] == {"rows": 2, "columns": {"epoch": [0, 1], "weight": [0.1, 0.25]}}
    assert list(packed(spec("data-a", 0.2))["datasets"]) != [name]
