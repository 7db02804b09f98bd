"""What `pcdarts theory` prints."""

from analysis.theory.summary import summary


def test_every_table_has_a_row_for_every_rate():
    text = summary(draws=100, rates=(1, 2))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows if row[0] != "---:"] == ["K", "1", "2"] * 2 + [
        "side operation",
        *"no no yes yes".split(),
    ]
    assert all(float(row[-1]) < 1e-12 for row in rows[-4:])  # closed form against implicit differentiation
    assert "default, and fixed they do not vary, so there is no penalty; with random there is." in text
