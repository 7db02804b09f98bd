"""The retraining loop: schedules, one step by hand, the best epoch, and going on bit for bit."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from pcdarts import retrain as module
from pcdarts.config import RetrainConfig
from pcdarts.data.batches import retrain_batches
from pcdarts.genotype import PUBLISHED
from pcdarts.network import CellNetwork
from pcdarts.presets import RECIPES
from pcdarts.retrain import RetrainState, learning_rate, retrain
from pcdarts.training.checkpoint import CheckpointFile
from pcdarts.training.evaluation import Score

CELL = PUBLISHED["PC_DARTS_cifar"]
MEASURED = ("seconds", "peak_memory_bytes")


class FakeBatches:
    """Random images with labels; an epoch is shuffled and takes noise from the generator."""

    classes, image_channels = 3, 1

    def __init__(self, seed, count, size):
        generator = torch.Generator().manual_seed(seed)
        self.image_size, self.labels = size, torch.arange(count) % self.classes
        self.images = torch.randn(count, 1, size, size, generator=generator) + self.labels[:, None, None, None]

    def __len__(self):
        return len(self.labels)

    def epoch(self, batch_size, generator):
        for indices in torch.randperm(len(self), generator=generator).split(batch_size):
            images = self.images[indices]
            yield images + 0.1 * torch.randn(images.shape, generator=generator), self.labels[indices]

    def in_order(self, batch_size):
        yield from zip(self.images.split(batch_size), self.labels.split(batch_size), strict=True)


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    def use(count=12, size=8):
        monkeypatch.setattr(
            module,
            "retrain_batches",
            lambda config, device, **options: tuple(FakeBatches(seed, count, size) for seed in range(3)),
        )

    use()
    return use


def make(**values):
    small = {"dataset": "synthetic", "batch_size": 6, "epochs": 3, "channels": 2, "layers": 3, "device": "cpu"}
    return RetrainConfig(**(small | {"auxiliary_weight": 0.0, "learning_rate": 0.05} | values))


def test_recomputed_activations_change_no_bit_of_a_training():
    results = [retrain(CELL, make(checkpoint_activations=value, drop_path=0.5)) for value in (False, True)]
    assert without(results[0], *MEASURED) == without(results[1], *MEASURED)


def test_switches_reach_the_network():
    network = RetrainState(CELL, make(channels_last=True, compile=True)).network
    assert (network.channels_last, network.compiled, network.checkpoint_activations) == (True, True, False)
    assert network.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match="compile is True, but must be False to checkpoint activations"):
        make(compile=True, checkpoint_activations=True)


def without(record, *names):
    return {name: value for name, value in dataclasses.asdict(record).items() if name not in names}


def unpacked(result):
    return np.unpackbits(np.frombuffer(result.test_correct, np.uint8), count=result.test_images).astype(bool).tolist()


def saved(path, config, genotype=CELL):
    return CheckpointFile(path).load(module.identity(config) | {"genotype": str(genotype)})


def plain(state):
    """A checkpoint as comparable values: tensors as their bytes, epochs without their seconds."""
    if isinstance(state, torch.Tensor):
        return state.dtype, state.shape, state.numpy().tobytes()
    if isinstance(state, dict):
        return {name: plain(value) for name, value in state.items() if name not in MEASURED}
    return [plain(value) for value in state] if isinstance(state, list) else state


@pytest.mark.parametrize(
    ("values", "rates"),
    [
        ({}, [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        ({"learning_rate_warmup_epochs": 2}, [0.5, 1, 0.5, (1 - math.sqrt(0.5)) / 2]),
        ({"schedule": "linear"}, [1, 0.75, 0.5, 0.25]),
        ({"schedule": "linear", "learning_rate_warmup_epochs": 3}, [1 / 3, 2 / 3, 1, 0.25]),
        ({"schedule": "linear", "epochs": 7}, [1, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ({"schedule": "linear", "epochs": 7, "learning_rate_warmup_epochs": 2}, [0.5, 1, 0.5, 0.4, 0.3, 0.2, 0.1]),
    ],
)
def test_learning_rates(values, rates):
    config = make(**({"epochs": 4, "learning_rate": 1.0} | values))
    assert [learning_rate(config, epoch) for epoch in range(config.epochs)] == pytest.approx(rates)


def test_one_step_by_hand(tmp_path, small_data):
    small_data(count=6, size=32)
    config = make(
        epochs=1,
        auxiliary_weight=0.4,
        label_smoothing=0.1,
        gradient_clip=0.01,
        weight_decay=0.1,
        momentum=0.9,
    )
    start = RetrainState(CELL, config)  # the weights and the batch that the training will begin with
    network = start.network.train()
    ((images, labels),) = start.train.epoch(6, start.generators["train"])
    logits, auxiliary = network.forward_with_auxiliary(images)

    def smoothed(logits):
        target = 0.9 * functional.one_hot(labels, 3) + 0.1 / 3
        return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()

    with torch.no_grad():
        loss_before = float(smoothed(logits))
    weights = dict(network.named_parameters())
    gradients = torch.autograd.grad(smoothed(logits) + 0.4 * smoothed(auxiliary), list(weights.values()))
    norm = torch.stack([(gradient**2).sum() for gradient in gradients]).sum().sqrt()
    assert norm > 0.01
    expected = {
        name: (weight - 0.05 * (gradient * 0.01 / norm + 0.1 * weight)).detach()
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }
    epochs = []
    retrain(CELL, config, checkpoint=CheckpointFile(tmp_path / "step.pt"), on_epoch=epochs.append)
    trained = saved(tmp_path / "step.pt", config)["network"]
    assert all(torch.allclose(trained[name], expected[name], atol=1e-6) for name in expected)
    assert epochs[0].train_loss == pytest.approx(loss_before, rel=1e-5)


def test_the_best_validation_epoch_is_tested_and_the_test_set_is_used_once(monkeypatch):
    accuracies, seen = [50.0, 90.0, 90.0, 70.0, 33.0], []

    def fake_evaluate(model, batches, device, *arguments, **options):
        seen.append(({name: value.clone() for name, value in model.state_dict().items()}, model.drop_path))
        return Score(1.0, accuracies[len(seen) - 1], hits=torch.zeros(12, dtype=torch.bool))

    monkeypatch.setattr(module, "evaluate", fake_evaluate)
    result = retrain(CELL, make(epochs=4, drop_path=0.4))
    assert len(seen) == 5 and [drop_path for _, drop_path in seen[:4]] == pytest.approx([0, 0.1, 0.2, 0.3])
    tested = plain(seen[4][0])
    assert [tested == plain(weights) for weights, _ in seen[:4]] == [False, True, False, False]
    assert (result.best_epoch, result.valid_accuracy, result.test_accuracy) == (1, 90.0, 33.0)


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_without_validation_the_last_epoch_is_tested(monkeypatch, tmp_path, ema_decay):
    def without_validation(config, device, **options):
        return FakeBatches(0, 12, 8), None, FakeBatches(2, 12, 8)

    monkeypatch.setattr(module, "retrain_batches", without_validation)
    config, epochs = make(validation_portion=0.0, ema_decay=ema_decay), []
    file = CheckpointFile(tmp_path / "job.pt")
    result = retrain(CELL, config, checkpoint=file, on_epoch=epochs.append)
    state = saved(tmp_path / "job.pt", config)
    assert plain(state["best"]["weights"]) == plain(state["network"])
    assert (result.best_epoch, result.valid_accuracy, result.valid_top5, result.chosen_weights) == (
        2,
        None,
        None,
        "raw",
    )
    assert {(record.valid_loss, record.valid_accuracy, record.ema_valid_accuracy) for record in epochs} == {(None,) * 3}
    assert (result.training_images, result.validation_images) == (12, 0)
    assert 100 * np.mean(unpacked(result)) == result.test_accuracy  # of the raw weights
    assert result.ema_best_epoch == (2 if ema_decay else None) and result.ema_valid_accuracy is None
    assert (result.ema_test_accuracy is not None) == (ema_decay > 0)
    assert without(retrain(CELL, config, checkpoint=file), *MEASURED) == without(result, *MEASURED)
    assert module.notes(config)[-1].startswith("validation_portion 0: all training images")


def test_the_best_weights_are_in_the_checkpoint(tmp_path):
    config = make()
    result = retrain(CELL, config, checkpoint=CheckpointFile(tmp_path / "job.pt"))
    network = CellNetwork(CELL, channels=2, layers=3, classes=3, image_channels=1)
    network.load_state_dict(saved(tmp_path / "job.pt", config)["best"]["weights"])
    test = FakeBatches(2, 12, 8)
    with torch.no_grad():
        logits = network.eval()(test.images)
    assert result.test_loss == pytest.approx(float(functional.cross_entropy(logits, test.labels)), rel=1e-5)
    assert unpacked(result) == (logits.argmax(1) == test.labels).tolist()
    assert result.test_accuracy == 100 * np.mean(unpacked(result))
    assert (result.training_images, result.validation_images, result.test_images) == (12, 12, 12)


@pytest.mark.parametrize(("seed", "chosen"), [(0, "ema"), (6, "raw")])
def test_the_correct_test_images_are_those_of_the_chosen_weights(seed, chosen, small_data):
    small_data(count=50)  # more than one batch, and no whole number of bytes
    result = retrain(CELL, make(ema_decay=0.9, epochs=2, seed=seed))
    accuracy = {"raw": result.test_accuracy, "ema": result.ema_test_accuracy}
    assert result.chosen_weights == chosen and accuracy["raw"] != accuracy["ema"]
    assert len(result.test_correct) == 7 and 100 * np.mean(unpacked(result)) == accuracy[chosen]


@pytest.mark.parametrize("stop_after", [0, 1, 2])
@pytest.mark.parametrize("every", [1, 2])
def test_an_interrupted_training_ends_bit_for_bit_as_an_uninterrupted_one(tmp_path, every, stop_after):
    config = make(drop_path=0.3, checkpoint_every=every)
    whole = []
    expected = retrain(CELL, config, checkpoint=CheckpointFile(tmp_path / "whole.pt"), on_epoch=whole.append)

    def interrupt(record):
        if record.epoch == stop_after:
            raise KeyboardInterrupt

    file = CheckpointFile(tmp_path / "parts.pt")
    with pytest.raises(KeyboardInterrupt):
        retrain(CELL, config, checkpoint=file, on_epoch=interrupt)
    torch.manual_seed(stop_after)  # the global generator plays no part
    epochs, messages = [], []
    result = retrain(CELL, config, checkpoint=file, on_epoch=epochs.append, log=messages.append)
    assert without(result, *MEASURED) == without(expected, *MEASURED)
    assert [without(epoch, *MEASURED) for epoch in epochs] == [without(epoch, *MEASURED) for epoch in whole]
    assert plain(saved(tmp_path / "parts.pt", config)) == plain(saved(tmp_path / "whole.pt", config))
    done = 3 if stop_after == 2 else (stop_after + 1) // every * every
    assert messages == ([f"resumed after epoch {done - 1}"] if done else [])


def test_the_seed_decides_the_weights(tmp_path):
    ends = []
    for number, seed in enumerate((1, 1, 2)):
        torch.manual_seed(number)
        config = make(seed=seed, epochs=1)
        retrain(CELL, config, checkpoint=CheckpointFile(tmp_path / f"{number}.pt"))
        ends.append(plain(saved(tmp_path / f"{number}.pt", config)["network"]))
    assert ends[0] == ends[1] != ends[2]


def test_the_learning_rate_is_scaled_with_the_batch_and_said_so():
    config = make(learning_rate=0.5, learning_rate_batch=12)  # the batch has 6
    assert learning_rate(config, 0) == config.scaled_learning_rate == 0.25
    assert module.notes(config) == ["learning rate 0.25: scaled linearly from 0.5 at batch size 12 to batch size 6"]
    assert module.notes(make(learning_rate_batch=6)) == module.notes(make()) == []


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_and_an_average_go_on_bit_for_bit(tmp_path, precision):
    config = make(precision=precision, ema_decay=0.9)
    expected = retrain(CELL, config, checkpoint=CheckpointFile(tmp_path / "whole.pt"))

    def interrupt(record):
        if record.epoch == 1:
            raise KeyboardInterrupt

    file = CheckpointFile(tmp_path / "parts.pt")
    with pytest.raises(KeyboardInterrupt):
        retrain(CELL, config, checkpoint=file, on_epoch=interrupt)
    assert without(retrain(CELL, config, checkpoint=file), *MEASURED) == without(expected, *MEASURED)
    assert plain(saved(tmp_path / "parts.pt", config)) == plain(saved(tmp_path / "whole.pt", config))
    assert expected.train_loss != retrain(CELL, make()).train_loss
    assert expected.valid_top5 is None  # three classes
    assert (expected.chosen_weights == "ema") == (expected.ema_valid_accuracy > expected.valid_accuracy)


def test_the_official_recipes():
    cifar10, imagenet, modern = (RECIPES[name]() for name in ("cifar10", "imagenet", "imagenet-mobile-modern"))
    names = ("batch_size", "epochs", "channels", "layers", "learning_rate", "schedule", "momentum", "weight_decay")
    names += ("auxiliary_weight", "drop_path", "gradient_clip", "cutout", "label_smoothing")
    names += ("learning_rate_warmup_epochs", "precision", "ema_decay")
    expected = (96, 600, 36, 20, 0.025, "cosine", 0.9, 3e-4, 0.4, 0.3, 5, 16, 0, 0, "fp32", 0)
    assert tuple(getattr(cifar10, name) for name in names) == expected
    expected = (1024, 250, 48, 14, 0.5, "linear", 0.9, 3e-5, 0.4, 0, 5, 0, 0.1, 5, "fp32", 0)
    assert tuple(getattr(imagenet, name) for name in names) == expected
    assert [config.scaled_learning_rate for config in (cifar10, imagenet, modern)] == [0.025, 0.5, 1.0]
    assert (modern.schedule, modern.precision, modern.ema_decay) == ("cosine", "bf16", 0.9999)


def test_a_checkpoint_of_other_cells_is_refused(tmp_path):
    file = CheckpointFile(tmp_path / "job.pt")
    retrain(CELL, make(epochs=1), checkpoint=file)
    with pytest.raises(ValueError, match=r"another configuration \(genotype differ\)"):
        retrain(PUBLISHED["DARTS_V2"], make(epochs=1), checkpoint=file)


def test_a_loss_that_is_not_finite_ends_the_training():
    with pytest.raises(FloatingPointError, match=r"training loss is (nan|inf) in epoch 0; lower learning_rate"):
        retrain(CELL, make(learning_rate=1e30))


def test_a_last_batch_of_one_image_is_trained_on_with_an_auxiliary_head(monkeypatch):
    monkeypatch.setattr(module, "retrain_batches", retrain_batches)
    config = make(image_size=29, max_images=11, batch_size=9, auxiliary_weight=0.4, epochs=1, validation_portion=0.1)
    result = retrain(CELL, config)
    assert (result.training_images, result.validation_images) == (10, 1) and np.isfinite(result.train_loss)


def test_images_too_small_for_the_auxiliary_head_are_named():
    with pytest.raises(ValueError, match="2 x 2 pixels, .* set auxiliary_weight to 0"):
        retrain(CELL, make(auxiliary_weight=0.4))
