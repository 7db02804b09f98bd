"""Accuracy of the folded products in single precision, and their parity however they are cut."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.config import SearchConfig
from pcdarts.fast import folding
from pcdarts.fast.fast_supernet import FastSupernet
from pcdarts.fast.folding import tall_product
from tests.pcdarts.fast.test_fast_supernet import assert_parity, draw_batch, make_pair

IMAGES = 32


@pytest.mark.parametrize("columns", [1, 2, 4, 14, 24])
def test_tall_products_keep_the_digits_of_single_precision(columns: int) -> None:
    a = 1 + torch.rand(2**16, columns, generator=torch.Generator().manual_seed(0))
    exact = a.double().t() @ a.double()
    torch.testing.assert_close(tall_product(a, a).double(), exact, rtol=2e-6, atol=0)


@pytest.mark.parametrize("rows", [1, 6, 7, 24])
def test_rows_need_no_even_number(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(folding, "CHUNK", 3)
    a, b = torch.arange(rows * 3.0).view(rows, 3), torch.arange(rows * 2.0).view(rows, 2)
    assert torch.equal(tall_product(a, b), a.t() @ b)


@pytest.mark.parametrize("columns", [folding.GPU_COLUMNS, 1], ids=["as on a GPU", "narrow"])
@pytest.mark.parametrize("options", [{}, {"k": 1, "side_operation": "none"}, {"spatial_stride": 2}], ids=str)
def test_every_width_equals_the_reference(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], columns: int
) -> None:
    monkeypatch.setattr(folding, "CPU_COLUMNS", columns)
    monkeypatch.setattr(folding, "CHUNK", 16)
    assert_parity(*make_pair(**options), *draw_batch((8, 6)))


def smooth_images(generator: torch.Generator) -> Tensor:
    """Images (IMAGES, 3, 32, 32) whose neighboring pixels are alike, as in photographs, some of them saturated."""
    coarse = functional.interpolate(torch.randn(IMAGES, 3, 9, 9, generator=generator), size=(32, 32), mode="bicubic")
    return (coarse + 0.1 * torch.randn(IMAGES, 3, 32, 32, generator=generator)).clamp(-2, 2)


def gradient_error(seed: int) -> float:
    """Relative L2 error of the gradients of a network that was trained for two steps, against double precision."""
    generator = torch.Generator().manual_seed(seed)
    config = SearchConfig(channels=8, layers=5)
    network = FastSupernet(config, 10, generator=generator)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    images, labels = smooth_images(generator), torch.randint(10, (IMAGES,), generator=generator)
    for _ in range(3):
        optimizer.step()
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
    exact = FastSupernet(config, 10, generator=generator).double()
    exact.load_state_dict(network.state_dict())
    functional.cross_entropy(exact(images.double()), labels).backward()
    found, truth = (
        torch.cat([p.grad.double().flatten() for p in each.parameters() if p.grad is not None])
        for each in (network, exact)
    )
    return float((found - truth).norm() / truth.norm())


@pytest.mark.slow
def test_gradients_of_trained_weights_are_accurate_in_single_precision() -> None:
    """As in the reference, where rounding turns no ReLU and no maximum; it turns one in about half of the networks."""
    assert any(gradient_error(seed) < 5e-6 for seed in range(5))
