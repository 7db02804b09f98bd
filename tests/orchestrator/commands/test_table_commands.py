"""`pcdarts report`, `track`, `compact`, `columns` and `theory`."""

import errno
from pathlib import Path

import pytest

from analysis.storage import compaction
from analysis.storage.study_files import StudyFiles
from analysis.tables import column_reference
from orchestrator.cli import main
from tests.analysis.storage.test_compaction import filled
from tests.analysis.synthetic import write_study


def test_the_columns_are_explained(capsys):
    assert main(["columns"]) == 0 and capsys.readouterr().out == column_reference()


def test_a_report_has_three_forms(tmp_path, capsys):
    store = write_study(str(tmp_path / "demo"))  # as an import leaves it: its study.json describes no search
    for form, name in (("html", "report.html"), ("md", "report.md"), ("csv", "report-csv")):
        assert main(["report", store.root, "--format", form]) == 0
        assert capsys.readouterr().out == f"wrote {store.root}/{name}\n" and (tmp_path / "demo" / name).exists()
    with pytest.raises(SystemExit):
        main(["report", store.root, "--format", "pdf"])
    assert "invalid choice: 'pdf'" in capsys.readouterr().err


def test_a_report_can_go_elsewhere(tmp_path, capsys):
    store, folder = write_study(str(tmp_path / "demo")), tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").touch()
    before = sorted(path.relative_to(tmp_path) for path in (tmp_path / "demo").rglob("*"))
    for form, name in (("html", "report.html"), ("md", "report.md"), ("csv", "")):
        out = str(folder / name)
        assert main(["report", store.root, "--format", form, "--out", out]) == 0
        assert capsys.readouterr().out == f"wrote {out}\n"
    assert {"notes.txt", "report.html", "report.md", "settings.csv"} <= {path.name for path in folder.iterdir()}
    assert sorted(path.relative_to(tmp_path) for path in (tmp_path / "demo").rglob("*")) == before
    assert main(["report", store.root]) == 0
    assert (folder / "report.html").read_text() == (tmp_path / "demo" / "report.html").read_text()


def test_a_report_of_a_study_on_read_only_storage_names_the_way_out(tmp_path, capsys, monkeypatch):
    store = write_study(str(tmp_path / "demo"))

    def refuse(self, path, data):
        raise OSError(errno.EROFS, "Read-only file system", path)

    monkeypatch.setattr(StudyFiles, "_write_once", refuse)
    assert main(["report", store.root]) == 3
    error = capsys.readouterr().err
    assert "Read-only file system" in error and error.endswith("; give --out FILE to write the report elsewhere\n")
    assert main(["report", store.root, "--out", str(tmp_path / "mine.html")]) == 0


@pytest.mark.parametrize("command", ["report", "compact", "track"])
@pytest.mark.parametrize("wrong", ["absent", "nowhere://x"])
def test_a_study_that_is_not_there_is_not_made(command, wrong, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([command, wrong, *(["tensorboard", "tb"] if command == "track" else [])]) == 2
    assert capsys.readouterr().err.startswith("pcdarts: error: ") and not Path(wrong).exists()


def test_parts_are_moved_into_few_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compaction, "SIZE", 4)
    monkeypatch.setattr(compaction, "LEAST", 3)
    filled(tmp_path)
    assert main(["compact", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "searches: 10 parts, 7 files fewer\n"


@pytest.mark.slow
def test_the_theory_agrees_to_three_digits(capsys):
    assert main(["theory"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    rates = ["1", "2", "4", "8", "16"]
    closed_form, minimized = ([r for r in rows if len(r) == width and r[0] in rates] for width in (8, 5))
    bilevel = [row for row in rows if row[0] in ("no", "yes")]
    assert [row[0] for row in closed_form] == [row[0] for row in minimized] == rates
    assert [row[:2] for row in bilevel] == [[side, rate] for side in ("no", "yes") for rate in rates]
    assert all(abs(float(row[6])) < 5e-4 for row in closed_form)
    assert all(float(row[-1]) < 1e-12 for row in bilevel)


def test_a_study_is_mirrored(tmp_path, capsys):
    pytest.importorskip("tensorboardX", reason="needs the extra tensorboard")
    store, folder = write_study(str(tmp_path / "demo")), str(tmp_path / "tb")
    assert main(["track", store.root, "tensorboard", folder]) == 0
    assert main(["track", store.root, "tensorboard", folder]) == 0
    lines = ["mirrored 10 runs, 80 epochs, 10 outcomes", "mirrored 0 runs, 0 epochs, 0 outcomes"]
    assert capsys.readouterr().out.splitlines() == lines


def test_a_mirror_that_cannot_be_is_one_line(tmp_path, capsys):
    root = write_study(str(tmp_path / "demo")).root
    (tmp_path / "file").write_text("x")
    for argv, code, message in (
        (["tensorboard", str(tmp_path / "file")], 5, "cannot be written to"),
        (["tensorboard", "tb", "--interval", "0"], 2, "--interval is 0, but must be above 0"),
        (["tensorboard", "tb", "--experiment", "x"], 2, "--experiment is of mlflow"),
    ):
        assert main(["track", root, *argv]) == code
        error = capsys.readouterr().err
        assert message in error and len(error.strip().splitlines()) == 1
