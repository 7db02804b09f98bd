"""Studies on own images, from the files to the report."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from orchestrator.options import RunOptions
from orchestrator.storage.study_folder import open_study
from orchestrator.study import run_study
from tests.orchestrator.trials.test_image_descriptions import own_study
from tests.pcdarts.data.own_images import write_arrays, write_tree

SHAPES = {
    "tree with val": (7, 3, 64, 64),
    "tree without val": (7, 3, 64, 64),
    "gray arrays": (3, 1, 28, 20),
    "five channels": (3, 5, 8, 8),
}


def images(kind, folder):
    """Name of the data set, and its place."""
    if kind == "tree with val":
        return "folder", write_tree(folder / "flowers", classes=7, size=(64, 64), train=70, val=14)
    if kind == "tree without val":
        return "folder", write_tree(folder / "flowers", classes=7, size=(64, 64), train=105)
    if kind == "gray arrays":
        return "arrays", write_arrays(folder / "a.npz", size=(28, 20), channels=1, train=60, test=12)
    return "arrays", write_arrays(folder / "a.npz", channels=5, train=60)


@pytest.mark.slow  # every study starts Ray's workers
@pytest.mark.parametrize("kind", SHAPES)
def test_a_study_ends_with_a_report(kind, tmp_path, ray_session):
    dataset, place = images(kind, tmp_path)
    study = own_study(place, dataset=dataset, sweep={"seed": (0,)})
    root = str(tmp_path / "own")
    assert run_study(study, root, options=RunOptions(address="local", retrain=True), command=["pcdarts"]) == 0
    searches, retrains = (pd.read_parquet(f"{root}/{table}") for table in ("searches", "retrains"))
    assert set(searches["status"]) == set(retrains["status"]) == {"completed"}
    columns = ["classes", "image_channels", "image_height", "image_width"]
    for table in (searches, retrains):
        assert set(table[columns].itertuples(index=False, name=None)) == {SHAPES[kind]}
        assert set(table["data_fingerprint"]) == {open_study(root)[0].retrain.data_fingerprint}
    (description,) = json.loads((tmp_path / "own" / "data.json").read_text())
    assert description["fingerprint"] == searches["data_fingerprint"][0]
    assert sum(description["test_images"]) == retrains["test_images"][0]
    assert bool(description["split_off"]) == (kind in ("tree without val", "five channels"))
    report = (tmp_path / "own" / "report.html").read_text()
    assert description["fingerprint"] in report and place.name in report
    padding = max(1, min(SHAPES[kind][2:]) // 8)
    assert f"Training images are shifted by up to {padding} pixel" in report


def test_a_run_that_is_refused_leaves_no_folder(tmp_path):
    study = own_study(write_tree(tmp_path / "flowers", train=60, val=12))
    broken = replace(study, retrain=replace(study.retrain, auxiliary_weight=0.4))
    with pytest.raises(ValueError, match="auxiliary"):
        run_study(broken, str(tmp_path / "studies" / "own"), options=RunOptions(address="local"), command=[])
    assert not (tmp_path / "studies").exists()
