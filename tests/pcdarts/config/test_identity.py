"""Identity of configurations: digests rest on what differs from the defaults, which are pinned here."""

import dataclasses

import pytest

from pcdarts.config import NOT_IDENTITY, OWN_IMAGES, RetrainConfig, SearchConfig, digest, identity, outcome_fields

SEARCH_DEFAULTS = {
    "dataset": "cifar10",
    "data_dir": "data",
    "image_size": 0,
    "flip": "auto",
    "classes": 0,
    "image_channels": 0,
    "image_height": 0,
    "image_width": 0,
    "data_fingerprint": "",
    "split_file": "",
    "train_portion": 0.5,
    "max_images": 0,
    "batch_size": 256,
    "epochs": 50,
    "warmup_epochs": 15,
    "channels": 16,
    "layers": 8,
    "stem": "cifar",
    "method": "pcdarts",
    "space": "darts",
    "k": 4,
    "channel_sampling": "shuffle",
    "edge_normalization": True,
    "side_operation": "none",
    "spatial_stride": 1,
    "order": 1,
    "hessian_vector_product": "exact",
    "learning_rate": 0.1,
    "learning_rate_min": 0.0,
    "learning_rate_warmup_epochs": 0,
    "momentum": 0.9,
    "weight_decay": 0.0003,
    "gradient_clip": 5.0,
    "alpha_gradient_clip": 0.0,
    "alpha_learning_rate": 0.0006,
    "alpha_weight_decay": 0.001,
    "cutout": 0,
    "drop_path": 0.0,
    "implementation": "fast",
    "precision": "fp32",
    "keep_freed_memory": True,
    "channels_last": False,
    "compile": False,
    "cuda_graphs": True,
    "validate_every": 1,
    "eigenvalue_every": 2,
    "eigenvalue_batch": 32,
    "eigenvalue_batches": 1,
    "eigenvalue_rule": "warn",
    "skip_rule": "warn",
    "frozen_rule": "off",
    "nonfinite_rule": "stop",
    "max_skip_connections": 4,
    "frozen_epochs": 10,
    "seed": 0,
    "threads": 1,
    "device": "auto",
    "checkpoint_every": 1,
}

RETRAIN_DEFAULTS = {
    "dataset": "cifar10",
    "data_dir": "data",
    "image_size": 0,
    "flip": "auto",
    "classes": 0,
    "image_channels": 0,
    "image_height": 0,
    "image_width": 0,
    "data_fingerprint": "",
    "validation_portion": 0.1,
    "max_images": 0,
    "batch_size": 96,
    "epochs": 600,
    "channels": 36,
    "layers": 20,
    "stem": "cifar",
    "learning_rate": 0.025,
    "learning_rate_batch": 0,
    "schedule": "cosine",
    "learning_rate_warmup_epochs": 0,
    "momentum": 0.9,
    "weight_decay": 0.0003,
    "gradient_clip": 5.0,
    "auxiliary_weight": 0.4,
    "drop_path": 0.3,
    "label_smoothing": 0.0,
    "cutout": 16,
    "implementation": "fast",
    "keep_freed_memory": True,
    "channels_last": False,
    "compile": False,
    "checkpoint_activations": False,
    "precision": "fp32",
    "ema_decay": 0.0,
    "seed": 0,
    "threads": 1,
    "device": "auto",
    "checkpoint_every": 1,
}


@pytest.mark.parametrize(("cls", "defaults"), [(SearchConfig, SEARCH_DEFAULTS), (RetrainConfig, RETRAIN_DEFAULTS)])
def test_released_defaults_never_change(cls, defaults):
    """Add a new field to the table.  Never edit a line: ids of stored searches and jobs rest on it, except for fields
    of NOT_IDENTITY."""
    assert {field.name: field.default for field in dataclasses.fields(cls)} == defaults


def test_released_ids_never_change():
    assert SearchConfig().search_id == "k4-seed0-e10808d4"
    assert SearchConfig(k=8, seed=3).search_id == "k8-seed3-7a1ab81b"
    assert SearchConfig(method="darts").search_id == "darts-seed0-94919327"
    assert SearchConfig(method="darts-official").search_id == "darts-official-seed0-de973c29"
    assert SearchConfig(method="random").search_id == "random-seed0-90f57a98"
    assert SearchConfig(cuda_graphs=False).search_id == "k4-seed0-e10808d4"  # its default before
    assert digest(RetrainConfig(channels=16)) == "d3072858"


def with_new_field(cls):
    """The class as a later version that has one more field."""
    return dataclasses.make_dataclass(cls.__name__, [("new_field", int, 0)], bases=(cls,), frozen=True, kw_only=True)


def test_a_new_field_changes_ids_only_where_it_differs_from_its_default():
    later = with_new_field(SearchConfig)
    assert later(k=8).search_id == SearchConfig(k=8).search_id
    assert later(k=8, new_field=1).search_id != SearchConfig(k=8).search_id
    later = with_new_field(RetrainConfig)
    assert digest(later(epochs=9)) == digest(RetrainConfig(epochs=9))
    assert digest(later(epochs=9, new_field=1)) != digest(RetrainConfig(epochs=9))


def test_identity_holds_what_differs_from_the_defaults():
    assert identity(SearchConfig()) == {}
    assert identity(SearchConfig(k=8, data_dir="x", checkpoint_every=5)) == {"k": 8}
    config = SearchConfig(method="darts", learning_rate=1, eigenvalue_rule="stop")
    assert SearchConfig(**identity(config)) == config


def test_outcome_fields_are_all_but_those_that_change_no_result():
    assert outcome_fields(RetrainConfig()).keys() == RETRAIN_DEFAULTS.keys() - NOT_IDENTITY - {"data_fingerprint"}


def test_the_fingerprint_identifies_own_images_and_no_built_in_set():
    found = {"data_fingerprint": "20+5 images, 1x28x20, 0a1b2c3d"}
    assert SearchConfig(**found).search_id == SearchConfig().search_id
    for name in OWN_IMAGES:
        assert SearchConfig(dataset=name, **found).search_id != SearchConfig(dataset=name).search_id
        assert digest(RetrainConfig(dataset=name, **found)) != digest(RetrainConfig(dataset=name))


def test_a_digest_covers_all_parts():
    assert digest(SearchConfig()) == digest(SearchConfig(data_dir="x"))
    assert digest(SearchConfig(), 1) != digest(SearchConfig(), 2)
