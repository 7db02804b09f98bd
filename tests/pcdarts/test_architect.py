"""The architect: its gradients against brute force, its step, and what it leaves alone."""

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional

from pcdarts.architect import Architect
from pcdarts.config import SearchConfig
from pcdarts.supernet import Supernet

RATE = 0.1


def make(**values):
    config = SearchConfig(dataset="synthetic", channels=2, layers=3, k=2, epochs=2, warmup_epochs=0, **values)
    supernet = Supernet(config, 3, 1, generator=torch.Generator().manual_seed(0)).double()
    optimizer = torch.optim.SGD(
        supernet.weights().values(), lr=RATE, momentum=config.momentum, weight_decay=config.weight_decay
    )
    return supernet, Architect(config, supernet, optimizer), optimizer


def batch(seed, count=4):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 8, 8, generator=generator, dtype=torch.float64)
    return images, torch.randint(3, (count,), generator=generator)


def flat(gradients):
    return torch.cat([gradient.flatten() for gradient in gradients])


def test_first_order_is_the_gradient_of_the_validation_loss():
    supernet, architect, _ = make()
    images, labels = batch(1)
    expected = torch.autograd.grad(functional.cross_entropy(supernet(images), labels), architect.parameters)
    assert torch.equal(flat(architect.first_order((images, labels))), flat(expected))


def loss_after_sgd_step(supernet, optimizer, train, valid, config):
    """The validation loss at the weights after one more SGD step, as a number."""
    buffers = {name: buffer.clone() for name, buffer in supernet.named_buffers()}

    def loss(weights, data):
        fresh = {name: buffer.clone() for name, buffer in buffers.items()}
        return functional.cross_entropy(functional_call(supernet, {**weights, **fresh}, (data[0],)), data[1])

    weights = supernet.weights()
    gradients = torch.autograd.grad(loss(weights, train), list(weights.values()))
    stepped = {}
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        momentum = optimizer.state.get(weight, {}).get("momentum_buffer", torch.zeros_like(weight))
        stepped[name] = weight.detach() - RATE * (
            config.momentum * momentum + gradient + config.weight_decay * weight.detach()
        )
    with torch.no_grad():
        return float(loss(stepped, valid))


@pytest.mark.parametrize(("method", "tolerance"), [("exact", 1e-5), ("finite_difference", 1e-3)])
def test_second_order_is_the_derivative_of_the_loss_after_the_step(method, tolerance, monkeypatch):
    # At the official radius a network as small as this one crosses kinks of ReLU and max-pooling.
    monkeypatch.setattr("pcdarts.architect.DIFFERENCE_RADIUS", 1e-5)
    supernet, architect, optimizer = make(order=2, hessian_vector_product=method)
    train, valid = batch(1), batch(2)
    functional.cross_entropy(supernet(train[0]), train[1]).backward()
    optimizer.step()  # gives the momentum buffers something to hold
    gradients = architect.second_order(train, valid, RATE)
    for index, (parameter, position) in enumerate(
        [(architect.parameters[0], (3, 4)), (architect.parameters[1], (0, 5)), (architect.parameters[2], (2,))]
    ):
        sides = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter[position] += step
            sides.append(loss_after_sgd_step(supernet, optimizer, train, valid, architect.config))
            with torch.no_grad():
                parameter[position] -= step
        expected = (sides[0] - sides[1]) / 2e-5
        scale = max(abs(float(g.abs().max())) for g in gradients)
        assert abs(float(gradients[index][position]) - expected) < tolerance * scale


def test_second_order_leaves_weights_and_running_statistics_alone():
    supernet, architect, _ = make(order=2)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    architect.second_order(batch(1), batch(2), RATE)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def test_a_step_moves_alpha_and_beta_alone():
    supernet, architect, _ = make()
    before = {name: value.detach().clone() for name, value in supernet.named_parameters()}
    architect.step(batch(1), batch(2), RATE)
    moved = {name for name, value in supernet.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {f"architecture.{kind}_{cell}" for kind in ("alphas", "betas") for cell in ("normal", "reduce")}


def test_without_edge_normalization_weight_decay_does_not_move_beta():
    supernet, architect, _ = make(edge_normalization=False)
    before = supernet.architecture.betas_normal.detach().clone()
    architect.step(batch(1), batch(2), RATE)
    assert torch.equal(supernet.architecture.betas_normal, before)


def test_the_gradient_of_alpha_is_clipped_where_asked_for():
    _, architect, _ = make(alpha_gradient_clip=1e-6)
    architect.step(batch(1), batch(2), RATE)
    assert flat([p.grad for p in architect.parameters]).norm() == pytest.approx(1e-6, rel=1e-4)
