"""A retrained job becomes weights, cells and a model card, without Ray."""

import dataclasses
import json

import pytest
import torch

from analysis.tables import RETRAINS
from orchestrator.cli import main
from orchestrator.presets import study_preset
from orchestrator.storage.provenance import now, provenance
from orchestrator.storage.study_folder import checkpoint, create_or_open, open_study, store_descriptions
from pcdarts.config import RetrainConfig
from pcdarts.data.sources import described
from pcdarts.export import load_exported
from pcdarts.genotype import PUBLISHED
from pcdarts.retrain import RetrainState, retrain
from pcdarts.training.evaluation import evaluate
from tests.pcdarts.data.own_images import write_arrays

CELLS = PUBLISHED["DARTS_V2"]


def retrained(folder, **values):
    """A study with one retrained job: its folder, the recipe, the result."""
    root, study = str(folder / "smoke"), study_preset("smoke")
    store = create_or_open(study, root, ["pcdarts"])
    config = dataclasses.replace(study.retrain, seed=3, **values)
    result = retrain(CELLS, config, checkpoint=checkpoint(root, "job"))
    row = RETRAINS.row(
        config,
        result,
        provenance(now(), now()),
        job_id="job",
        study=study.name,
        stage="final",
        attempt=1,
        status="completed",
        error="",
        genotype=str(CELLS),
        genotype_digest=CELLS.digest,
    )
    store.append(RETRAINS, [row], "job-attempt1")
    return root, config, result


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return retrained(tmp_path_factory.mktemp("studies"))


def test_the_files_hold_the_network_that_was_tested(finished, tmp_path, capsys):
    root, config, result = finished
    assert main(["export", root, "jo", str(tmp_path / "out")]) == 0  # any unambiguous prefix will do
    names = ["config.json", "model.safetensors", "genotype.json", "README.md"]
    assert capsys.readouterr().out.split("\n")[:-1] == [f"wrote {tmp_path / 'out' / name}" for name in names]
    state = RetrainState(CELLS, config)
    network = load_exported(tmp_path / "out").to_channels_last()  # as it was tested: the layout decides the rounding
    score = evaluate(network, state.test.in_order(config.batch_size), torch.device("cpu"))
    assert (score.loss, score.accuracy) == (result.test_loss, result.test_accuracy)
    card = (tmp_path / "out" / "README.md").read_text()
    lines = (f"| test_accuracy | {result.test_accuracy:.6g} |", "| seed | 3 |", "| dataset | synthetic |")
    assert all(line in card.splitlines() for line in lines)
    assert "| input | 3 x 16 x 16 pixels, scaled to 0 to 1 |" in card and "classes, by logit" not in card
    assert f"| torch_version | {torch.__version__.split('+')[0]}" in card and CELLS.digest in card


def test_the_card_names_the_classes_and_how_images_are_normalized(tmp_path, capsys):
    path = write_arrays(tmp_path / "own.npz", size=(7, 5), channels=2, train=60, test=6)
    own, description = described(RetrainConfig(dataset="arrays", data_dir=str(path)))
    names = ("dataset", "data_dir", "classes", "image_channels", "image_height", "image_width", "data_fingerprint")
    root, _, _ = retrained(tmp_path, epochs=1, **{name: getattr(own, name) for name in names})
    store_descriptions(open_study(root)[1], [dataclasses.asdict(description)])
    assert main(["export", root, "job", str(tmp_path / "out")]) == 0
    lines = (tmp_path / "out" / "README.md").read_text().splitlines()
    assert "| input | 2 x 7 x 5 pixels, scaled to 0 to 1 |" in lines and "| classes, by logit | 0, 1, 2 |" in lines
    assert f"| mean | {description.mean[0]:.6g}, {description.mean[1]:.6g} |" in lines
    assert load_exported(tmp_path / "out").images.labels == ("0", "1", "2")
    assert main(["evaluate", str(tmp_path / "out"), "--dataset", "arrays", "--data-dir", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == 6


def test_evaluate_repeats_the_test_of_the_training(finished, tmp_path, capsys):
    root, _, result = finished
    assert main(["export", root, "job", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "out"), "--dataset", "synthetic"]) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"synthetic: accuracy {result.test_accuracy:.2f} % of 80 test images (95 % interval ")
    assert main(["evaluate", str(tmp_path / "out"), "--dataset", "synthetic", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] == result.test_accuracy and found["loss"] == pytest.approx(result.test_loss, rel=1e-4)
    assert found["low"] < found["accuracy"] < found["high"]


def test_evaluate_refuses_in_one_line(tmp_path, capsys):
    for argv, message in (
        ([str(tmp_path), "--dataset", "synthetic"], "is no exported network"),
        ([str(tmp_path), "--dataset", "synthetic", "--batch-size", "0"], "--batch-size is 0, but must be at least 1"),
    ):
        assert main(["evaluate", *argv]) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.strip().splitlines()) == 1


def test_the_moving_average_is_exported_on_demand_and_the_card_says_so(tmp_path):
    root, config, result = retrained(tmp_path, ema_decay=0.5)
    for flags, loss, words in (
        (["--ema"], result.ema_test_loss, f"of epoch {result.ema_best_epoch}, moving average, decay 0.5; its results"),
        ([], result.test_loss, f"of epoch {result.best_epoch}, as trained"),
    ):
        out = tmp_path / f"out{len(flags)}"
        assert main(["export", root, "job", str(out), *flags]) == 0
        test = RetrainState(CELLS, config).test
        network = load_exported(out).to_channels_last()
        score = evaluate(network, test.in_order(config.batch_size), torch.device("cpu"))
        assert score.loss == loss and f"| weights | {words}" in (out / "README.md").read_text()
    assert result.ema_test_loss != result.test_loss


def test_what_cannot_be_exported_is_one_line(finished, tmp_path, capsys):
    root = finished[0]
    for argv, message in (
        ([root, "other", str(tmp_path / "x")], "job is 'other', but must be a retrained one of this study: job"),
        ([str(tmp_path), "job", str(tmp_path / "x")], "holds no study"),
        ([root, "job", root], "holds files; give a new or an empty folder"),
        ([root, "job", str(tmp_path / "x"), "--ema"], "kept no moving average of its weights"),
    ):
        assert main(["export", *argv]) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.strip().splitlines()) == 1
