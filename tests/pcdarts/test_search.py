"""One search: what it does in each phase, and that it can be repeated and resumed to the last bit."""

import dataclasses
import itertools
import math
import os
import signal
import subprocess
import sys

import pytest
import torch

from pcdarts.config import SearchConfig, identity
from pcdarts.genotype import Genotype
from pcdarts.presets import smoke
from pcdarts.search import SearchState, _gap_columns, drop_path, learning_rate, notes, search, weight_step
from pcdarts.spaces import SPACES, random_genotype
from pcdarts.supernet import derive_genotype
from pcdarts.training.checkpoint import CheckpointFile
from pcdarts.training.evaluation import evaluate

CONFIG = dataclasses.replace(smoke(), epochs=3, warmup_epochs=1, max_images=160, batch_size=40)
MEASURED = dataclasses.replace(CONFIG, eigenvalue_every=2, eigenvalue_batch=8, eigenvalue_batches=2)
"""With the eigenvalue, which takes longer than all the training."""


def run(config, **arguments):
    records = []
    result = search(config, on_epoch=records.append, **arguments)
    return result, records


def timeless(record):
    times = {field.name: 0.0 for field in dataclasses.fields(record) if "seconds" in field.name}
    return dataclasses.replace(record, **times, peak_memory_bytes=0, images_per_second=0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that nothing interrupted: result, records, final checkpoint."""
    file = CheckpointFile(tmp_path_factory.mktemp("whole") / "search.pt")
    result, records = run(CONFIG, checkpoint=file)
    return result, records, file.load(identity(CONFIG))


@pytest.fixture(scope="module")
def measured():
    """The same search with all measures: result and records."""
    return run(MEASURED)


def test_the_result_is_the_last_epoch(whole):
    result, records, saved = whole
    assert [record.epoch for record in records] == [0, 1, 2]
    assert (result.genotype, result.valid_accuracy) == (records[-1].genotype, records[-1].valid_accuracy)
    assert Genotype.parse(result.genotype).digest == result.genotype_digest
    arch = {name.removeprefix("architecture."): value for name, value in saved["supernet"].items()}
    assert str(derive_genotype(arch)) == result.genotype
    weights = [v for n, v in saved["supernet"].items() if n.endswith(("weight", "bias"))]
    assert result.supernet_parameters == sum(weight.numel() for weight in weights)
    assert result.epochs_trained == 3 and 0 <= result.last_genotype_change <= 2


def test_the_result_holds_the_measures_of_the_chosen_epoch(measured):
    result, records = measured
    last = records[-1]
    assert (result.chosen_epoch, result.stop_reason, result.early_stop_epoch, result.gpu_days) == (2, "", None, None)
    for name in ("dominant_eigenvalue", "discretized_accuracy", "alpha_margin_normal", "depth_reduce", "weight_norm"):
        assert getattr(result, name) == getattr(last, name) is not None, name
    assert result.train_valid_gap == result.train_accuracy_evaluated - result.valid_accuracy
    assert last.discretization_gap == last.valid_accuracy - last.discretized_accuracy
    assert result.seconds_metrics == pytest.approx(sum(record.seconds_metrics for record in records))
    parts = ("seconds_data", "seconds_weights", "seconds_alpha", "seconds_validation", "seconds_metrics")
    for record in records:
        assert 0 < sum(getattr(record, name) for name in parts) <= record.seconds
        assert (record.seconds_alpha > 0) == record.alpha_trained
    missing = {field.name for field in dataclasses.fields(result) if getattr(result, field.name) is None}
    assert missing == {"early_stop_epoch", "gpu_days"}


def test_measures_follow_their_schedule(measured):
    _, records = measured
    assert [record.dominant_eigenvalue is None for record in records] == [True, False, False]
    assert [record.eigenvalue_seconds is None for record in records] == [True, False, False]
    assert [record.discretized_accuracy is None for record in records] == [True, False, False]
    assert records[0].alpha_kendall_tau is None and records[2].alpha_kendall_tau <= 1
    assert all(math.isfinite(record.dominant_eigenvalue) for record in records[1:])


def assert_same_without_metrics(measured, plain):
    assert [record.dominant_eigenvalue for record in plain] == [None] * 3
    empty = dict.fromkeys(
        (
            "dominant_eigenvalue",
            "dominant_eigenvalue_std",
            "discretized_accuracy",
            "discretization_gap",
            "discretized_accuracy_recalibrated",
            "random_cells_accuracy_recalibrated",
            "train_accuracy_evaluated",
            "train_valid_gap",
        )
    )
    for with_metrics, without in zip(measured, plain, strict=True):
        assert dataclasses.replace(timeless(with_metrics), **empty) == timeless(without)


def test_a_search_is_the_same_to_the_bit_with_and_without_metrics(measured, whole):
    assert_same_without_metrics(measured[1], whole[1])


@pytest.mark.parametrize(("train_portion", "images"), [(0.5, 80), (0.75, 40), (0.25, 40)])
def test_the_training_half_is_measured_as_the_validation_half_is(train_portion, images):
    state = SearchState(dataclasses.replace(CONFIG, train_portion=train_portion))
    valid = evaluate(state.supernet, state.valid.in_order(16), state.device)
    columns = _gap_columns(state, valid)
    step = len(state.train) // images
    expected = evaluate(
        state.supernet, state.train.in_order(16, torch.arange(0, len(state.train), step)), state.device
    ).accuracy
    assert columns == {"train_accuracy_evaluated": expected, "train_valid_gap": expected - valid.accuracy}


@pytest.mark.slow
def test_random_channels_are_the_same_to_the_bit_with_and_without_metrics():
    config = dataclasses.replace(CONFIG, channel_sampling="random")
    assert_same_without_metrics(run(dataclasses.replace(config, eigenvalue_every=1))[1], run(config)[1])


def stopping_config(**values):
    """Alpha hardly moves, so that the genotype stays as it is."""
    return dataclasses.replace(
        CONFIG, epochs=4, frozen_rule="stop", frozen_epochs=1, alpha_learning_rate=1e-9, **values
    )


@pytest.fixture(scope="module")
def stopped():
    said = []
    return *run(stopping_config(), log=said.append), said


def test_a_rule_that_stops_ends_the_search_with_the_cell_of_the_epoch_it_names(stopped):
    result, records, said = stopped
    assert [record.epoch for record in records] == [0, 1]  # the first epoch of trained alpha changed nothing
    assert (result.epochs_trained, result.chosen_epoch) == (2, 1)
    assert result.stop_reason == "frozen rule: the genotype has been the same since epoch 0"
    assert result.warnings == records[1].warnings == result.stop_reason and records[0].warnings == ""
    assert said[-1] == f"warning: epoch 1: {result.stop_reason}"
    assert (result.genotype, result.valid_accuracy) == (records[1].genotype, records[1].valid_accuracy)


def test_a_stopped_search_is_not_trained_further_from_its_checkpoint(stopped, tmp_path):
    result, records, _ = stopped
    file = CheckpointFile(tmp_path / "search.pt")
    config = stopping_config(checkpoint_every=9)
    first, _ = run(config, checkpoint=file)  # saved because it ended
    again, repeated = run(config, checkpoint=file)
    assert timeless(first) == timeless(again) == timeless(result)
    assert list(map(timeless, repeated)) == list(map(timeless, records))


def test_a_search_stopped_by_hand_ends_with_its_last_cell_and_stays_stopped(whole, tmp_path):
    _, records, _ = whole
    file = CheckpointFile(tmp_path / "search.pt")
    config, asked = dataclasses.replace(CONFIG, checkpoint_every=9), []

    def should_stop():
        asked.append(len(asked))
        return len(asked) == 2

    result, trained = run(config, checkpoint=file, should_stop=should_stop)
    assert list(map(timeless, trained)) == list(map(timeless, records[:2]))
    assert (result.epochs_trained, result.chosen_epoch, result.stop_reason) == (2, 1, "stopped by hand")
    assert result.genotype == records[1].genotype and result.warnings == ""
    again, repeated = run(config, checkpoint=file, should_stop=lambda: True)
    assert timeless(again) == timeless(result) and len(repeated) == 2
    resumed, rest = run(config, checkpoint=file)
    assert resumed.stop_reason == "" and list(map(timeless, rest)) == list(map(timeless, records))


def test_a_search_that_is_to_stop_trains_one_epoch(whole):
    result, trained = run(CONFIG, should_stop=lambda: True)
    assert len(trained) == result.epochs_trained == 1


def test_a_rule_that_stops_is_named_even_if_somebody_stops_the_search_too(stopped):
    result, _ = run(stopping_config(), should_stop=iter([False, True]).__next__)
    assert result.stop_reason == stopped[0].stop_reason


def test_a_warning_changes_nothing_but_the_warnings(stopped):
    config = dataclasses.replace(stopping_config(), frozen_rule="warn")
    result, records = run(config)
    assert len(records) == 4 and result.chosen_epoch == 3 and result.stop_reason == ""
    assert list(map(timeless, records[:2])) == list(map(timeless, stopped[1]))
    assert result.warnings == "frozen rule: the genotype has been the same since epoch 0"


def test_a_search_that_diverges_returns_the_last_sound_cell(monkeypatch):
    """Weights become infinite in epoch 2, after an epoch of trained alpha."""
    rates = {0: 0.05, 1: 0.05, 2: 1e30}
    monkeypatch.setattr("pcdarts.search.learning_rate", lambda config, epoch: rates[epoch])
    result, records = run(dataclasses.replace(CONFIG, gradient_clip=1e30))
    assert len(records) == 3 and not math.isfinite(records[2].train_loss)
    assert (result.chosen_epoch, result.genotype, result.train_loss) == (1, records[1].genotype, records[1].train_loss)
    assert result.stop_reason.startswith("nonfinite rule: training loss is ")
    Genotype.parse(records[2].genotype)


def test_alpha_and_beta_are_frozen_in_the_warm_up_and_move_after_it(whole):
    _, records, _ = whole
    start = SearchState(CONFIG).supernet.architecture
    assert records[0].alphas_normal == tuple(map(tuple, start.alphas_normal.double().tolist()))
    assert records[0].betas_reduce == tuple(start.betas_reduce.double().tolist())
    assert [record.alpha_trained for record in records] == [False, True, True]
    assert records[0].alphas_normal != records[1].alphas_normal != records[2].alphas_normal


def test_entropies_of_untrained_alpha_and_beta_are_maximal(whole):
    _, records, _ = whole
    assert records[0].alpha_entropy_normal == pytest.approx(math.log(8), abs=1e-5)
    assert records[0].beta_entropy_reduce == pytest.approx(1, abs=1e-5)


def test_it_learns(whole):
    _, records, _ = whole
    assert records[-1].train_loss < records[0].train_loss


def test_the_same_seed_gives_the_same_search_and_another_seed_another(whole):
    _, records, _ = whole
    torch.manual_seed(7)  # the global generator plays no part
    again = run(CONFIG)[1]
    assert list(map(timeless, again)) == list(map(timeless, records))
    other = run(dataclasses.replace(CONFIG, seed=1, epochs=2))[1]
    assert other[0].alphas_normal != records[0].alphas_normal


@pytest.mark.parametrize("epochs_done", [pytest.param(1, marks=pytest.mark.slow), 2, 3])
def test_a_resumed_search_ends_bit_for_bit_where_the_whole_one_ends(whole, tmp_path, epochs_done):
    result, records, saved = whole
    file = CheckpointFile(tmp_path / "search.pt")

    class Interrupted(Exception):
        pass

    def interrupt(record):
        if record.epoch + 1 == epochs_done:
            raise Interrupted

    with pytest.raises(Interrupted):
        search(CONFIG, checkpoint=file, on_epoch=interrupt)
    resumed, again = run(CONFIG, checkpoint=file)
    assert list(map(timeless, again)) == list(map(timeless, records))
    assert timeless(resumed) == timeless(result)
    final = file.load(identity(CONFIG))
    for name, value in saved["supernet"].items():
        assert torch.equal(final["supernet"][name], value), name
    for name, value in saved["generators"].items():
        assert torch.equal(final["generators"][name], value), name


@pytest.mark.slow
def test_a_search_killed_by_the_system_goes_on_from_its_checkpoint(measured, tmp_path):
    """SIGKILL right after the second epoch's checkpoint, in a process of its own."""
    script = f"""
import os, signal
from pcdarts.training.checkpoint import CheckpointFile
from pcdarts.config import SearchConfig
from pcdarts.search import search

def kill(record):
    if record.epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)

config, file = SearchConfig(**{dataclasses.asdict(MEASURED)!r}), CheckpointFile({str(tmp_path / "s.pt")!r})
search(config, checkpoint=file, on_epoch=kill)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=os.getcwd())
    assert ended.returncode == -signal.SIGKILL
    _, again = run(MEASURED, checkpoint=CheckpointFile(tmp_path / "s.pt"))
    assert list(map(timeless, again)) == list(map(timeless, measured[1]))


@pytest.mark.slow
def test_every_checkpoint_every_epochs_and_at_the_end(tmp_path):
    saved = []

    class Counting(CheckpointFile):
        def write_bytes(self, data):
            saved.append(len(data))

    config = dataclasses.replace(CONFIG, epochs=3, checkpoint_every=2)
    search(config, checkpoint=Counting(tmp_path / "x.pt"))
    assert len(saved) == 2


@pytest.mark.slow
def test_validation_every_so_many_epochs_and_at_the_end():
    config = dataclasses.replace(CONFIG, epochs=4, validate_every=3)
    accuracies = [record.valid_accuracy for record in run(config)[1]]
    assert [accuracy is None for accuracy in accuracies] == [True, True, False, False]


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {"order": 2},
        {"order": 2, "hessian_vector_product": "finite_difference"},
        {"edge_normalization": False, "k": 1},
        {"channels": 8, "k": 8, "side_operation": "conv_1x1", "spatial_stride": 2},
        {"channel_sampling": "random"},
        {"dataset": "digits", "train_portion": 0.05},
        {"method": "darts"},
        {"space": "s1"},
        {"space": "s4", "order": 2},
        {"space": "s4", "k": 4},
        {"drop_path": 0.3, "order": 2},
        {"drop_path": 0.5},
    ],
    ids=str,
)
def test_every_kind_of_search_is_resumed_to_the_last_bit(values, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=2, **values)
    result, records = run(config)
    file = CheckpointFile(tmp_path / "search.pt")

    def interrupt(record):
        raise KeyboardInterrupt

    torch.manual_seed(7)  # the global generator plays no part
    with pytest.raises(KeyboardInterrupt):
        search(config, checkpoint=file, on_epoch=interrupt)
    resumed, again = run(config, checkpoint=file)
    assert list(map(timeless, again)) == list(map(timeless, records)) and timeless(resumed) == timeless(result)
    assert [record.alpha_trained for record in records] == [False, True]
    assert records[0].alphas_normal != records[1].alphas_normal
    cells, space = Genotype.parse(result.genotype), SPACES[config.space]
    for cell, edges in ((cells.normal, space.normal), (cells.reduce, space.reduce)):
        assert {name for name, _ in cell} <= set(itertools.chain(*edges))


def test_a_loss_that_is_not_finite_stops_the_search_and_says_what_to_do():
    with pytest.raises(FloatingPointError, match=r"in epoch \d; lower learning_rate"):
        search(dataclasses.replace(CONFIG, learning_rate=1e30, gradient_clip=1e30))


def test_the_log_says_that_alpha_is_frozen_and_that_the_learning_rate_is_off():
    said = []
    search(dataclasses.replace(CONFIG, epochs=2), log=said.append)
    assert said == [
        "alpha and beta are frozen for the first 1 of 2 epochs: the genotype does not change before epoch 1"
    ]
    frozen, warning = notes(SearchConfig(batch_size=96))
    assert "first 15 of 50 epochs" in frozen and warning.startswith("warning: learning_rate 0.1 with batch_size 96")
    assert notes(dataclasses.replace(CONFIG, warmup_epochs=0)) == []


def test_alphas_and_entropies_of_a_smaller_space():
    _, records = run(dataclasses.replace(CONFIG, epochs=2, space="s3"))
    assert [len(edge) for edge in records[0].alphas_reduce] == [3] * 14
    assert records[0].alpha_entropy_normal == pytest.approx(math.log(3), abs=1e-5)
    assert set(dict(Genotype.parse(records[0].genotype).normal)) <= {"skip_connect", "sep_conv_3x3"}


def test_drop_path_rises_linearly_from_0_to_its_value_in_the_last_epoch():
    config = dataclasses.replace(CONFIG, epochs=5, drop_path=0.4)
    assert [drop_path(config, epoch) for epoch in range(5)] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert drop_path(dataclasses.replace(config, epochs=1, warmup_epochs=0), 0) == 0


def test_a_random_cell_needs_neither_data_nor_training(tmp_path):
    config = SearchConfig(method="random", space="s2", seed=3, dataset="imagenet", data_dir="/nowhere")
    result, records = run(config, checkpoint=CheckpointFile(tmp_path / "x.pt"))
    assert records == [] and not (tmp_path / "x.pt").exists() and notes(config) == []
    assert result.genotype == str(random_genotype(SPACES["s2"], 3)) and result.epochs_trained == 0
    assert (result.train_loss, result.train_accuracy, result.valid_loss, result.valid_accuracy) == (None,) * 4
    assert result.genotype_digest == Genotype.parse(result.genotype).digest
    skips = Genotype.parse(result.genotype).count("skip_connect")
    assert (result.skip_connections_normal, result.skip_connections_reduce) == skips


def test_a_search_that_the_fast_super_network_cannot_compute_says_so():
    for values, why in (({"space": "s1"}, "space s1"), ({"drop_path": 0.1}, "drop_path")):
        config = dataclasses.replace(CONFIG, warmup_epochs=0, **values)
        assert notes(config) == [f"{why}: not supported by the fast super-network; the slower reference one is used"]
        assert notes(dataclasses.replace(config, implementation="reference")) == []


def test_learning_rate():
    config = dataclasses.replace(CONFIG, learning_rate=1.0, epochs=4)
    rates = [learning_rate(config, epoch) for epoch in range(4)]
    assert rates == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert learning_rate(dataclasses.replace(config, learning_rate_warmup_epochs=2), 0) == 0.5


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_both_implementations_find_the_same_cell_in_float64(seed):
    """Steps on alpha and weights from the same seed: alphas agree to rounding, and the cell is the same."""
    found = []
    for name in ("fast", "reference"):
        state = SearchState(dataclasses.replace(CONFIG, seed=seed, implementation=name))
        state.supernet.double()
        batches = state.train.stream(8, torch.Generator().manual_seed(seed))
        start = state.supernet.architecture.alphas_normal.detach().clone()
        for _ in range(3):
            train, valid = ((images.double(), labels) for images, labels in (next(batches), next(batches)))
            state.architect.step(train, valid, CONFIG.learning_rate)
            weight_step(state, *train)
        arch = dict(state.supernet.architecture.named_parameters())
        assert (arch["alphas_normal"] - start).abs().max() > 0.01  # far beyond what is compared
        found.append((arch, derive_genotype(arch)))
    (fast, fast_cell), (slow, slow_cell) = found
    for name, value in slow.items():
        assert torch.allclose(fast[name], value, rtol=0, atol=1e-6), name
    assert fast_cell == slow_cell


def test_channels_last_is_a_setting_of_the_weights():
    config = dataclasses.replace(smoke(), implementation="reference", channels_last=True)
    weight = SearchState(config).supernet.stem[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_a_compiled_super_network_computes_what_the_plain_one_does(monkeypatch):
    """The graph is traced as on a GPU, then run by PyTorch itself: compiling it for a CPU takes minutes."""
    compiled = []

    def compile_eagerly(module):
        compiled.append(module)
        plain_compile(module, backend="eager", fullgraph=True)

    plain_compile = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", compile_eagerly)
    config = dataclasses.replace(smoke(), implementation="reference")
    plain, state = SearchState(config), SearchState(dataclasses.replace(config, compile=True))
    assert compiled == [state.supernet]
    images, labels = next(state.train.in_order(4))
    for one, other in zip(weight_step(plain, images, labels), weight_step(state, images, labels), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(plain.supernet.parameters(), state.supernet.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_sampling_rate_of_one_sixteenth_searches_with_a_side_operation():
    config = dataclasses.replace(
        CONFIG, k=16, channels=16, side_operation="conv_1x1", epochs=1, warmup_epochs=0, max_images=32, batch_size=8
    )
    assert math.isfinite(search(config).valid_loss)
