"""The official state-dict layout: a round trip, errors, and the official code itself where a checkout is given."""

import importlib
import io
import sys

import pytest
import torch
from torch.nn import functional

from pcdarts.config import SearchConfig
from pcdarts.fast.fast_supernet import FastSupernet
from pcdarts.genotype import PUBLISHED, Genotype
from pcdarts.network import CellNetwork
from pcdarts.official import (
    network_from_official,
    network_to_official,
    supernet_from_official,
    supernet_to_official,
    to_official,
)
from pcdarts.supernet import Supernet


def make(**values):
    config = SearchConfig(**({"channels": 4, "layers": 3, "k": 2} | values))
    return Supernet(config, 5, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("values", [{}, {"k": 4, "layers": 4}, {"stem": "imagenet"}, {"k": 1, "channels": 8}])
def test_a_round_trip_gives_the_same_network_with_sizes_read_off_the_shapes(values):
    supernet = make(**values)
    again = supernet_from_official(*supernet_to_official(supernet))
    state = again.state_dict()
    for name, value in supernet.state_dict().items():
        assert torch.equal(state[name], value), name
    size = 64 if values.get("stem") == "imagenet" else 8
    images = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again.eval()(images), supernet.eval()(images))


def test_the_layout_is_the_official_one():
    state, arch = supernet_to_official(make())
    assert "cells.0._ops.5._ops.5.op.1.weight" in state and "cells.1.preprocess0.op.1.weight" in state
    assert set(arch) == {"alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce"}


def test_missing_unexpected_and_misshapen_keys_are_listed():
    state, arch = supernet_to_official(make())
    del state["cells.0._ops.5._ops.5.op.1.weight"]
    state["extra"] = torch.zeros(1)
    arch["betas_normal"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"missing: cells\.0\._ops\.5.*unexpected: extra.*misshapen: betas_normal"):
        supernet_from_official(state, arch)
    with pytest.raises(ValueError, match="not an official state dict"):
        supernet_from_official({}, {})


def test_options_that_the_official_code_lacks_are_refused():
    with pytest.raises(ValueError, match="spatial_stride"):
        supernet_to_official(make(spatial_stride=2))
    with pytest.raises(ValueError, match="no such space"):
        supernet_to_official(make(space="s2"))


FIGURES = {
    "cifar": [
        1.9238262110850037,
        0.2272122557267948,
        0.22469475294921037,
        0.3474168601015683,
        0.4715625879064862,
        15.322475352896186,
    ],
    "imagenet": [
        1.794768612376525,
        0.4919434694998511,
        0.2874721517965422,
        0.9681423260803996,
        0.3520944637584838,
        62.42529321537889,
    ],
}
"""Loss, norms of the gradients of both alphas and both betas, and of all weights, as the official code gave them."""


def closed_form(shape, offset):
    """Values that need no generator: 0.3 sin(1 + offset), 0.3 sin(2 + offset), ..."""
    count = torch.Size(shape).numel()
    return 0.3 * torch.sin(torch.arange(1, count + 1, dtype=torch.float64) + offset).view(shape)


@pytest.mark.parametrize("implementation", [Supernet, FastSupernet])
@pytest.mark.parametrize(("stem", "k", "size"), [("cifar", 4, 12), ("imagenet", 2, 64)])
def test_figures_that_the_official_code_gave(stem, k, size, implementation):
    config = SearchConfig(channels=8, layers=3, k=k, stem=stem)
    supernet = implementation(config, 5, generator=torch.Generator()).double()
    state, arch = supernet_to_official(supernet)
    weights = sorted(name for name in state if name.endswith(("weight", "bias")))
    for offset, name in enumerate([*weights, *sorted(arch)]):
        values = state if name in state else arch
        values[name] = closed_form(values[name].shape, offset)
    supernet.load_state_dict(supernet_from_official(state, arch).state_dict())
    loss = functional.cross_entropy(supernet(closed_form((3, 3, size, size), 0.5)), torch.arange(3))
    loss.backward()
    gradients = [p.grad.norm() for _, p in sorted(supernet.architecture.named_parameters())]
    gradients.append(torch.stack([p.grad.norm() for p in supernet.weights().values()]).norm())
    assert [loss.item(), *(norm.item() for norm in gradients)] == pytest.approx(FIGURES[stem], rel=1e-9)


def test_the_official_code_computes_the_same(request, monkeypatch):
    folder = request.config.getoption("--official")
    if not folder:
        pytest.skip("needs a checkout of the official code: --official DIR")
    monkeypatch.syspath_prepend(folder)
    for kind in (torch.Tensor, torch.nn.Module):
        monkeypatch.setattr(kind, "cuda", lambda self, *a, **k: self)
    official = importlib.import_module("model_search")
    try:
        ours = make(channels=16, layers=3, k=4)
        theirs = official.Network(16, 5, 3, torch.nn.CrossEntropyLoss()).double()
        state, arch = supernet_to_official(ours)
        theirs.load_state_dict(state)
        for name, value in arch.items():
            getattr(theirs, name).data = value
        generator = torch.Generator().manual_seed(2)
        images = torch.randn(4, 3, 16, 16, dtype=torch.float64, generator=generator)
        labels = torch.randint(5, (4,), generator=generator)
        losses = [functional.cross_entropy(network(images), labels) for network in (ours, theirs)]
        for loss in losses:
            loss.backward()
        assert torch.allclose(*losses, rtol=1e-9, atol=0)
        for name in arch:
            expected, actual = getattr(theirs, name).grad, getattr(ours.architecture, name).grad
            assert (actual - expected).abs().max() <= 1e-9 * expected.abs().max(), name
        state, _ = supernet_to_official(ours)
        for name, value in theirs.state_dict().items():
            assert torch.allclose(state[name], value, rtol=1e-9, atol=1e-12), name  # running statistics
        assert torch.allclose(ours.eval()(images), theirs.eval()(images), rtol=1e-9)
    finally:
        for name in ("model_search", "operations", "genotypes"):
            sys.modules.pop(name, None)


SIZES = {"channels": 8, "layers": 4, "classes": 5}
CELLS = {
    "cifar": "PC_DARTS_cifar",
    "imagenet": "AmoebaNet",
}  # AmoebaNet: 7x1 convolutions, a list of nodes to concatenate


def network(stem, auxiliary=True, **values):
    sizes = SIZES | {"stem": stem, "auxiliary": auxiliary} | values
    return CellNetwork(PUBLISHED[CELLS[stem]], **sizes, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("auxiliary", [True, False])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_a_network_makes_a_round_trip(stem, auxiliary):
    ours = network(stem, auxiliary, image_channels=1 if auxiliary else 3)
    again = network_from_official(network_to_official(ours), PUBLISHED[CELLS[stem]])
    state = again.state_dict()
    assert state.keys() == ours.state_dict().keys()
    for name, value in ours.state_dict().items():
        assert state[name].dtype == value.dtype and torch.equal(state[name], value), name
        assert state[name].data_ptr() != value.data_ptr()


def test_the_layout_of_a_network_is_the_official_one():
    assert {
        "cells.3._ops.5.op.1.weight",
        "cells.0._ops.0.op.7.running_mean",
        "cells.2.preprocess0.conv_2.weight",
    } < set(network_to_official(network("cifar")))
    keys = network_to_official(network("imagenet"))
    assert {
        "stem0.3.weight",
        "stem1.2.bias",
        "auxiliary_head.features.5.weight",
        "auxiliary_head.classifier.bias",
    } < set(keys)


def wrapped(state, prefix):
    return {f"{prefix}{key}": value for key, value in state.items()}


def compiled_cells(state):
    return {key.replace("cells.0.", "cells.0._orig_mod."): value for key, value in state.items()}


def counted(state):
    """The state dict after thop has counted: buffers in every module."""
    modules = {""} | {f"{key.rpartition('.')[0]}." for key in state}
    return state | {f"{module}{name}": torch.zeros(1) for module in modules for name in ("total_ops", "total_params")}


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)


def whole(key):
    """A checkpoint of a whole training, as the official ImageNet scripts write it."""
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(1)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    alphas = {"alphas_normal": torch.zeros(14, 8)}
    return lambda state: {"epoch": 3, key: state, "best_acc_top1": 0.9, "optimizer": optimizer, "arch": alphas}


@pytest.mark.parametrize(
    "form",
    [
        *(whole(key) for key in ("state_dict", "model", "net", "model_state_dict")),
        lambda state: wrapped(state, "module."),
        lambda state: wrapped(state, "_orig_mod."),
        lambda state: wrapped(state, "module._orig_mod."),
        lambda state: wrapped(state, "_orig_mod.module."),
        compiled_cells,
        counted,
        lambda state: whole("state_dict")(wrapped(counted(state), "_orig_mod.module.")),
        lambda state: {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")},
    ],
)
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_checkpoints_are_read_as_people_have_them(stem, form):
    ours, genotype = network(stem), PUBLISHED[CELLS[stem]]
    again = network_from_official(saved(form(network_to_official(ours))), genotype).state_dict()
    assert again.keys() == ours.state_dict().keys()
    assert all(torch.equal(again[name], value) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_half_precision_and_the_old_file_format_are_kept(options):
    state = network_to_official(network("cifar").half())
    again = network_from_official(saved(state, **options), PUBLISHED["PC_DARTS_cifar"])
    assert {weight.dtype for weight in again.parameters()} == {torch.float16}
    assert all(torch.equal(value, state[name]) for name, value in network_to_official(again).items())


def test_a_whole_checkpoint_of_a_super_network_is_read():
    supernet = make()
    state, arch = supernet_to_official(supernet)
    checkpoint = whole("state_dict")(wrapped(counted(state), "module."))
    again = supernet_from_official(saved(checkpoint), arch).state_dict()
    assert all(torch.equal(again[name], value) for name, value in supernet.state_dict().items())


def test_checkpoints_that_can_be_read_in_two_ways_are_refused():
    state, genotype = network_to_official(network("cifar")), PUBLISHED["PC_DARTS_cifar"]
    with pytest.raises(ValueError, match="several state dicts, state_dict, ema; pass one of these entries"):
        network_from_official({"state_dict": state, "epoch": 3, "ema": wrapped(state, "module.")}, genotype)
    with pytest.raises(ValueError, match=r"holds classifier\.bias twice, also as module\.classifier\.bias; remove"):
        network_from_official({**state, "module.classifier.bias": torch.zeros(5)}, genotype)


def test_what_is_wrong_with_the_state_dict_of_a_network_is_listed():
    state, genotype = network_to_official(network("cifar")), PUBLISHED["PC_DARTS_cifar"]
    wrong = {**state, "extra": torch.zeros(1), "classifier.bias": torch.zeros(3)}
    del wrong["cells.3._ops.5.op.1.weight"]
    with pytest.raises(ValueError) as error:
        network_from_official(wrong, genotype)
    assert str(error.value) == (
        "This is not an official state dict of a network with these cells. missing: cells.3._ops.5.op.1.weight; "
        "unexpected: extra; misshapen: classifier.bias (3,) instead of (5,)"
    )
    with pytest.raises(ValueError, match=r"missing: .* and \d+ more; unexpected: .* and \d+ more"):
        network_from_official(state, PUBLISHED["PC_DARTS_image"])
    without = {key: value for key, value in state.items() if not key.startswith("cells.1.")}
    with pytest.raises(ValueError, match=r"cells: missing|missing: cells\.1\.preprocess0"):
        network_from_official(without, genotype)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "missing: stem.0.weight, cells.0.preprocess1.op.1.weight, classifier.weight"),
        ({"conv1.weight": torch.zeros(1)}, "unexpected: conv1.weight"),
        ({"epoch": 3, "state_dict": {}}, "epoch, state_dict are neither tensors nor"),
        ({"epoch": 3, "state_dict": {"conv1.weight": torch.zeros(1)}}, "epoch, state_dict are neither tensors nor"),
        ({"state_dict": {"stem.0.weight": 3}}, "stem.0.weight are neither tensors nor"),
        (torch.nn.Linear(1, 1), r"This is a Linear, but must be a state dict; pass its state_dict\(\)"),
        ({"stem.0.weight": 3}, "stem.0.weight are neither tensors nor"),
        ({"classifier.weight": torch.zeros(3)}, r"misshapen: classifier.weight \(3,\) instead of 2 dimensions"),
    ],
)
def test_other_files_are_refused(state, message):
    with pytest.raises(ValueError, match=message):
        network_from_official(state, PUBLISHED["PC_DARTS_cifar"])
    huge = network_to_official(network("cifar")) | {"cells.99999999.preprocess1.op.1.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match="it has cells.99999999, but only"):
        network_from_official(huge, PUBLISHED["PC_DARTS_cifar"])


def test_noise_cannot_be_written_for_the_official_code():
    noise = Genotype([("noise", 0), ("noise", 1)], [2], [("noise", 0), ("noise", 1)], [2])
    with pytest.raises(ValueError, match="no operation noise"):
        network_to_official(CellNetwork(noise, **SIZES))


NETWORK_FIGURES = {
    "cifar": [
        -2.649628604578628,
        1.6226589242963056,
        0.30954947378228903,
        -1.4831695946517613,
        2.4515074434880675,
        -2.6420406136598613,
        1.416152905543648,
        0.5881357980536908,
        -1.662726176162604,
        2.4217491294709275,
        -3.0340805004417257,
        1.4428067696943905,
        0.9432389826194001,
        -2.1814790661855974,
        2.785529365117104,
        10.148017116072863,
        10.874558483390695,
        -7.3274684538857,
        -12.584596289044237,
        4.138056315031649,
        9.182362583510065,
        10.982753027152155,
        -6.3360375934452335,
        -12.456591796899643,
        3.1771213155156284,
        13.49794161533376,
        8.960545608384303,
        -11.133388437882095,
        -11.577307893600791,
        8.183953242833681,
        -1.1310863955575186,
        4.531092690862668,
        -5.239475945609542,
        3.2981896964326594,
        1.3745651110967831,
        -1.126687916904973,
        4.52911361674824,
        -5.2411318398917714,
        3.3024634950064855,
        1.3702984110279484,
        -1.1275740685281748,
        4.528894419059704,
        -5.239941925943447,
        3.3010337198885447,
        1.3710898674906369,
    ],
    "imagenet": [
        0.17093087359294715,
        -3.9627002291867863,
        0.8267186233360719,
        3.422738072128557,
        -1.8906252547574622,
        0.3936034055057467,
        -3.8988663744437506,
        0.5810109492407369,
        3.447570509448099,
        -1.6538786363072426,
        -0.1262406635970567,
        -3.483363961203265,
        0.9509164441385194,
        2.898583666928318,
        -1.82567624590355,
        0.25479160243097615,
        0.23245853923823442,
        0.030377289846747153,
        -0.18955911007244963,
        -0.2667889235600572,
        0.33383859679181893,
        0.2105409664406956,
        -0.05389135916571629,
        -0.18771774676974817,
        -0.1820815871370992,
        0.2908470492862286,
        0.3005102831235194,
        0.010534528049824111,
        -0.26233820449034195,
        -0.26428509342397083,
        0.8617182228044028,
        -5.4276432355546085,
        0.6645719237741694,
        4.946193482202421,
        -2.278234043424681,
        0.8616889593211613,
        -5.427646963809997,
        0.6646025326390044,
        4.946186164915342,
        -2.2782620117667216,
        0.8621108687403461,
        -5.427810369854862,
        0.6642395900720015,
        4.946480542741069,
        -2.2780052986464376,
    ],
}
"""Logits of three images in training, of the auxiliary head, and in evaluation mode, as the official code gave them."""


def filled(state):
    """The state dict with closed forms for values: small weights, variances above 0."""
    values = {}
    for offset, (name, value) in enumerate(sorted(state.items())):
        values[name] = closed_form(value.shape, offset) if value.is_floating_point() else value
        if name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
            values[name] = values[name] + 1
    return values


def figures(logits, auxiliary, evaluated):
    return torch.cat([logits, auxiliary, evaluated]).flatten().tolist()


@pytest.mark.parametrize(("stem", "size"), [("cifar", 32), ("imagenet", 224)])
def test_logits_that_the_official_networks_gave(stem, size):
    state = filled(network_to_official(network(stem)))
    ours = network_from_official(state, PUBLISHED[CELLS[stem]])
    images = closed_form((3, 3, size, size), 0.5)
    logits, auxiliary = ours.forward_with_auxiliary(images)
    evaluated = ours.eval()(images)
    expected = NETWORK_FIGURES[stem]
    assert figures(logits, auxiliary, evaluated) == pytest.approx(expected, rel=1e-10, abs=1e-10)
    plain = {key: value for key, value in state.items() if not key.startswith("auxiliary_head.")}
    assert torch.equal(network_from_official(plain, PUBLISHED[CELLS[stem]]).train()(images), logits)


@pytest.mark.parametrize(("stem", "size"), [("cifar", 32), ("imagenet", 224)])
def test_the_official_networks_compute_the_same(stem, size, request, monkeypatch):
    folder = request.config.getoption("--official")
    if not folder:
        pytest.skip("needs a checkout of the official code: --official DIR")
    monkeypatch.syspath_prepend(folder)
    try:
        official, cells = importlib.import_module("model"), importlib.import_module("genotypes")
        kind = official.NetworkCIFAR if stem == "cifar" else official.NetworkImageNet
        genotype = getattr(cells, {"cifar": "PCDARTS", "imagenet": "AmoebaNet"}[stem])
        theirs = kind(SIZES["channels"], SIZES["classes"], SIZES["layers"], True, genotype).double()
        theirs.drop_path_prob = 0.0
        theirs.load_state_dict(filled(theirs.state_dict()))
        ours = network_from_official(theirs.state_dict(), Genotype.parse(repr(genotype)))
        images = closed_form((3, 3, size, size), 0.5)
        for mode in (True, False):
            expected, actual = theirs.train(mode)(images), ours.train(mode).forward_with_auxiliary(images)
            assert (actual[0] - expected[0]).abs().max() < 1e-10
            assert actual[1] is None if expected[1] is None else (actual[1] - expected[1]).abs().max() < 1e-10
        state = network_to_official(ours)
        for name, value in theirs.state_dict().items():
            assert torch.allclose(state[name], value, rtol=1e-10, atol=1e-12), name  # running statistics
    finally:
        for name in ("model", "operations", "genotypes", "utils"):
            sys.modules.pop(name, None)


def test_either_kind_of_network_is_written_by_one_name():
    supernet, cells = make(), network("cifar")
    weights, arch = to_official(supernet)
    assert list(weights) == list(supernet_to_official(supernet)[0]) and set(arch) == set(
        supernet_to_official(supernet)[1]
    )
    assert list(to_official(cells)) == list(network_to_official(cells))
