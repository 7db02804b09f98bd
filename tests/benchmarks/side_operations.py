"""Cost of the super-network on CIFAR-10 by side operation, sampling rate and down-sampling, as in docs/method.md.

    python -m tests.benchmarks.side_operations

Nothing is trained or timed: layers are counted, which takes a minute.
"""

from typing import get_args, get_type_hints

from pcdarts.complexity import supernet_complexity
from pcdarts.config import SearchConfig

RATES = (4, 8, 16)
STRIDES = (1, 2)


def table() -> str:
    """Million multiply-adds, and weights, in Markdown."""
    columns = [f"K = {k}{', down-sampled' if stride == 2 else ''}" for stride in STRIDES for k in RATES]
    head = ["`side_operation`", *columns, *(f"weights, K = {k}" for k in RATES)]
    lines = [_row(head), "|---|" + "---:|" * (len(head) - 1)]
    for name in get_args(get_type_hints(SearchConfig)["side_operation"]):
        costs = [
            supernet_complexity(SearchConfig(k=k, side_operation=name, spatial_stride=stride))
            for stride in STRIDES
            for k in RATES
        ]
        macs, weights = [f"{cost.macs / 1e6:.1f}" for cost in costs], [f"{cost.parameters:,}" for cost in costs]
        lines.append(_row([f"`{name}`", *macs, *weights[: len(RATES)]]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table())
