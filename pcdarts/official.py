"""State dicts of the official PC-DARTS code: read into a `Supernet`, and written.

Layout: `model_search.Network` and `model_search_imagenet.Network` of github.com/yuhuixu1993/PC-DARTS.  Alpha and beta
are not in its state dict; they come and go beside it, under the names that they have there.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from pcdarts.config import SearchConfig
from pcdarts.supernet import Supernet

RENAMES = (
    (r"^stem\.([01])\.(\d)\.", r"stem\1.\2."),
    (r"(preprocess[01])\.(\d)\.", r"\1.op.\2."),
    (r"\.edges\.(\d+)\.operations\.", r"._ops.\1._ops."),
    (r"(_ops\.\d+\._ops\.[4-7])\.0\.", r"\1.op."),
    (r"\.even\.", ".conv_1."),
    (r"\.odd\.", ".conv_2."),
    (r"\.norm\.", ".bn."),
)
"""Patterns that turn a name of `Supernet.state_dict` into the official one; second stages follow below."""
SIZES = ("cells.0.preprocess1.op.1.weight", "cells.0._ops.0._ops.4.op.1.weight", "classifier.weight")
"""What the channels, the sampled channels and the classes are read from."""


def supernet_from_official(state_dict: Mapping[str, Tensor], arch: Mapping[str, Tensor]) -> Supernet:
    """The super-network of an official state dict, with `arch` as alphas_normal, alphas_reduce and two betas.

    Channels, layers, k, classes and stem are read off the shapes.  Raises ValueError, with the keys that are missing,
    unexpected or misshapen, where the state dict or `arch` is not an official one.
    """
    stem: Literal["cifar", "imagenet"] = "imagenet" if any(key.startswith("stem0.") for key in state_dict) else "cifar"
    first = "stem0.0.weight" if stem == "imagenet" else "stem.0.weight"
    missing = [key for key in (*SIZES, first) if key not in state_dict]
    if missing:
        raise ValueError(f"This is not an official state dict: missing {', '.join(missing)}")
    channels, sampled, classes = (state_dict[key].shape[0] for key in SIZES)
    layers = 1 + max(int(match[1]) for key in state_dict if (match := re.match(r"cells\.(\d+)\.", key)))
    if sampled == 0 or channels % sampled:
        raise ValueError(f"{SIZES[1]} has {sampled} channels, which do not divide the {channels} channels of a cell")
    config = SearchConfig(channels=channels, layers=layers, k=channels // sampled, stem=stem)
    supernet = Supernet(config, classes, state_dict[first].shape[1], generator=torch.Generator())
    supernet.to(state_dict[first].dtype)
    own = supernet.state_dict()
    names = {_official_name(name): name for name in own if not name.startswith("architecture.")}
    names |= {name.removeprefix("architecture."): name for name in own if name.startswith("architecture.")}
    given = {**state_dict, **arch}
    wrong = {
        "missing": [key for key in names if key not in given],
        "unexpected": [key for key in given if key not in names],
        "misshapen": [
            f"{key} {tuple(given[key].shape)} instead of {tuple(own[name].shape)}"
            for key, name in names.items()
            if key in given and given[key].shape != own[name].shape
        ],
    }
    if any(wrong.values()):
        problems = "; ".join(f"{kind}: {', '.join(keys)}" for kind, keys in wrong.items() if keys)
        raise ValueError(f"This is not an official state dict with its alphas and betas. {problems}")
    supernet.load_state_dict({name: given[key] for key, name in names.items()})
    return supernet


def to_official(supernet: Supernet) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Copies of the weights in the official layout, and of alpha and beta.

    Raises ValueError for a super-network with options that the official code lacks: it would compute something else.
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
    weights = {_official_name(name): v for name, v in state.items() if not name.startswith("architecture.")}
    return weights, arch


def _official_name(name: str) -> str:
    """`Supernet`'s name of a weight or buffer to the official one."""
    second_stage = re.match(r"(cells\.\d+)\.edges\.(\d+)\.operations\.([45])\.1\.(\d)\.(.*)", name)
    if second_stage:
        cell, edge, operation, layer, rest = second_stage.groups()
        return f"{cell}._ops.{edge}._ops.{operation}.op.{int(layer) + 4}.{rest}"
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name
