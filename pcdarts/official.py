"""State dicts of the official PC-DARTS code: conversion from and to `Supernet` and `CellNetwork`.

Layout: `model_search.Network`, `model_search_imagenet.Network`, `model.NetworkCIFAR` and `model.NetworkImageNet` of
github.com/yuhuixu1993/PC-DARTS.  Alpha and beta are not in the state dict of a super-network; they are passed
separately, under their official names.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor

from pcdarts.config import SearchConfig
from pcdarts.genotype import Genotype
from pcdarts.network import CellNetwork
from pcdarts.operations import Noise
from pcdarts.supernet import Supernet

SHARED_RENAMES = (
    (r"^stem\.([01])\.(\d)\.", r"stem\1.\2."),
    (r"(preprocess[01])\.(\d)\.", r"\1.op.\2."),
    (r"\.even\.", ".conv_1."),
    (r"\.odd\.", ".conv_2."),
    (r"\.norm\.", ".bn."),
)
"""Patterns that turn a name of `Supernet.state_dict` or `CellNetwork.state_dict` into the official one."""
SUPERNET_RENAMES = (
    (r"\.edges\.(\d+)\.operations\.", r"._ops.\1._ops."),
    (r"(_ops\.\d+\._ops\.[4-7])\.0\.", r"\1.op."),
    *SHARED_RENAMES,
)
"""The patterns for a super-network; second stages of separable convolutions follow below."""
NETWORK_RENAMES = (
    (r"\.operations\.(\d+)\.0\.(\d)\.", r"._ops.\1.op.\2."),
    (r"\.operations\.(\d+)\.", r"._ops.\1."),
    (r"^auxiliary_head\.(?:9|10)\.", "auxiliary_head.classifier."),
    (r"^auxiliary_head\.(\d)\.", r"auxiliary_head.features.\1."),
    *SHARED_RENAMES,
)
"""The patterns for a discrete network; second stages of separable convolutions follow below."""
SECOND_STAGE = re.compile(r"(cells\.\d+\.)(?:edges\.(\d+)\.)?operations\.(\d+)\.1\.(\d)\.(.*)")
"""The second half of a separable convolution: the official code numbers its layers from 4."""
OFFICIAL_KEY = re.compile(r"(stem|stem0|stem1|cells|auxiliary_head|classifier)\.")
"""Start of the keys of an official state dict."""
WRAPPERS = ("module", "_orig_mod")
"""Parts of keys that DataParallel and `torch.compile` add."""
COUNTS = ("total_ops", "total_params")
"""Buffers that thop adds to every module while it counts multiply-adds."""
LISTED = 6
"""Number of keys of one kind that an error message lists; the others are counted."""

Stem = Literal["cifar", "imagenet"]


def network_from_official(state_dict: Mapping[str, Any], genotype: Genotype) -> CellNetwork:
    """The discrete network of an official state dict, of `NetworkCIFAR` or `NetworkImageNet`.

    Channels, layers, classes, stem and auxiliary head follow from keys and shapes, the data type from the first weight.
    A whole checkpoint is accepted if only one of its entries holds official weights.  Keys may contain the `module.` of
    DataParallel and the `_orig_mod.` of `torch.compile`; the buffers of thop are left out, and all counters
    `num_batches_tracked` may be missing, as before PyTorch 0.4.1.  The network has no generator: set
    `network.generator` before training with drop-path.

    Raises ValueError, with the missing, unexpected or misshapen keys, if this is no official state dict of these cells,
    and with the names of the entries if a checkpoint has several state dicts.
    """
    state = _plain(state_dict)
    stem, first = _stem(state)
    sizes = {first: 4, "cells.0.preprocess1.op.1.weight": 4, "classifier.weight": 2}
    image_channels, channels, classes = _sizes(state, sizes, (1, 0, 0))
    with torch.device("meta"):
        network = CellNetwork(
            genotype,
            channels=channels,
            layers=_layers(state),
            classes=classes,
            image_channels=image_channels,
            stem=stem,
            auxiliary=any(key.startswith("auxiliary_head.") for key in state),
        )
    own = network.state_dict()
    names = {_network_name(name): name for name in own}
    state = _with_counters(state, names)
    what = "an official state dict of a network with these cells"
    _check(what, state, {key: own[name].shape for key, name in names.items()})
    network.to_empty(device=state[first].device).to(state[first].dtype)
    network.load_state_dict({name: state[key] for key, name in names.items()})
    return network


def network_to_official(network: CellNetwork) -> dict[str, Tensor]:
    """Copies of the weights in the official layout, including an auxiliary head.

    Raises ValueError for cells with the operation noise, which the official code does not have.
    """
    if any(isinstance(module, Noise) for module in network.modules()):
        raise ValueError("the official code has no operation noise, so these cells cannot be exported to it")
    return {_network_name(name): value.detach().clone() for name, value in network.state_dict().items()}


def supernet_from_official(state_dict: Mapping[str, Any], arch: Mapping[str, Tensor]) -> Supernet:
    """The super-network of an official state dict, with `arch` as alphas_normal, alphas_reduce and two betas.

    Channels, layers, k, classes and stem follow from the shapes.  `state_dict` may be what `network_from_official`
    accepts.

    Raises ValueError, with the missing, unexpected or misshapen keys, if the state dict or `arch` is not official.
    """
    state = _plain(state_dict)
    stem, first = _stem(state)
    mixed = "cells.0._ops.0._ops.4.op.1.weight"
    sizes = {first: 4, "cells.0.preprocess1.op.1.weight": 4, mixed: 4, "classifier.weight": 2}
    image_channels, channels, sampled, classes = _sizes(state, sizes, (1, 0, 0, 0))
    if channels % sampled:
        raise ValueError(f"{mixed} has {sampled} channels, which do not divide the {channels} channels of a cell")
    config = SearchConfig(channels=channels, layers=_layers(state), k=channels // sampled, stem=stem)
    supernet = Supernet(config, classes, image_channels, generator=torch.Generator())
    supernet.to(state[first].dtype)
    own = supernet.state_dict()
    names = {_supernet_name(name): name for name in own if not name.startswith("architecture.")}
    state = _with_counters(state, names)
    names |= {name.removeprefix("architecture."): name for name in own if name.startswith("architecture.")}
    given = {**state, **_plain(arch)}
    what = "an official state dict with its alphas and betas"
    _check(what, given, {key: own[name].shape for key, name in names.items()})
    supernet.load_state_dict({name: given[key] for key, name in names.items()})
    return supernet


def supernet_to_official(supernet: Supernet) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Copies of the weights in the official layout, and of alpha and beta.

    Raises ValueError for a super-network with options that the official code does not have.
    """
    cell: Any = supernet.cells[0]  # a Module's children are untyped
    edge: Any = cell.edges[0]
    options = {
        "space": supernet.space == "darts",
        "edge_normalization": supernet.edge_normalization,
        "channel_sampling": cell.sampling == "shuffle",
        "spatial_stride": edge.spatial_stride == 1,
        "side_operation": not list(edge.side.parameters()),
    }
    lacking = [name for name, official in options.items() if not official]
    if lacking:
        raise ValueError(f"The official code has no such {', '.join(lacking)}: only the defaults can be written")
    state = {name: value.detach().clone() for name, value in supernet.state_dict().items()}
    arch = {name.removeprefix("architecture."): v for name, v in state.items() if name.startswith("architecture.")}
    weights = {_supernet_name(name): v for name, v in state.items() if not name.startswith("architecture.")}
    return weights, arch


@overload
def to_official(network: CellNetwork) -> dict[str, Tensor]: ...
@overload
def to_official(network: Supernet) -> tuple[dict[str, Tensor], dict[str, Tensor]]: ...
def to_official(network: CellNetwork | Supernet) -> Any:
    """Call `network_to_official` or `supernet_to_official`, depending on the network."""
    return network_to_official(network) if isinstance(network, CellNetwork) else supernet_to_official(network)


def _plain(saved: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a state dict or checkpoint, without the traces of DataParallel, `torch.compile` and thop."""
    state: dict[str, Tensor] = {}
    for key, value in _state_dict(saved).items():
        name = _unwrapped(key)
        if name in state:
            raise ValueError(f"This state dict holds {name} twice, also as {key}; remove the keys of one network")
        if name.rpartition(".")[2] not in COUNTS:
            state[name] = value
    return state


def _state_dict(saved: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """A state dict as it is, or the only one in a whole checkpoint.  Raises ValueError if there is none or several."""
    if not isinstance(saved, Mapping):
        raise ValueError(f"This is a {type(saved).__name__}, but must be a state dict; pass its state_dict()")
    found = [str(key) for key, value in saved.items() if isinstance(value, Mapping) and _holds_official_keys(value)]
    if len(found) > 1:
        raise ValueError(f"This checkpoint has several state dicts, {_listed(found)}; pass one of these entries")
    state: Mapping[str, Any] = saved[found[0]] if found else saved
    others = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(
            f"This is not an official state dict: {_listed(others)} are neither tensors nor state dicts of its layout"
        )
    return state


def _holds_official_keys(state: Mapping[Any, object]) -> bool:
    return any(OFFICIAL_KEY.match(_unwrapped(str(key))) for key in state)


def _unwrapped(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def _stem(state: Mapping[str, Tensor]) -> tuple[Stem, str]:
    """The kind of stem, and the key of its first weight."""
    if any(key.startswith("stem0.") for key in state):
        return "imagenet", "stem0.0.weight"
    return "cifar", "stem.0.weight"


def _sizes(state: Mapping[str, Tensor], dimensions: Mapping[str, int], axes: Sequence[int]) -> list[int]:
    """The size of one axis of every named weight; raises ValueError if one is missing or has other dimensions."""
    problems = {
        "missing": [key for key in dimensions if key not in state],
        "unexpected": [key for key in state if not OFFICIAL_KEY.match(key)],
        "misshapen": [
            f"{key} {tuple(state[key].shape)} instead of {count} dimensions, none of them 0"
            for key, count in dimensions.items()
            if key in state and (state[key].ndim != count or 0 in state[key].shape)
        ],
    }
    if problems["missing"] or problems["misshapen"]:
        raise ValueError(f"This is not an official state dict. {_summary(problems)}")
    return [state[key].shape[axis] for key, axis in zip(dimensions, axes, strict=True)]


def _layers(state: Mapping[str, Tensor]) -> int:
    """Number of cells, from the highest index, so that a cell without any key is reported as missing."""
    layers = 1 + max(int(match[1]) for key in state if (match := re.match(r"cells\.(\d+)\.", key)))
    if layers > len(state):
        raise ValueError(f"This is not an official state dict: it has cells.{layers - 1}, but only {len(state)} keys")
    return layers


def _with_counters(state: dict[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """The state with all counters of batch norms set to 0 if it has none.  Nothing computes with them."""
    counters = [key for key in names if key.endswith("num_batches_tracked")]
    return state if any(key in state for key in counters) else state | dict.fromkeys(counters, torch.tensor(0))


def _check(what: str, given: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> None:
    """Raise ValueError if keys or shapes differ."""
    problems = {
        "missing": [key for key in shapes if key not in given],
        "unexpected": [key for key in given if key not in shapes],
        "misshapen": [
            f"{key} {tuple(given[key].shape)} instead of {tuple(shape)}"
            for key, shape in shapes.items()
            if key in given and given[key].shape != shape
        ],
    }
    if any(problems.values()):
        raise ValueError(f"This is not {what}. {_summary(problems)}")


def _summary(problems: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{kind}: {_listed(keys)}" for kind, keys in problems.items() if keys)


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(keys[:LISTED]) + more


def _supernet_name(name: str) -> str:
    """`Supernet`'s name of a weight or buffer to the official one."""
    return _renamed(name, SUPERNET_RENAMES)


def _network_name(name: str) -> str:
    """`CellNetwork`'s name of a weight or buffer to the official one."""
    return _renamed(name, NETWORK_RENAMES)


def _renamed(name: str, patterns: Sequence[tuple[str, str]]) -> str:
    second_stage = SECOND_STAGE.match(name)
    if second_stage:
        cell, edge, operation, layer, rest = second_stage.groups()
        place = f"_ops.{edge}._ops.{operation}" if edge else f"_ops.{operation}"
        return f"{cell}{place}.op.{int(layer) + 4}.{rest}"
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name
