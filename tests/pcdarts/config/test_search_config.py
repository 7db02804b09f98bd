"""Search configurations: checks, ids, advice."""

import dataclasses

import pytest

from pcdarts import presets
from pcdarts.config import METHOD_FIELDS, NOT_IDENTITY, SearchConfig, learning_rate_advice


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k": 3}, r"k is 3, but must be one of \[1, 2, 4, 8, 16\]"),
        ({"k": "4"}, "k is '4', but must be an integer"),
        ({"dataset": "cifar11"}, "dataset is 'cifar11', but must be one of digits"),
        ({"warmup_epochs": 50}, r"less than epochs \(50\)"),
        ({"warmup_epochs": -1}, "at least 0"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"learning_rate": float("nan")}, "finite"),
        ({"momentum": 1.0}, "less than 1"),
        ({"train_portion": 1.0}, "between 0 and 1"),
        ({"layers": 2}, "at least 3"),
        ({"channels": 3, "k": 1, "stem": "imagenet"}, "even"),
        ({"channels": 6, "k": 3, "side_operation": "conv_1x1_part"}, "channels is 6, but must be a multiple of 4"),
        ({"side_operation": "conv_3x3"}, "one of none, conv_1x1, conv_1x1_part, depthwise_3x3"),
        ({"spatial_stride": 3}, "one of 1, 2"),
        ({"edge_normalization": 1}, "must be true or false"),
        ({"seed": -1}, "between 0"),
        ({"checkpoint_every": 0}, "at least 1"),
        ({"method": "enas"}, "one of pcdarts, journal-reading, darts, darts-official, random"),
        ({"space": "s5"}, "one of darts, s1, s2, s3, s4"),
        ({"drop_path": 1.0}, "at least 0 and less than 1"),
        ({"eigenvalue_every": -1}, "at least 0, where 0 turns the measurement off"),
        ({"eigenvalue_batch": 0}, "at least 1"),
        ({"skip_rule": "warning"}, "one of off, warn, stop"),
        ({"max_skip_connections": 9}, "between 0 and 8"),
    ],
)
def test_bad_search_settings_name_value_and_rule(values, message):
    with pytest.raises(ValueError, match=message):
        SearchConfig(**values)


def test_the_search_id_depends_on_all_that_decides_the_outcome_and_on_nothing_else():
    base = SearchConfig(implementation="reference")
    for field in dataclasses.fields(SearchConfig):
        value = getattr(base, field.name)
        changed = {
            "dataset": "digits",
            "data_dir": "/elsewhere",
            "split_file": "list.txt",
            "stem": "imagenet",
            "channel_sampling": "fixed",
            "side_operation": "conv_1x1",
            "hessian_vector_product": "finite_difference",
            "device": "cpu",
            "edge_normalization": False,
            "k": 8,
            "train_portion": 0.4,
            "learning_rate_min": 0.01,
            "momentum": 0.8,
            "spatial_stride": 2,
            "order": 2,
            "channels": 32,
            "implementation": "fast",
            "precision": "bf16",
            "channels_last": True,
            "compile": True,
            "cuda_graphs": False,
            "keep_freed_memory": False,
            "method": "darts",
            "space": "s1",
            "drop_path": 0.1,
            "eigenvalue_rule": "stop",
            "skip_rule": "stop",
            "frozen_rule": "stop",
            "nonfinite_rule": "off",
            "flip": "off",
            "data_fingerprint": "70+10 images, 3x64x64, 0a1b2c3d",
        }
        changed = changed[field.name] if field.name in changed else value + 1
        other = dataclasses.replace(base, **{field.name: changed})
        ignored = NOT_IDENTITY | {"data_fingerprint"}  # the latter counts for own images alone
        assert (other.search_id == base.search_id) == (field.name in ignored), field.name
    assert SearchConfig(k=2, seed=3).search_id.startswith("k2-seed3-")


def test_darts_is_k_1_without_edge_normalization_whatever_is_given_for_them():
    darts = SearchConfig(method="darts", k=8, edge_normalization=True)
    assert (darts.k, darts.edge_normalization) == (1, False)
    assert darts.search_id == SearchConfig(method="darts", k=4).search_id
    assert darts.search_id.startswith("darts-seed0-")


def test_the_reading_of_the_journal_is_a_method_to_compare_with_others():
    journal = SearchConfig(method="journal-reading", k=2)
    assert (journal.k, journal.side_operation, journal.spatial_stride) == (8, "conv_1x1", 2)
    assert journal.search_id.startswith("journal-reading-seed0-") and journal.sampling_rate == 1 / 8
    preset = presets.journal_reading()
    assert vars(dataclasses.replace(preset, method="journal-reading")) == vars(preset) | {"method": "journal-reading"}


def test_official_darts_has_its_own_settings_whatever_is_given_for_them():
    official = SearchConfig(method="darts-official")
    for given in (presets.cifar10(), presets.imagenet(), presets.journal_reading(), presets.digits()):
        found = dataclasses.replace(given, method="darts-official")
        assert {name: getattr(found, name) for name in METHOD_FIELDS["darts-official"]} == METHOD_FIELDS[
            "darts-official"
        ]
    assert (official.batch_size, official.k, official.edge_normalization, official.warmup_epochs) == (64, 1, False, 0)
    assert (official.learning_rate, official.learning_rate_min, official.alpha_learning_rate) == (0.025, 0.001, 3e-4)
    assert (official.momentum, official.weight_decay, official.gradient_clip) == (0.9, 3e-4, 5)
    assert (official.epochs, official.channels, official.layers, official.train_portion) == (50, 16, 8, 0.5)
    assert official.search_id == SearchConfig(method="darts-official", k=8, batch_size=96).search_id
    assert official.search_id.startswith("darts-official-seed0-")
    assert learning_rate_advice(official) is None


def test_a_random_cell_is_named_by_space_and_seed_alone():
    base = SearchConfig(method="random", seed=5)
    assert base.search_id.startswith("random-seed5-")
    assert base.search_id == SearchConfig(method="random", seed=5, k=8, epochs=20, dataset="digits").search_id
    others = [SearchConfig(method="random", seed=6), SearchConfig(method="random", seed=5, space="s2")]
    assert base.search_id not in [other.search_id for other in others]


def test_integers_become_floats_so_that_ids_agree():
    assert SearchConfig(learning_rate=1).search_id == SearchConfig(learning_rate=1.0).search_id


def test_the_learning_rate_must_follow_the_batch_size():
    assert learning_rate_advice(SearchConfig()) is None
    assert "0.0375 would keep it" in (learning_rate_advice(SearchConfig(batch_size=96)) or "")
    assert learning_rate_advice(SearchConfig(batch_size=128, learning_rate=0.05)) is None
    assert learning_rate_advice(SearchConfig(dataset="digits", batch_size=1)) is None


def test_presets_hold_the_official_settings():
    imagenet, retrain = presets.imagenet(), presets.retrain_imagenet()
    assert (imagenet.batch_size, imagenet.epochs, imagenet.k, imagenet.warmup_epochs) == (1024, 50, 2, 35)
    assert (imagenet.learning_rate, imagenet.alpha_learning_rate, imagenet.alpha_gradient_clip) == (0.5, 6e-3, 5)
    assert (retrain.channels, retrain.layers, retrain.epochs, retrain.label_smoothing) == (48, 14, 250, 0.1)
    cifar = presets.cifar10()
    assert (cifar.batch_size, cifar.epochs, cifar.k, cifar.warmup_epochs, cifar.order) == (256, 50, 4, 15, 1)
    assert {name: make().search_id for name, make in presets.SEARCHES.items()}


@pytest.mark.parametrize(("every", "expected"), [(0, []), (1, [0, 1, 2, 3, 4]), (2, [1, 3, 4]), (9, [4])])
def test_due_every_so_many_epochs_and_in_the_last(every, expected):
    assert [epoch for epoch in range(5) if SearchConfig(epochs=5, warmup_epochs=0).due(every, epoch)] == expected
