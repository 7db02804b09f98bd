"""Images that are read once a node, and the storage folder that all nodes see."""

import dataclasses
import os
from pathlib import Path

import pytest
import ray
import torch

from cluster.connect import TrialResources
from orchestrator.sharing import images_of, share_data
from orchestrator.study import run_study
from pcdarts.config import SearchConfig
from pcdarts.presets import smoke as smoke_search
from pcdarts.search import search

ONE = TrialResources(cpus=1)


def in_object_store(tensor):
    """Whether a tensor's memory is a part of the object store that this process has mapped."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        if start <= tensor.data_ptr() < end:
            return "plasma" in line
    return False


@ray.remote
def look(config, shared):
    data = images_of(config, shared)
    return os.getpid(), [in_object_store(tensor) for part in data for tensor in part]


def test_trials_on_a_node_see_one_copy_of_the_images(ray_session):
    config = SearchConfig(dataset="synthetic")
    shared = share_data([config, dataclasses.replace(config, seed=1)], ONE)
    assert list(shared) == [("synthetic", "data")]
    for _, inside in ray.get([look.remote(config, shared) for _ in range(4)]):
        assert inside == [True] * 4


def test_a_search_from_shared_images_is_the_same_to_the_last_bit(ray_session):
    config = smoke_search()
    data = images_of(config, share_data([config], ONE))
    records, others = [], []
    search(config, data=data, on_epoch=records.append)
    search(config, on_epoch=others.append)
    for mine, other in zip(records, others, strict=True):
        assert mine.train_loss == other.train_loss and mine.valid_loss == other.valid_loss
        assert mine.alphas_normal == other.alphas_normal
