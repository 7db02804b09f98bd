"""Tests of analysis.robustdarts.importer: made-up logs with every trap, and the published ones."""

import itertools
import json
import statistics
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.report.build import write_report
from analysis.robustdarts.importer import import_logs, read_logs
from analysis.robustdarts.logs import list_meaning
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from pcdarts.genotype import Genotype

ARCHIVE = Path(__file__).parent.parent.parent / "data" / "robustdarts" / "search_logs_s1_cifar10.tar.xz"

NODES = "('{op}', 0), ('{op}', 1), ('{op}', 2), ('{op}', 3)"
CELLS = f"[('skip_connect', 0), ('{{op}}', 1), ('skip_connect', 2), ('{{op}}', 0), {NODES}]"


def genotype(op="sep_conv_3x3", concat="range(2, 6)"):
    cells = CELLS.format(op=op)
    return f"Genotype(normal={cells}, normal_concat={concat}, reduce={cells}, reduce_concat={concat})"


def log_lines(epochs=4, drop_path=0.0, final=None, accuracy=50.5):
    """Lines of log_N.txt: five for each epoch, after two."""
    lines = ["gpu device = 0", "param size = 0.405146MB"]
    for epoch in range(epochs):
        ramp = drop_path * epoch / (epochs - 1) if epochs > 1 else 0
        suffix = f" drop_prob {ramp:e} cutout_prob {epoch / (epochs - 1):e}" if drop_path else ""
        lines += [
            f"epoch {epoch} lr {0.025 - epoch / 1000:e}{suffix}",
            "train 000 2.326062e+00 9.375000 57.812500",
            f"train_acc {accuracy + epoch + 1:f}",
            f"valid_acc {accuracy + epoch:f}",
            f"genotype = {final or genotype() if epoch == epochs - 1 else genotype('none')}",
        ]
    return [f"2019-07-16 13:{i // 60:02d}:{i % 60:02d},250 {line}" for i, line in enumerate(lines)]


def lists(epochs=4, accuracy=50.5, errors=True):
    sign, offset = (-1, 100) if errors else (1, 0)
    return {
        "train_acc": [offset + sign * (accuracy + e + 1) for e in range(epochs)],
        "train_loss": [2.0 - e / 10 for e in range(epochs)],
        "valid_acc": [offset + sign * (accuracy + e) for e in range(epochs)],
        "valid_loss": [2.5 - e / 10 for e in range(epochs)],
    }


def write_run(
    root, job="0.0_0.0003-1", seed=1, place="s1/cifar10", lines=None, errors=None, arch=None, hessians=None, skip=()
):
    folder = root / place / job
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        f"log_{seed}.txt": "\n".join(log_lines() if lines is None else lines) + "\n",
        f"errors_{seed}.json": errors if isinstance(errors, str) else json.dumps(errors or lists()),
        f"arch_{seed}": arch or genotype(),
    }
    if hessians is not None:
        files[f"derivatives_{seed}.json"] = "".join(line + "\n" for line in hessians)
    for name, text in files.items():
        if name not in skip:
            (folder / name).write_text(text)
    return folder


def hessian(epoch, *eigenvalues):
    return json.dumps({"epoch": epoch, "H": np.diag(eigenvalues).tolist(), "g": [0.0] * len(eigenvalues)})


def problems(summary, kind):
    return [(problem.path, problem.detail) for problem in summary.problems if problem.kind == kind]


def only(root):
    """The one search below a folder, its epochs and the summary."""
    summary = read_logs(root)
    (search,) = summary.searches
    return search, list(summary.epochs), summary


def test_a_complete_run(tmp_path):
    write_run(tmp_path, hessians=[hessian(0, -5.0, 1.0), hessian(2, 2.0, 0.5), hessian(3, -1.0, -3.0)])
    search, epochs, summary = only(tmp_path)
    assert not summary.problems
    expected = {
        "search_id": "s1-cifar10-0.0_0.0003-1-seed1",
        "status": "completed",
        "error": "",
        "setting": "drop_path=0.0, weight_decay=0.0003",
        "seed": 1,
        "k": 1,
        "method": "darts-official",
        "space": "s1",
        "dataset": "cifar10",
        "drop_path": 0.0,
        "weight_decay": 0.0003,
        "cutout": 0,
        "order": 2,
        "epochs": 4,
        "valid_accuracy": 53.5,
        "train_accuracy": 54.5,
        "valid_loss": 2.2,
        "supernet_parameters": 405_146,
        "last_genotype_change": 3,
        "skip_connections_normal": 2,
        "genotype": str(Genotype.parse(genotype())),
        "dominant_eigenvalue": -1.0,
        "early_stop_epoch": None,
        "seconds": 16.0,
        "device_name": None,
        "threads": None,
        "channel_sampling": None,
        "peak_memory_bytes": None,
    }
    assert {name: search[name] for name in expected} == pytest.approx(expected)
    assert [row["dominant_eigenvalue"] for row in epochs] == [1.0, None, 2.0, -1.0]
    assert [row["valid_accuracy"] for row in epochs] == [50.5, 51.5, 52.5, 53.5]
    assert [row["learning_rate"] for row in epochs] == pytest.approx([0.025, 0.024, 0.023, 0.022])
    assert {row["alphas_normal"] for row in epochs} == {row["alpha_entropy_normal"] for row in epochs} == {None}


@pytest.mark.parametrize(("errors", "meaning"), [(True, "error"), (False, "accuracy")])
def test_the_log_tells_which_lists_are_errors(tmp_path, errors, meaning):
    write_run(tmp_path, errors=lists(errors=errors))
    search, _, summary = only(tmp_path)
    assert summary.meanings == ((meaning, 2),)
    assert search["valid_accuracy"] == 53.5 and not summary.problems


def test_meaning_of_a_list():
    assert list_meaning({0: 50.0, 1: 60.0}, [50.0, 60.0]) == ("accuracy", [])
    assert list_meaning({0: 50.0, 1: 60.0}, [50.0, 40.0]) == ("error", [])
    assert list_meaning({0: 50.0}, [50.0]) == ("unknown", [0])
    assert list_meaning({0: 30.0, 1: 60.0}, [70.0, 60.0]) == ("unknown", [0, 1])
    assert list_meaning({0: 30.0, 1: 60.0, 2: 65.0}, [70.0, 40.0, 1.0]) == ("error", [2])
    assert list_meaning({}, []) == ("unknown", [])


@pytest.mark.parametrize("concat", ["range(2, 6)", "[2, 3, 4, 5]"])
@pytest.mark.parametrize("op", ["none", "noise"])
def test_both_notations_of_concat_and_all_operations(tmp_path, concat, op):
    write_run(tmp_path, lines=log_lines(final=genotype(op)), arch=genotype(op, concat))
    search, _, summary = only(tmp_path)
    assert search["status"] == "completed" and not summary.problems
    assert Genotype.parse(search["genotype"]).count(op) == (6, 6)


def test_a_run_that_died_is_kept_as_failed_with_the_reason(tmp_path):
    lines = log_lines()[:-1]  # no genotype of the last epoch
    lines[-2] = lines[-2].replace("train_acc", "train 050 nan 14.7 59.9\n2019-07-16 13:01:00,000 train_acc")
    write_run(tmp_path, lines=lines, skip=("errors_1.json", "arch_1"))
    write_run(tmp_path, job="0.0_0.0003-2")  # another job repeats the setting
    summary = read_logs(tmp_path)
    failed, completed = summary.searches
    assert (failed["status"], completed["status"]) == ("failed", "completed")
    assert failed["setting"] == completed["setting"] and failed["seed"] == completed["seed"]
    assert failed["error"] == (
        "train loss nan at step 50 of epoch 3; no errors_1.json, arch_1; the log ends in epoch 3 of 0 to 49"
    )
    assert failed["valid_accuracy"] is failed["genotype"] is None
    assert sum(row["search_id"] == failed["search_id"] for row in summary.epochs) == 4
    assert [path for path, _ in problems(summary, "missing file")] == [
        "s1/cifar10/0.0_0.0003-1/errors_1.json",
        "s1/cifar10/0.0_0.0003-1/arch_1",
    ]
    assert "2 x missing file" in summary.text() and "1 x failed search" in summary.text()


@pytest.mark.parametrize("absent", ["log_1.txt", "errors_1.json", "arch_1"])
def test_a_missing_file_fails_the_search(tmp_path, absent):
    write_run(tmp_path, skip=(absent,))
    search, _, summary = only(tmp_path)
    assert search["status"] == "failed" and absent in search["error"]
    assert [path for path, _ in problems(summary, "missing file")] == [f"s1/cifar10/0.0_0.0003-1/{absent}"]


def test_missing_derivatives_are_named_where_other_seeds_have_them(tmp_path):
    write_run(tmp_path, hessians=[hessian(0, 1.0)])
    write_run(tmp_path, seed=2)
    summary = read_logs(tmp_path)
    assert [s["status"] for s in summary.searches] == ["completed"] * 2
    assert [path for path, _ in problems(summary, "missing file")] == ["s1/cifar10/0.0_0.0003-1/derivatives_2.json"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("half a li", "no time stamp"),
        ("2019-99-16 13:28:35,224 epoch 4 lr 1.0", "time stamp"),
        ("2019-07-16 13:28:35,224 what is this", "unknown: 'what is this'"),
        ("2019-07-16 13:28:35,224 valid_acc 101.0", "must be between 0 and 100"),
        ("2019-07-16 13:28:35,224 valid_acc nan", "must be between 0 and 100"),
        ("2019-07-16 13:28:35,224 valid_acc 5x.0", "unknown"),
        ("2019-07-16 13:28:35,224 valid_acc 60.0", "a second valid_acc in epoch 3; the first one is kept"),
        ("2019-07-16 13:28:35,224 genotype = Genotype(normal=[('x', 9)])", "genotype"),
    ],
)
def test_malformed_lines_are_counted_and_named(tmp_path, line, reason):
    write_run(tmp_path, lines=[*log_lines(), line])
    search, _, summary = only(tmp_path)
    ((path, detail),) = problems(summary, "malformed line")
    assert path.endswith("log_1.txt") and detail.startswith("line 23: ") and reason in detail
    assert search["status"] == "completed" and search["valid_accuracy"] == 53.5


def test_many_malformed_lines_of_a_file_are_counted_and_the_first_named(tmp_path):
    write_run(tmp_path, lines=[*log_lines(), *["?"] * 100])
    text = only(tmp_path)[2].text()
    assert "100 x malformed line" in text and "line 23: no time stamp" in text and "and 95 more" in text
    assert len(text.splitlines()) < 20


def test_the_log_of_another_method_tells_no_setting_of_darts(tmp_path):
    write_run(tmp_path, lines=["2019-09-16 15:25:54,696 epoch 1  |  train_acc 18.268000  |  valid_acc 24.843750"])
    search, epochs, _ = only(tmp_path)
    assert (search["status"], search["method"], search["order"], search["batch_size"]) == ("failed", None, None, None)
    assert not epochs


def test_lines_before_the_first_epoch_belong_to_none(tmp_path):
    write_run(tmp_path, lines=["2019-07-16 13:28:35,224 valid_acc 60.0", *log_lines()])
    assert "before the first epoch" in problems(only(tmp_path)[2], "malformed line")[0][1]


def test_a_value_that_cannot_be_read_is_left_empty(tmp_path):
    lines = log_lines()
    lines[5] = lines[5].replace("valid_acc", "valid_ac")  # epoch 0
    write_run(tmp_path, lines=lines)
    search, epochs, _ = only(tmp_path)
    assert search["status"] == "completed"
    assert [row["valid_accuracy"] for row in epochs] == [None, 51.5, 52.5, 53.5]
    lines[20] = lines[20].replace("valid_acc", "valid_ac")  # the last epoch
    write_run(tmp_path, lines=lines)
    assert only(tmp_path)[0]["error"] == "the last epoch has no valid_accuracy that log and lists agree on"


def test_an_epoch_that_is_not_in_the_log_is_named(tmp_path):
    lines = log_lines()
    write_run(tmp_path, lines=lines[:7] + lines[12:])
    search, epochs, summary = only(tmp_path)
    assert [row["epoch"] for row in epochs] == [0, 2, 3] and search["status"] == "completed"
    assert [row["train_loss"] for row in epochs] == pytest.approx([2.0, 1.8, 1.7])
    assert problems(summary, "malformed file")[0][1] == "epochs 1 to 1 are not in the log"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lines": log_lines() + log_lines()[2:]}, "the log contradicts itself: epoch 0 follows epoch 3"),
        ({"lines": log_lines()[7:]}, "the log contradicts itself: the log starts at epoch 1"),
        ({"lines": ["2019-07-16 13:28:35,224 gpu device = 0"]}, "the log has no epoch"),
        ({"lines": log_lines(epochs=3)}, "the log has 3 epochs, but errors_1.json has 4"),
        ({"arch": genotype("none")}, "arch_1 is not the last genotype of the log"),
        ({"arch": "Genotype("}, "arch_1 cannot be read"),
        ({"errors": "{"}, "errors_1.json cannot be read"),
        ({"errors": "[1]"}, "errors_1.json cannot be read"),
        ({"errors": {"train_acc": [1.0]}}, "errors_1.json cannot be read"),
        ({"errors": {**lists(), "valid_loss": [1.0]}}, "errors_1.json cannot be read"),
        ({"errors": {**lists(), "valid_acc": [1.0] * 4}}, "no valid_accuracy that log and lists agree on"),
        ({"errors": {**lists(), "valid_loss": [1.0] * 3 + [float("nan")]}}, "the last loss is not finite"),
        ({"job": "0.2_0.0003-1"}, "the last drop path of the log is 0, but the folder says 0.2"),
        ({"job": "0.4_0.0003-1", "lines": log_lines(drop_path=0.2)}, "is 0.2, but the folder says 0.4"),
        ({"job": "some-job"}, "the folder's name does not tell the setting"),
    ],
)
def test_contradictions_fail_the_search(tmp_path, changes, reason):
    write_run(tmp_path, **changes)
    search, _, summary = only(tmp_path)
    assert search["status"] == "failed" and reason in search["error"]
    assert reason in problems(summary, "failed search")[0][1]


def test_an_accuracy_that_log_and_list_disagree_on_is_left_empty(tmp_path):
    errors = lists()
    errors["valid_acc"][1] = 12.0
    write_run(tmp_path, errors=errors)
    search, epochs, summary = only(tmp_path)
    assert search["status"] == "completed"
    assert [row["valid_accuracy"] for row in epochs] == [50.5, None, 52.5, 53.5]
    assert "valid_acc (otherwise error) contradicts the log in epochs [1]" in problems(summary, "contradiction")[0][1]


def test_broken_derivatives_are_named_and_left_out(tmp_path):
    lines = [
        hessian(0, 1.0, 0.5),
        hessian(1, 7.0),
        hessian(1, 8.0),
        '{"epoch": 2, "H": [[1',
        '{"epoch": 2}',
        '{"epoch": 2, "H": [[1.0, 2.0]]}',
        '{"epoch": 2, "H": [[1.0, 2.0], [0.0, 1.0]]}',
        '{"epoch": 2, "H": [[NaN]]}',
        '{"epoch": "2", "H": [[1.0]]}',
        hessian(9, 3.0),
    ]
    write_run(tmp_path, hessians=lines)
    search, epochs, summary = only(tmp_path)
    assert [row["dominant_eigenvalue"] for row in epochs] == [1.0, None, None, None]
    assert [detail.split(":")[0] for _, detail in problems(summary, "malformed line")] == [
        f"line {n}" for n in range(4, 10)
    ]
    assert [detail for _, detail in problems(summary, "contradiction")] == [
        "epoch 1 has two different Hessians",
        "eigenvalues of epochs [9] that the log does not have",
    ]
    assert search["dominant_eigenvalue"] == 1.0


def test_other_spaces_and_data_sets(tmp_path):
    write_run(tmp_path, place="s1/cifar10")
    write_run(tmp_path, place="s4/svhn", job="0.2_0.0009-7", lines=log_lines(drop_path=0.2))
    write_run(tmp_path, place="s3/cifar100")
    write_run(tmp_path, place="s9/stl10")
    out = tmp_path / "out"
    summary = import_logs(str(tmp_path), str(out))
    searches = ResultStore(str(out)).read(SEARCHES).set_index("setting")
    svhn = searches.loc["space=s4, dataset=svhn, drop_path=0.2, weight_decay=0.0009"]
    assert (svhn["status"], svhn["dataset"], svhn["space"], svhn["cutout"]) == ("completed", "svhn", "s4", 16)
    assert "space=s3, dataset=cifar100, drop_path=0.0, weight_decay=0.0003" in searches.index
    other = searches.loc["space=s9, dataset=stl10, drop_path=0.0, weight_decay=0.0003"]
    assert other["status"] == "completed" and pd.isna(other["space"]) and pd.isna(other["dataset"])
    assert len(problems(summary, "contradiction")) == 2


def test_a_seed_that_completed_twice_is_named(tmp_path):
    write_run(tmp_path)
    write_run(tmp_path, job="0.0_0.0003-2")
    assert problems(read_logs(tmp_path), "contradiction") == [
        ("drop_path=0.0, weight_decay=0.0003", "seed 1 completed 2 times; all are kept")
    ]


def test_unknown_files_are_named(tmp_path):
    (write_run(tmp_path) / "weights_1.pt").write_text("")
    assert problems(read_logs(tmp_path), "unknown file") == [("s1/cifar10/0.0_0.0003-1/weights_1.pt", "left out")]


def test_the_folder_of_a_job_alone_can_be_imported(tmp_path):
    folder = write_run(tmp_path)
    assert only(folder)[0]["search_id"] == "s1-cifar10-0.0_0.0003-1-seed1"


def test_a_second_import_replaces_the_first(tmp_path):
    write_run(tmp_path / "logs", hessians=[hessian(0, 1.0)])
    write_run(tmp_path / "logs", seed=2, skip=("arch_2",))
    for _ in range(2):
        text = import_logs(str(tmp_path / "logs"), str(tmp_path / "out")).text()
    assert "2 searches of 1 settings: 1 completed, 1 failed" in text
    store = ResultStore(str(tmp_path / "out"))
    assert len(store.read(SEARCHES)) == 2 and len(store.read(EPOCHS)) == 8 and not store.broken


def test_what_cannot_be_imported_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "logs")
    out = str(tmp_path / "out")
    for name, message in (("empty", "no search logs below"), ("absent", "there is no folder")):
        with pytest.raises(ValueError, match=message):
            import_logs(str(tmp_path / name), out)
    import_logs(str(tmp_path / "logs"), out)
    ResultStore(out).append(SEARCHES, [], "own-search")
    with pytest.raises(ValueError, match="holds another study"):
        import_logs(str(tmp_path / "logs"), out)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The summary and the tables of the published logs."""
    root = tmp_path_factory.mktemp("published")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(root, filter="data")
    summary = import_logs(str(root), str(root / "study"))
    store = ResultStore(str(root / "study"))
    return summary, store.read(SEARCHES), store.read(EPOCHS), store


SETTING = "drop_path=0.0, weight_decay=0.0003"


def test_published_runs_that_completed(published):
    summary, searches, epochs, _ = published
    assert dict(searches["status"].value_counts()) == {"completed": 105, "failed": 1}
    assert searches["setting"].nunique() == 35
    assert set(searches[searches["status"] == "completed"].groupby("setting")["seed"].nunique()) == {3}
    assert len(epochs) == 105 * 50 + 19
    assert summary.meanings == (("accuracy", 144), ("error", 66))
    (failed,) = searches[searches["status"] == "failed"]["error"]
    assert failed.startswith("train loss nan at step 350 of epoch 18; no errors_3.json, arch_3")
    assert {problem.kind for problem in summary.problems} == {"missing file", "failed search"}


def test_published_one_shot_errors(published):
    _, searches, _, _ = published
    done = searches[searches["status"] == "completed"]
    errors = (100 - done["valid_accuracy"]).groupby(done["setting"]).agg(["mean", "std"])
    assert errors["mean"].idxmin() == "drop_path=0.0, weight_decay=0.0009"
    assert errors.loc[errors["mean"].idxmin()].round(3).tolist() == [11.519, 0.103]
    assert errors.loc[SETTING].round(3).tolist() == [12.801, 0.344]


def test_published_eigenvalues_and_skip_connections(published):
    _, searches, epochs, _ = published
    ours = searches[searches["setting"] == SETTING].sort_values("seed")
    rows = epochs[epochs["search_id"].isin(ours["search_id"])]
    by_epoch = rows.groupby("epoch")[["dominant_eigenvalue", "skip_connections_normal"]].mean()
    assert by_epoch.loc[0].round(3).tolist() == [0.166, 2.667]
    assert by_epoch.loc[49].round(3).tolist() == [0.660, 7.0]
    assert ours["dominant_eigenvalue"].mean() == pytest.approx(0.660, abs=5e-4)
    assert rows["dominant_eigenvalue"].notna().sum() == 3 * 26
    assert ours["early_stop_epoch"].tolist() == [10, 10, 18]


@pytest.mark.parametrize("cell", ["normal", "reduce"])
def test_published_similarity_of_genotypes(published, cell):
    _, searches, _, _ = published
    sets = []
    for text in searches[searches["setting"] == SETTING]["genotype"]:
        pairs = getattr(Genotype.parse(text), cell)
        sets.append({(2 + place // 2, source, operation) for place, (operation, source) in enumerate(pairs)})
    # The figure listed for these logs is the share of a cell's 8 entries that the other cell has too.
    shared = [len(a & b) / 8 for a, b in itertools.combinations(sets, 2)]
    assert statistics.mean(shared) == pytest.approx(2 / 3)
    jaccard = [len(a & b) / len(a | b) for a, b in itertools.combinations(sets, 2)]
    assert round(statistics.mean(jaccard), 3) == {"normal": 0.511, "reduce": 0.503}[cell]


def test_the_report_of_the_published_logs(published):
    *_, store = published
    page = Path(write_report(store.root)).read_text()
    assert "drop_path=0.0, weight_decay=0.0009" in page
    assert "No setting can be called better: no cell of 35 settings was retrained." in page
    searches = store.read(SEARCHES)
    assert searches["genotype_digest"].nunique() == 82 and (searches["status"] != "failed").sum() == 105
