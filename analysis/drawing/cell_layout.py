"""Layered layout of a cell: positions of its nodes, labels and edges.

A node's column is its longest path from the inputs.  Each intermediate node forms a block with the labels of its two
operations, and an edge that skips columns gets a lane in each of them, so that labels never overlap and no edge crosses
a block (Sugiyama, Tagawa, Toda: Methods for Visual Understanding of Hierarchical System Structures, 1981).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pcdarts.genotype import INPUTS

Point = tuple[float, float]

LABEL_WIDTH, LABEL_HEIGHT, LABEL_GAP = 96.0, 22.0, 6.0
NODE_SIZE, PORT_WIDTH, STEM = 28.0, 58.0, 20.0
COLUMN_GAP, ROW_GAP, LANE_HEIGHT, MARGIN = 56.0, 20.0, 6.0, 8.0
BLOCK_WIDTH = LABEL_WIDTH + STEM + NODE_SIZE
BLOCK_HEIGHT = 2 * LABEL_HEIGHT + LABEL_GAP
KINDS = {
    "conv": "convolution",
    "dilated": "dilated convolution",
    "pool": "pooling",
    "skip": "skip connection",
    "other": "other",
}
"""Kinds of operations, which set a label's color, and their names."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle; x and y are its upper left corner, in pixels."""

    x: float
    """Left edge."""
    y: float
    """Upper edge."""
    width: float
    """Width."""
    height: float
    """Height."""

    @property
    def middle(self) -> float:
        """Height of the center line."""
        return self.y + self.height / 2


@dataclass(frozen=True, kw_only=True)
class Node:
    """An input, an intermediate node or the output of a cell."""

    name: str
    """Text: c_{k-2}, c_{k-1}, the node's number, or c_{k}."""
    box: Box
    """Position."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """An operation: the label between an edge and the node that it enters."""

    operation: str
    """Name of the operation."""
    kind: str
    """One of KINDS."""
    source: int
    """Node that the operation reads."""
    target: int
    """Node that adds it up."""
    box: Box
    """Position."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A line from a node's right side to a label, from a label to its node, or from a node to the output."""

    points: tuple[Point, ...]
    """Start, ends of the lanes on the way, end: curves between columns and straight lines within."""


@dataclass(frozen=True, kw_only=True)
class CellLayout:
    """Positions in pixels, x to the right and y down."""

    width: float
    """Width of the drawing."""
    height: float
    """Height of the drawing."""
    nodes: tuple[Node, ...]
    """Nodes in their order in the genotype, the output last."""
    labels: tuple[Label, ...]
    """Operations in their order in the genotype."""
    edges: tuple[Edge, ...]
    """All lines."""
    concat: tuple[int, ...]
    """Nodes whose outputs are concatenated."""


def layout(cell: Sequence[tuple[str, int]], concat: Sequence[int]) -> CellLayout:
    """Place a genotype's cell of (operation, input node) pairs whose output concatenates the nodes `concat`."""
    count = INPUTS + len(cell) // 2
    output = count
    sources = {node: [cell[2 * (node - INPUTS) + i][1] for i in range(2)] for node in range(INPUTS, count)}
    sources[output] = list(concat)
    depth = _depths(sources)
    # A column holds nodes, and lanes for edges that pass: (node, column) names both, as one node's edges share a lane.
    columns: list[list[int]] = [
        [node for node in depth if depth[node] == column] for column in range(depth[output] + 1)
    ]
    for node in depth:
        farthest = max((depth[target] for target, reads in sources.items() if node in reads), default=0)
        for column in range(depth[node] + 1, farthest):
            columns[column].append(node)
    middles = _middles(columns, sources, depth)
    top = min(y - _height(n, c, depth) / 2 for (n, c), y in middles.items()) - MARGIN
    bottom = max(y + _height(n, c, depth) / 2 for (n, c), y in middles.items()) + MARGIN
    middles = {item: y - top for item, y in middles.items()}

    lefts = [MARGIN, *(MARGIN + PORT_WIDTH + COLUMN_GAP + i * (BLOCK_WIDTH + COLUMN_GAP) for i in range(depth[output]))]
    nodes = tuple(_node(node, output, lefts[depth[node]], middles[node, depth[node]]) for node in depth)

    def route(source: int, end: Point, column: int) -> Edge:
        box = nodes[source].box
        points = [(box.x + box.width, box.middle)]
        for passed in range(depth[source] + 1, column):
            y = middles[source, passed]
            points += [(lefts[passed], y), (lefts[passed] + BLOCK_WIDTH, y)]
        return Edge(points=(*points, end))

    labels, edges = [], []
    for node in range(INPUTS, count):
        column, box = depth[node], nodes[node].box
        pairs = [cell[2 * (node - INPUTS)], cell[2 * (node - INPUTS) + 1]]
        heights = [middles[source, column - 1] for _, source in pairs]
        for position, (operation, source) in enumerate(pairs):
            row = position if heights[0] <= heights[1] else 1 - position  # the upper source takes the upper label
            y = box.middle - BLOCK_HEIGHT / 2 + row * (LABEL_HEIGHT + LABEL_GAP)
            place = Box(x=lefts[column], y=y, width=LABEL_WIDTH, height=LABEL_HEIGHT)
            labels.append(Label(operation=operation, kind=kind(operation), source=source, target=node, box=place))
            edges.append(route(source, (place.x, place.middle), column))
            edges.append(Edge(points=((place.x + LABEL_WIDTH, place.middle), (box.x, box.middle))))
    port = nodes[output].box
    edges += [route(source, (port.x, port.middle), depth[output]) for source in concat]
    return CellLayout(
        width=port.x + port.width + MARGIN,
        height=bottom - top,
        nodes=nodes,
        labels=tuple(labels),
        edges=tuple(edges),
        concat=tuple(concat),
    )


def kind(operation: str) -> str:
    """Kind of an operation, one of KINDS."""
    for prefix, name in (("dil_conv", "dilated"), ("sep_conv", "conv"), ("conv", "conv"), ("skip", "skip")):
        if operation.startswith(prefix):
            return name
    return "pool" if "_pool_" in operation else "other"


def _depths(sources: dict[int, list[int]]) -> dict[int, int]:
    depth = dict.fromkeys(range(INPUTS), 0)
    for node in sources:  # the output comes last
        depth[node] = 1 + max(depth[source] for source in sources[node])
    output = max(sources)
    depth[output] = 1 + max(depth.values())  # behind nodes that it does not read, too
    return depth


def _height(node: int, column: int, depth: dict[int, int]) -> float:
    if depth[node] != column:
        return LANE_HEIGHT
    return NODE_SIZE if column == 0 else BLOCK_HEIGHT


def _middles(
    columns: list[list[int]], sources: dict[int, list[int]], depth: dict[int, int]
) -> dict[tuple[int, int], float]:
    """Vertical center of each (node, column): as close to its inputs as the order allows."""
    middles: dict[tuple[int, int], float] = {}
    for column, members in enumerate(columns):
        wanted = {}
        for node in members:
            before = [node] if depth[node] < column else sources.get(node, [])
            known = [middles[source, column - 1] for source in before]
            wanted[node] = sum(known) / len(known) if known else 0.0
        order = sorted(members, key=lambda node: (wanted[node], depth[node] == column, node))
        places: list[float] = []
        for index, node in enumerate(order):
            gap = 0.0
            if index:
                gap = (_height(order[index - 1], column, depth) + _height(node, column, depth)) / 2 + ROW_GAP
            places.append(max(wanted[node], places[-1] + gap) if places else wanted[node])
        shift = sum(wanted[node] - y for node, y in zip(order, places, strict=True)) / len(order)
        middles |= {(node, column): y + shift for node, y in zip(order, places, strict=True)}
    return middles


def _node(node: int, output: int, left: float, middle: float) -> Node:
    if node < INPUTS or node == output:
        name, width = "c_{k}" if node == output else f"c_{{k-{INPUTS - node}}}", PORT_WIDTH
    else:
        name, width, left = str(node), NODE_SIZE, left + BLOCK_WIDTH - NODE_SIZE
    return Node(name=name, box=Box(x=left, y=middle - NODE_SIZE / 2, width=width, height=NODE_SIZE))
