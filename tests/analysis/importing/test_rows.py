"""Rows of CSV and JSON files."""

import pytest

from analysis.importing.rows import read_rows

GENOTYPE = "Genotype(normal=[('skip_connect', 0), ('skip_connect', 1)])"


@pytest.mark.parametrize(
    ("kind", "text", "delimiter"),
    [
        ("csv", f'cell,one_shot,note\n"{GENOTYPE}", 87.5,\n"{GENOTYPE}",nan,"two\nlines"\n\n', ","),
        ("csv", f'\ufeffcell;one_shot;note\r\n{GENOTYPE};87.5;\r\n{GENOTYPE};nan;"two\nlines"\r\n', ";"),
    ],
)
def test_csv_is_read_as_text(tmp_path, kind, text, delimiter):
    (tmp_path / "old").write_text(text, "utf-8", newline="")
    assert read_rows(tmp_path / "old", kind, delimiter=delimiter) == [
        {"cell": GENOTYPE, "one_shot": "87.5", "note": None},
        {"cell": GENOTYPE, "one_shot": "nan", "note": "two\nlines"},
    ]


@pytest.mark.parametrize(
    "text", ['[{"seed": 1, "cell": ""},\n {"seed": 2}]', '{"seed": 1, "cell": ""}\n\n{"seed": 2}\n']
)
def test_json_keeps_its_types(tmp_path, text):
    (tmp_path / "old").write_text(text)
    assert read_rows(tmp_path / "old", "json") == [{"seed": 1, "cell": None}, {"seed": 2}]


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("csv", "", "has no rows, but must have at least one"),
        ("csv", "a,b\n", "has no rows"),
        ("csv", "a,a\n1,2\n", "names a column twice: a, a; rename one"),
        ("csv", "a,b\n1,2\n1,2,3\n", r"row 2 has 3 values, but the header names 2 columns; quote values"),
        ("csv", 'a,b\n1,"2\n', "is not valid CSV"),
        ("json", "{", "is not valid JSON"),
        ("json", "[]", "has no rows"),
        ("json", '[{"a": 1}, 2]', "row 2 is '2', but must be an object"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, kind, text, message):
    (tmp_path / "old").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_rows(tmp_path / "old", kind)


def test_a_file_that_is_absent_or_binary(tmp_path):
    (tmp_path / "old").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="it is not UTF-8 text; give a CSV file"):
        read_rows(tmp_path / "old", "csv")
    with pytest.raises(ValueError, match="absent cannot be read: No such file"):
        read_rows(tmp_path / "absent", "json")
    with pytest.raises(ValueError, match="the delimiter is 'ab', but must be one character"):
        (tmp_path / "old").write_text("a\n1\n")
        read_rows(tmp_path / "old", "csv", delimiter="ab")
