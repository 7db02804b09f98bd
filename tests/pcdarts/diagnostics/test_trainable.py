"""The smallest images that can be trained on: the rule against real training steps of tiny networks."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.diagnostics.trainable import require_trainable
from pcdarts.fast.fast_supernet import make_supernet
from pcdarts.network import CellNetwork
from pcdarts.spaces import SPACES, random_genotype

OWN = dict(dataset="folder", classes=3, image_channels=3)
GENOTYPE = random_genotype(SPACES["darts"], seed=0)
SIZES = [(1, 1), (4, 4), (7, 5), (9, 8)]


def shaped(config, size):
    return replace(config, image_height=size[0], image_width=size[1])


def trains(network, batch, size, channels=3, classes=3):
    """Whether a step runs; nothing but the reason of the rule may stop it."""
    images = torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(0))
    try:
        logits, extra = network(images), None
        if isinstance(network, CellNetwork):
            logits, extra = network.forward_with_auxiliary(images)
    except ValueError as error:
        assert "more than" in str(error) or "auxiliary head" in str(error)
        return False
    labels = torch.zeros(batch, dtype=torch.long)
    loss = functional.cross_entropy(logits, labels) + (0 if extra is None else functional.cross_entropy(extra, labels))
    loss.backward()
    assert logits.shape == (batch, classes) and loss.isfinite()
    return True


def allowed(config):
    try:
        require_trainable(config)
    except ValueError as error:
        assert "\n" not in str(error)
        return False
    return True


@pytest.mark.parametrize("implementation", ["fast", "reference"])
@pytest.mark.parametrize(("stem", "stride"), [("cifar", 1), ("cifar", 2), ("imagenet", 1)])
def test_super_networks_run_exactly_where_the_rule_allows_it(implementation, stem, stride):
    base = SearchConfig(
        **OWN, implementation=implementation, stem=stem, spatial_stride=stride, channels=4, layers=3, k=4
    )
    sizes = [(4, 4), (33, 1)] if stem == "imagenet" else SIZES
    for size, batch in itertools.product(sizes, (1, 2)):
        config = shaped(replace(base, batch_size=batch), size)
        network = make_supernet(config, 3, 3, generator=torch.Generator().manual_seed(0))
        assert trains(network, batch, size) == allowed(config), (size, batch)


@pytest.mark.parametrize("implementation", ["fast", "reference"])
@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize(("channels", "classes"), [(1, 1), (5, 1000)])
def test_super_networks_take_any_channels_and_classes(implementation, k, channels, classes):
    config = SearchConfig(implementation=implementation, channels=4, layers=3, k=k, side_operation="conv_1x1")
    network = make_supernet(config, classes, channels, generator=torch.Generator().manual_seed(0))
    assert trains(network, 3, (7, 5), channels, classes)


@pytest.mark.parametrize(
    ("stem", "sizes"),
    [("cifar", [*SIZES, (28, 40), (29, 29), (29, 64)]), ("imagenet", [(192, 200), (193, 193), (4, 4)])],
)
def test_networks_run_exactly_where_the_rule_allows_it(stem, sizes):
    base = RetrainConfig(**OWN, stem=stem, channels=2, layers=3)
    for size, batch, weight in itertools.product(sizes, (1, 2), (0.0, 0.4)):
        config = shaped(replace(base, batch_size=batch, auxiliary_weight=weight), size)
        network = CellNetwork(GENOTYPE, channels=2, layers=3, classes=3, stem=stem, auxiliary=weight > 0)
        assert trains(network, batch, size) == allowed(config), (size, batch, weight)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            RetrainConfig(dataset="digits"),
            "auxiliary_weight is 0.4, but must be 0 for images of 8 x 8 .* needs 29 x 29",
        ),
        (RetrainConfig(dataset="imagenet", stem="imagenet", image_size=192), "192 x 192 .* needs 193 x 193"),
        (SearchConfig(dataset="digits", batch_size=1, spatial_stride=2), "batch_size is 1, .* images of 9 pixels"),
        (SearchConfig(dataset="digits", stem="imagenet", eigenvalue_batch=1), "eigenvalue_batch is 1, .* of 33 pixels"),
        (RetrainConfig(batch_size=1), "batch_size is 1, .* auxiliary head on images of 32 x 32"),
    ],
)
def test_refusals_name_the_rule_and_the_remedy(config, message):
    with pytest.raises(ValueError, match=message):
        require_trainable(config)


def test_official_settings_are_allowed():
    for config in (SearchConfig(), RetrainConfig(), SearchConfig(dataset="digits", stem="imagenet", method="random")):
        require_trainable(config)
