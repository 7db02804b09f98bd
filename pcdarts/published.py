"""Cells printed in papers, as data.  `pcdarts.genotype.PUBLISHED` holds their genotypes.

Sources: Xu et al., PC-DARTS (ICLR 2020); Liu et al., DARTS (ICLR 2019); Zoph et al., NASNet (CVPR 2018); Real et al.,
AmoebaNet (AAAI 2019).
"""

from typing import Any


def _cell(text: str) -> list[tuple[str, int]]:
    return [(operation, int(source)) for operation, source in (pair.split(",") for pair in text.split())]


_ALL = range(2, 6)
CELLS: dict[str, dict[str, Any]] = {
    "PC_DARTS_cifar": {
        "normal": _cell(
            "sep_conv_3x3,1 skip_connect,0 sep_conv_3x3,0 dil_conv_3x3,1 "
            "sep_conv_5x5,0 sep_conv_3x3,1 avg_pool_3x3,0 dil_conv_3x3,1"
        ),
        "normal_concat": _ALL,
        "reduce": _cell(
            "sep_conv_5x5,1 max_pool_3x3,0 sep_conv_5x5,1 sep_conv_5x5,2 "
            "sep_conv_3x3,0 sep_conv_3x3,3 sep_conv_3x3,1 sep_conv_3x3,2"
        ),
        "reduce_concat": _ALL,
    },
    "PC_DARTS_image": {
        "normal": _cell(
            "skip_connect,1 sep_conv_3x3,0 sep_conv_3x3,0 skip_connect,1 "
            "sep_conv_3x3,1 sep_conv_3x3,3 sep_conv_3x3,1 dil_conv_5x5,4"
        ),
        "normal_concat": _ALL,
        "reduce": _cell(
            "sep_conv_3x3,0 skip_connect,1 dil_conv_5x5,2 max_pool_3x3,1 "
            "sep_conv_3x3,2 sep_conv_3x3,1 sep_conv_5x5,0 sep_conv_3x3,3"
        ),
        "reduce_concat": _ALL,
    },
    "DARTS_V1": {
        "normal": _cell(
            "sep_conv_3x3,1 sep_conv_3x3,0 skip_connect,0 sep_conv_3x3,1 "
            "skip_connect,0 sep_conv_3x3,1 sep_conv_3x3,0 skip_connect,2"
        ),
        "normal_concat": _ALL,
        "reduce": _cell(
            "max_pool_3x3,0 max_pool_3x3,1 skip_connect,2 max_pool_3x3,0 "
            "max_pool_3x3,0 skip_connect,2 skip_connect,2 avg_pool_3x3,0"
        ),
        "reduce_concat": _ALL,
    },
    "DARTS_V2": {
        "normal": _cell(
            "sep_conv_3x3,0 sep_conv_3x3,1 sep_conv_3x3,0 sep_conv_3x3,1 "
            "sep_conv_3x3,1 skip_connect,0 skip_connect,0 dil_conv_3x3,2"
        ),
        "normal_concat": _ALL,
        "reduce": _cell(
            "max_pool_3x3,0 max_pool_3x3,1 skip_connect,2 max_pool_3x3,1 "
            "max_pool_3x3,0 skip_connect,2 skip_connect,2 max_pool_3x3,1"
        ),
        "reduce_concat": _ALL,
    },
    "NASNet": {
        "normal": _cell(
            "sep_conv_5x5,1 sep_conv_3x3,0 sep_conv_5x5,0 sep_conv_3x3,0 avg_pool_3x3,1 "
            "skip_connect,0 avg_pool_3x3,0 avg_pool_3x3,0 sep_conv_3x3,1 skip_connect,1"
        ),
        "normal_concat": range(2, 7),
        "reduce": _cell(
            "sep_conv_5x5,1 sep_conv_7x7,0 max_pool_3x3,1 sep_conv_7x7,0 avg_pool_3x3,1 "
            "sep_conv_5x5,0 skip_connect,3 avg_pool_3x3,2 sep_conv_3x3,2 max_pool_3x3,1"
        ),
        "reduce_concat": range(4, 7),
    },
    "AmoebaNet": {
        "normal": _cell(
            "avg_pool_3x3,0 max_pool_3x3,1 sep_conv_3x3,0 sep_conv_5x5,2 sep_conv_3x3,0 "
            "avg_pool_3x3,3 sep_conv_3x3,1 skip_connect,1 skip_connect,0 avg_pool_3x3,1"
        ),
        "normal_concat": range(4, 7),
        "reduce": _cell(
            "avg_pool_3x3,0 sep_conv_3x3,1 max_pool_3x3,0 sep_conv_7x7,2 sep_conv_7x7,0 "
            "avg_pool_3x3,1 max_pool_3x3,0 max_pool_3x3,1 conv_7x1_1x7,0 sep_conv_3x3,5"
        ),
        "reduce_concat": (3, 4, 6),
    },
}
"""Fields of a genotype by name: operations as `operation,input` pairs, two for each node."""
