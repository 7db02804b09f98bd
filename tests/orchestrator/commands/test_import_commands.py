"""`pcdarts import`."""

import csv
import json

import pytest

from analysis.store import ResultStore
from analysis.tables import EPOCHS, QUEUE, RETRAINS, SEARCHES
from orchestrator.cli import main
from pcdarts.genotype import PUBLISHED
from tests.analysis.robustdarts.test_importer import hessian, write_run

ROWS = [
    {"cell": str(PUBLISHED[name]), "one_shot": 86 + number / 10, "final": 97 - number / 10, "run": number}
    for number, name in enumerate(("PC_DARTS_cifar", "DARTS_V1", "DARTS_V2"))
]
FLAGS = ["--map", "genotype=cell", "valid_accuracy=one_shot", "--map", "test_accuracy=final", "--k", "4"]
FLAGS += ["--dataset", "cifar10", "--method", "pcdarts", "--unit", "percent"]


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_results_become_a_study_with_a_report(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with open("old", "w", newline="") as file:
        if kind == "csv":
            writer = csv.DictWriter(file, ROWS[0], delimiter=";")
            writer.writeheader()
            writer.writerows(ROWS)
        else:
            json.dump(ROWS, file)
    flags = [*FLAGS, "--map", "seed=run", "--recipe", "cifar10", *(["--delimiter", ";"] if kind == "csv" else [])]
    assert main(["import", kind, "old", "--study", "mine", *flags]) == 0
    text = capsys.readouterr().out
    assert text.startswith("3 searches, 3 distinct cells, 3 retrainings\n") and "pcdarts report studies/mine" in text
    store = ResultStore("studies/mine")
    assert [len(store.read(table)) for table in (SEARCHES, QUEUE, RETRAINS)] == [3, 3, 3]
    assert (
        store.read(SEARCHES)["network_macs"][0] == 556_670_592
    )  # of PC_DARTS_cifar, as counted from the official code
    assert main(["report", "studies/mine", "--format", "md"]) == 0
    text = (tmp_path / "studies/mine/report.md").read_text()
    assert "3 retrained cells of k=4 have a mean test error of 3.10 ± 0.10 % after 600 epochs on cifar10" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "genotype has no source, but every search needs it; give --map genotype=COLUMN"),
        (["--map", "cell"], "--map is 'cell', but must look like NAME=VALUE"),
        (["--map", "seed=run", "seed=run"], "--map has seed twice"),
        (
            [*FLAGS[:-1], "fraction"],
            "old, row 1: column one_shot is 86, but must be between 0 and 1 with --unit fraction",
        ),
        ([*FLAGS, "--set", "epochs=x"], "--set epochs is 'x', but must be an integer"),
    ],
)
def test_what_cannot_be_imported_is_one_line(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").write_text(json.dumps(ROWS))
    assert main(["import", "json", "old", "--study", "mine", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "studies").exists()


def test_logs_of_robustdarts_become_tables_that_the_report_reads(tmp_path, capsys):
    write_run(tmp_path / "logs", hessians=[hessian(0, 1.0)])
    write_run(tmp_path / "logs", seed=2, skip=("arch_2",))
    out = str(tmp_path / "out")
    for _ in range(2):  # a second import replaces the first
        assert main(["import", "robustdarts", str(tmp_path / "logs"), out]) == 0
    text = capsys.readouterr().out
    assert "2 searches of 1 settings: 1 completed, 1 failed" in text and f"pcdarts report {out}" in text
    assert main(["report", out]) == 0
    store = ResultStore(out)
    assert len(store.read(SEARCHES)) == 2 and len(store.read(EPOCHS)) == 8 and not store.broken
