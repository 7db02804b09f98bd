"""Collapse rules on made-up histories."""

import dataclasses
import math

import pytest

from pcdarts.config import SearchConfig
from pcdarts.diagnostics.collapse import early_stop_of, shortages, stopping, verdicts
from pcdarts.results import EpochRecord

OFF = SearchConfig(eigenvalue_rule="off", skip_rule="off", frozen_rule="off", nonfinite_rule="off")


def record(epoch, **values):
    known = {field.name: None for field in dataclasses.fields(EpochRecord)}
    defaults = {
        "epoch": epoch,
        "alpha_trained": True,
        "train_loss": 1.0,
        "learning_rate": 0.1,
        "genotype_digest": str(epoch),
        "skip_connections_normal": 0,
        **{f"alphas_{cell}": ((0.0,) * 8,) * 14 for cell in ("normal", "reduce")},
        **{f"betas_{cell}": (0.0,) * 14 for cell in ("normal", "reduce")},
    }
    return EpochRecord(**{**known, **defaults, **values})


def history(count, **series):
    """Epochs whose fields take the values of the series."""
    return [record(epoch, **{name: values[epoch] for name, values in series.items()}) for epoch in range(count)]


def rule(name, mode="stop", **values):
    return dataclasses.replace(OFF, **{f"{name}_rule": mode}, **values)


def stop_of(config, past):
    return stopping(verdicts(config, past))


def test_a_healthy_or_empty_history_has_no_verdicts():
    config = SearchConfig(eigenvalue_rule="stop", skip_rule="stop", frozen_rule="stop")
    assert verdicts(config, []) == verdicts(config, history(30)) == []
    assert stop_of(config, history(30)) is None


def test_skip_connections_above_the_limit_return_the_last_cell_within_it():
    skips = [0, 4, 4, 5]
    config = rule("skip", max_skip_connections=4)
    assert verdicts(config, history(3, skip_connections_normal=skips)) == []
    verdict = stop_of(config, history(4, skip_connections_normal=skips))
    assert verdict.epoch == 2
    assert str(verdict) == "skip rule: the normal cell has 5 skip connections, more than 4"


def test_cells_of_untrained_alpha_do_not_count():
    skips, trained = [5, 0, 5], [False, False, True]
    past = history(3, skip_connections_normal=skips, alpha_trained=trained)
    assert verdicts(rule("skip"), past[:2]) == []
    assert stop_of(rule("skip"), past).epoch == 2  # there is no better one


def test_a_frozen_genotype_is_noticed_after_so_many_trained_epochs():
    digests = ["a", "b", "b", "b", "b", "b"]
    trained = [False, False, False, True, True, True]
    past = history(6, genotype_digest=digests, alpha_trained=trained)
    config = rule("frozen", frozen_epochs=3)
    assert verdicts(config, past[:5]) == []
    verdict = stop_of(config, past)
    assert (verdict.epoch, verdict.reason) == (5, "the genotype has been the same since epoch 2")


def test_the_eigenvalue_rule_returns_the_epoch_that_early_stopping_names():
    values = [(2.0 if epoch >= 30 else 1.0) if epoch % 2 == 0 else None for epoch in range(50)]
    past = history(50, dominant_eigenvalue=values)
    assert verdicts(rule("eigenvalue"), past[:32]) == []
    assert stop_of(rule("eigenvalue"), past[:33]).epoch == 20 == early_stop_of(past[:33]) == early_stop_of(past)
    warm_up = history(50, dominant_eigenvalue=values, alpha_trained=[epoch >= 28 for epoch in range(50)])
    assert early_stop_of(warm_up) is None  # too few measurements of trained alpha before the jump


@pytest.mark.parametrize(
    ("field", "bad", "says"),
    [
        ("train_loss", math.nan, "training loss is nan in epoch 2; lower learning_rate (0.1)"),
        ("train_loss", math.inf, "training loss is inf in epoch 2; lower learning_rate (0.1)"),
        ("betas_normal", (math.nan,) * 14, "alpha or beta is not finite in epoch 2; lower learning_rate (0.1)"),
        ("alphas_reduce", ((math.inf,) * 8,) * 14, "alpha or beta is not finite in epoch 2; lower learning_rate (0.1)"),
    ],
)
def test_what_is_not_finite_returns_the_last_sound_cell(field, bad, says):
    past = [record(0), record(1), record(2, **{field: bad}), record(3)]
    for end in (3, 4):  # the words stay the same while it lasts
        verdict = stop_of(rule("nonfinite"), past[:end])
        assert (verdict.rule, verdict.epoch, verdict.reason) == ("nonfinite", 1, says)


def test_what_is_not_finite_fails_where_no_sound_cell_was_found_before():
    past = [record(0, alpha_trained=False), record(1, train_loss=math.nan)]
    with pytest.raises(FloatingPointError, match="training loss is nan in epoch 1; lower learning_rate"):
        stop_of(rule("nonfinite"), past)
    assert stop_of(rule("nonfinite", "warn"), past) is None
    assert len(verdicts(rule("nonfinite", "warn"), past)) == 1


def test_a_warning_does_not_stop_and_the_gravest_stop_comes_first():
    past = [record(0), record(1, skip_connections_normal=8, train_loss=math.nan)]
    config = dataclasses.replace(OFF, skip_rule="warn", nonfinite_rule="stop")
    assert [(v.rule, v.stops) for v in verdicts(config, past)] == [("nonfinite", True), ("skip", False)]
    both = dataclasses.replace(config, skip_rule="stop")
    assert stop_of(both, past).rule == "nonfinite"
    assert stop_of(dataclasses.replace(config, nonfinite_rule="warn"), past) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {}),
        ({"warmup_epochs": 35}, {"eigenvalue": "needs 9 measurements with trained alpha, has 8"}),
        ({"eigenvalue_every": 0}, {"eigenvalue": "needs 9 measurements with trained alpha, has 0"}),
        ({"eigenvalue_every": 0, "eigenvalue_rule": "off"}, {}),
        ({"max_skip_connections": 8}, {"skip": "max_skip_connections is 8, and no cell has more than 8"}),
        ({"frozen_rule": "warn", "frozen_epochs": 35}, {}),
        ({"frozen_rule": "warn", "frozen_epochs": 36}, {"frozen": "needs 36 epochs with trained alpha, has 35"}),
        ({"method": "random", "eigenvalue_every": 0}, {}),
    ],
    ids=str,
)
def test_rules_that_can_never_fire_say_what_they_need(values, expected):
    assert shortages(SearchConfig(**values)) == expected


@pytest.mark.parametrize(("warmup_epochs", "frozen_epochs"), [(0, 2), (1, 2)])
def test_the_frozen_rule_fires_with_as_many_epochs_as_it_needs(warmup_epochs, frozen_epochs):
    epochs = 3
    config = rule("frozen", epochs=epochs, warmup_epochs=warmup_epochs, frozen_epochs=frozen_epochs)
    assert shortages(config) == {} and shortages(dataclasses.replace(config, frozen_epochs=frozen_epochs + 1)) != {}
    trained = [epoch >= warmup_epochs for epoch in range(epochs)]
    past = history(epochs, genotype_digest=["a"] * epochs, alpha_trained=trained)
    assert stop_of(config, past) is not None
    assert stop_of(dataclasses.replace(config, frozen_epochs=frozen_epochs + 1), past) is None
