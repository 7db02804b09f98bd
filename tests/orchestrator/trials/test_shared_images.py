"""Images that are read once and shared, and the storage folder that all nodes see."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from cluster.resources import TrialResources
from cluster.tasks import run_on_nodes
from orchestrator import study
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from orchestrator.trials import search_trials as searching
from orchestrator.trials import shared_images as sharing
from orchestrator.trials.shared_images import images_of, require_shared, share_data
from pcdarts import presets
from pcdarts.config import SearchConfig
from pcdarts.data.sources import load
from pcdarts.retrain import retrain
from pcdarts.search import search
from pcdarts.spaces import SPACES, random_genotype
from tests.pcdarts.data.official_files import write_fashion

ONE = TrialResources(cpus=1)


def in_object_store(tensor):
    """Whether a tensor's memory is a part of the object store that this process has mapped."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        if start <= tensor.data_ptr() < end:
            return "plasma" in line
    return False


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads Linux's /proc")
def test_images_are_read_once_and_trials_hold_no_copy(ray_session, tmp_path, monkeypatch):
    write_fashion(tmp_path / "fashion-mnist", train=200)
    asked = []

    def shared_then_lost(configs, resources):
        shared = share_data(configs, resources)
        asked.extend(shared)
        shutil.rmtree(tmp_path / "fashion-mnist")  # whoever reads again finds nothing
        return shared

    def trial(given, shared):
        def searched(config, data, **others):
            (tmp_path / f"seed{config.seed}.json").write_text(
                json.dumps([[*map(in_object_store, part)] for part in (data.train, data.test)])
            )
            return search(dataclasses.replace(config, method="random"))

        before = searching.search
        searching.search = searched
        try:
            searching.search_trial(given, shared)
        finally:
            searching.search = before

    monkeypatch.setattr(searching, "share_data", shared_then_lost)
    monkeypatch.setattr(searching, "search_trial", trial)
    config = dataclasses.replace(smoke().search, dataset="fashion-mnist", data_dir=str(tmp_path))
    some = dataclasses.replace(smoke(), search=config, sweep={"seed": (0, 1, 2, 3)})
    options = RunOptions(address="local", max_failures=0)
    run = study.run_study(some, str(tmp_path / "smoke"), options=options, command=[], say=print)
    assert run == 0 and [key[:2] for key in asked] == [("fashion-mnist", str(tmp_path))]
    for seed in range(4):
        assert json.loads((tmp_path / f"seed{seed}.json").read_text()) == [[True, True], [True, True]]
    assert not in_object_store(load(SearchConfig(dataset="synthetic")).train.images)


def test_every_data_set_is_read_once_and_random_cells_need_none(ray_session):
    configs = [SearchConfig(dataset=name, seed=seed) for seed in (0, 1) for name in ("synthetic", "digits")]
    random = SearchConfig(dataset="cifar10", method="random")
    shared = share_data([*configs, dataclasses.replace(configs[0], max_images=8), random], ONE)
    assert sorted(key[:2] for key in shared) == [("digits", "data"), ("synthetic", "data")]
    assert images_of(random, shared) is None


def test_images_are_kept_for_later_trials_whose_configuration_is_checked_with_them(ray_session, tmp_path):
    write_fashion(tmp_path / "fashion-mnist", train=200)
    config = SearchConfig(dataset="fashion-mnist", data_dir=str(tmp_path))
    first = share_data([config], ONE)
    shutil.rmtree(tmp_path / "fashion-mnist")  # whoever reads again finds nothing
    assert share_data([dataclasses.replace(config, seed=1)], ONE) == first
    with pytest.raises(ValueError, match="train_portion is 1e-05"):
        share_data([dataclasses.replace(config, train_portion=1e-5)], ONE)


def test_kept_images_that_were_lost_are_read_again(ray_session, tmp_path, monkeypatch):
    config = SearchConfig(dataset="synthetic", data_dir=str(tmp_path))
    first = share_data([config], ONE)

    def lost(given):
        raise ray.exceptions.ObjectLostError("", None, "")

    monkeypatch.setattr(sharing, "_check_kept", lost)
    again = share_data([config], ONE)
    assert again != first and len(images_of(config, again).train.labels) == 320


def test_what_trials_would_refuse_is_refused_before(ray_session):
    with pytest.raises(ValueError, match="train_portion is 1e-05"):
        share_data([SearchConfig(dataset="synthetic", train_portion=1e-5)], ONE)


def test_images_that_were_lost_are_read_from_files(ray_session, monkeypatch):
    config = SearchConfig(dataset="synthetic")
    for error in (ray.exceptions.OwnerDiedError("", None, ""), ray.exceptions.GetTimeoutError()):
        monkeypatch.setattr(sharing.ray, "get", lambda *a, error=error, **k: (_ for _ in ()).throw(error))
        assert images_of(config, {("synthetic", "data"): "reference"}) is None


def test_a_search_from_shared_images_is_the_same_to_the_last_bit(ray_session):
    config = dataclasses.replace(presets.smoke(), dataset="synthetic", max_images=64)
    shared, own = [], []
    search(config, data=images_of(config, share_data([config], ONE)), on_epoch=shared.append)
    search(config, on_epoch=own.append)
    for mine, other in zip(shared, own, strict=True):
        assert mine.train_loss == other.train_loss and mine.valid_loss == other.valid_loss
        assert mine.alphas_normal == other.alphas_normal and mine.betas_reduce == other.betas_reduce


def test_a_folder_that_other_nodes_do_not_see_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "other_nodes", lambda wanted: {"a": "10.0.0.2", "b": "10.0.0.3", "c": "10.0.0.4"})
    asked = []

    def look(function, path, nodes):
        asked.append(function(path))
        return {node: node == "b" for node in list(nodes)[:2]}  # the third was lost: it says nothing

    with pytest.raises(ValueError, match=r"not the same folder on the nodes 10\.0\.0\.2, where .* s3://bucket/studies"):
        require_shared(str(tmp_path), ONE, look)
    assert asked == [True] and list(tmp_path.iterdir()) == []
    require_shared("s3://bucket/studies", ONE, look)
    assert len(asked) == 1


def test_a_file_that_never_appears_is_not_waited_for_long(tmp_path):
    assert not sharing._appears(str(tmp_path / "none"), seconds=0.3)


def test_a_real_node_is_asked(ray_session, tmp_path, monkeypatch):
    here = {ray.get_runtime_context().get_node_id(): "127.0.0.1"}
    monkeypatch.setattr(sharing, "other_nodes", lambda wanted: here)
    require_shared(str(tmp_path), ONE)
    assert run_on_nodes(sharing._appears, str(tmp_path), here) == dict.fromkeys(here, True)


def test_a_retraining_from_shared_images_is_the_same_to_the_last_bit(ray_session):
    config = dataclasses.replace(smoke().retrain, epochs=1)
    cell = random_genotype(SPACES["darts"], seed=0)
    shared, own = [], []
    retrain(cell, config, data=images_of(config, share_data([config], ONE)), on_epoch=shared.append)
    retrain(cell, config, on_epoch=own.append)
    assert (shared[0].train_loss, shared[0].valid_loss) == (own[0].train_loss, own[0].valid_loss)


NODES = """
import sys
import ray
from ray.cluster_utils import Cluster
from cluster.resources import TrialResources
from cluster.tasks import other_nodes
from orchestrator.trials.shared_images import images_of, require_shared, share_data
from pcdarts.config import SearchConfig

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
node = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False)
wanted, config = TrialResources(cpus=1), SearchConfig(dataset="synthetic")
assert list(other_nodes(wanted)) == [node.node_id]
require_shared(sys.argv[1], wanted)
shared = share_data([config], wanted)
cluster.remove_node(node, allow_graceful=False)
cluster.add_node(num_cpus=1)
remote = ray.remote(num_cpus=0)(lambda shared: len(images_of(config, shared).train.labels))
assert ray.get(remote.remote(shared)) == 320
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.slow
def test_another_node_sees_the_folder_and_the_images_survive_its_loss(tmp_path):
    arguments = [sys.executable, "-c", NODES, str(tmp_path)]
    run = subprocess.run(arguments, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.iterdir()) == []
