"""Operations that draw: noise and dropped paths."""

import pytest
import torch

from pcdarts.operations import Noise, draw_per_image, drop_path_per_image, initialize, make_operation
from pcdarts.training.distributed import SharedGenerator, Workers


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_drop_path_keeps_or_drops_whole_images_and_keeps_the_expectation():
    count, probability = 10_000, 0.3
    out = drop_path_per_image(torch.ones(count, 2, 3, 3, dtype=torch.float64), probability, seeded())
    assert torch.equal(out, out[:, :1, :1, :1].expand_as(out))
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.7])
    deviation = (probability / (1 - probability) / count) ** 0.5
    assert abs(float(out.mean()) - 1) < 4 * deviation


def test_draws_of_workers_are_those_of_one():
    expected = torch.rand((7, 5), generator=seeded(1))
    parts = []
    for rank in range(2):
        generator = SharedGenerator.of(seeded(1), Workers(rank=rank, count=2))
        generator.images = 7
        parts.append(draw_per_image((len(range(7)[generator.workers.rows(7)]), 5), generator))
    assert torch.equal(torch.cat(parts), expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_noise_is_standard_normal_and_does_not_look_at_its_input(stride):
    noise = make_operation("noise", 4, stride, affine=False)
    initialize(noise, seeded())
    x = torch.full((8, 4, 31, 31), 1e6, dtype=torch.float64)
    out = noise(x)
    assert out.shape == x[:, :, ::stride, ::stride].shape and out.dtype == x.dtype
    assert abs(out.mean()) < 0.05 and abs(out.std() - 1) < 0.05
    assert not torch.equal(noise(x), out)  # drawn anew
    initialize(noise, seeded())
    assert torch.equal(noise(torch.zeros_like(x)), out)


def test_noise_needs_a_generator_but_for_counting():
    with pytest.raises(ValueError, match="noise needs a generator"):
        Noise(1)(torch.zeros(1, 1, 2, 2))
    assert Noise(2)(torch.zeros(1, 1, 3, 3, device="meta")).shape == (1, 1, 2, 2)
