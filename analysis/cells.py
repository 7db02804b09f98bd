"""Draw a cell: layered layout in numbers first, then inline SVG.

Nodes stand in columns by their longest path from the inputs.  Every intermediate node forms a block with the labels of
its two operations, so labels have places of their own; an edge that skips columns gets a lane in each of them, so no
edge crosses a block (Sugiyama, Tagawa, Toda: Methods for Visual Understanding of Hierarchical System Structures, 1981).
graphviz was tried and is not used: on the published cells its labels float between edges, so that one cannot tell which
operation is whose, and touch them; and a report would look different where it is not installed.
"""

import html
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
"""Kinds of operations, which set a label's colour, and their names."""
COLOURS = {"conv": "#2563a8", "dilated": "#7a4bb0", "pool": "#a8620b", "skip": "#2a7d4f", "other": "#666666"}
"""Colours where a page does not define the CSS variables --cell-conv, --cell-dilated, ..."""


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
        """Height of the centre line."""
        return self.y + self.height / 2

    def overlaps(self, other: "Box") -> bool:
        """Whether the two rectangles share more than an edge."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


@dataclass(frozen=True, kw_only=True)
class Node:
    """An input, an intermediate node or the output of a cell."""

    name: str
    """What is written in it: c_{k-2}, c_{k-1}, the node's number, or c_{k}."""
    box: Box
    """Where it stands."""


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
    """Where it stands."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A line from a node's right side to a label, from a label to its node, or from a node to the output."""

    points: tuple[Point, ...]
    """Start, ends of the lanes on the way, end: curves between columns and straight lines within."""


@dataclass(frozen=True, kw_only=True)
class CellLayout:
    """Where everything stands; pixels, x to the right and y down."""

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


def draw(layout: CellLayout, title: str, shares: Sequence[tuple[float, float]] | None = None) -> str:
    """SVG of a cell, to stand in an HTML page or in a file of its own.

    `shares` gives for every operation, in the order of the genotype, which share of several cells keeps its edge and
    which keeps it with this operation, 0 to 1: the one is written on the edge and sets its width, the other is how far
    the label is filled.

    Text takes the page's colour, labels the CSS variables --cell-conv, --cell-dilated, --cell-pool, --cell-skip and
    --cell-other.
    """
    width, height = _number(layout.width), _number(layout.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="cell" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="ui-sans-serif, system-ui, sans-serif" font-size="12">',
        f"<title>{html.escape(title)}</title>",
        f"<desc>{html.escape(describe(layout))}</desc>",
        '<g fill="none" stroke-width="1.4" style="stroke:var(--cell-line,#8a8a8a)">',
        *(f'<path d="{path(edge)}"{_stroke(index, shares)}/>' for index, edge in enumerate(layout.edges)),
        "</g>",
    ]
    for index, label in enumerate(layout.labels):
        colour = f"var(--cell-{label.kind},{COLOURS[label.kind]})"
        lines.append(_rectangle(label.box, 5, f"fill:{colour};fill-opacity:.13;stroke:{colour}"))
        if shares is None:
            lines.append(_text(label.box, html.escape(label.operation)))
        else:
            lines += _share(label, colour, *shares[index])
    for node in layout.nodes:
        lines.append(_rectangle(node.box, NODE_SIZE / 2, "fill:currentColor;fill-opacity:.06;stroke:currentColor"))
        lines.append(_text(node.box, _subscript(node.name)))
    return "\n".join([*lines, "</svg>"])


def describe(layout: CellLayout) -> str:
    """The cell in words, for those who cannot see the drawing."""
    sentences = []
    for node in sorted({label.target for label in layout.labels}):
        terms = [f"{o.operation} of {_name(layout, o.source)}" for o in layout.labels if o.target == node]
        sentences.append(f"Node {node} adds {' and '.join(terms)}.")
    read = ", ".join(map(str, layout.concat))
    return " ".join([*sentences, f"The output {layout.nodes[-1].name} concatenates the nodes {read}."])


def path(edge: Edge) -> str:
    """SVG path of an edge: S-curves with level ends between columns, straight lines along lanes."""
    pieces = [f"M{_number(edge.points[0][0])} {_number(edge.points[0][1])}"]
    for index, ((x0, y0), (x1, y1)) in enumerate(zip(edge.points, edge.points[1:], strict=False)):
        if index % 2:
            pieces.append(f"H{_number(x1)}")
        else:
            pieces.append("C" + " ".join(_number(v) for v in ((x0 + x1) / 2, y0, (x0 + x1) / 2, y1, x1, y1)))
    return "".join(pieces)


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
    """Height of every (node, column): as near to what it reads as the order allows, column after column."""
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


def _name(layout: CellLayout, node: int) -> str:
    return layout.nodes[node].name if node < INPUTS else f"node {node}"


def _rectangle(box: Box, radius: float, style: str) -> str:
    x, y, width, height = (_number(value) for value in (box.x, box.y, box.width, box.height))
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{_number(radius)}" style="{style}"/>'


def _text(box: Box, content: str) -> str:
    x, y = _number(box.x + box.width / 2), _number(box.middle + 4)
    return f'<text x="{x}" y="{y}" text-anchor="middle" fill="currentColor">{content}</text>'


def _share(label: Label, colour: str, edge: float, operation: float) -> list[str]:
    """A label that is filled as far as the operation's share, and the edge's share before it."""
    filled = Box(x=label.box.x, y=label.box.y, width=label.box.width * operation, height=label.box.height)
    told = f"{label.operation}: {100 * edge:.0f} % keep the edge, {100 * operation:.0f} % with this operation"
    # The halo of the paper's colour lets the number be read where it crosses a line.
    return [
        f"<g><title>{html.escape(told)}</title>",
        _rectangle(filled, 5, f"fill:{colour};fill-opacity:.3"),
        _text(label.box, html.escape(label.operation)),
        f'<text x="{_number(label.box.x - 5)}" y="{_number(label.box.middle + 4)}" text-anchor="end" font-size="11" '
        f'fill="currentColor" stroke-width="4" stroke-linejoin="round" paint-order="stroke" '
        f'style="stroke:var(--paper,#ffffff)">{100 * edge:.0f} %</text></g>',
    ]


def _stroke(index: int, shares: Sequence[tuple[float, float]] | None) -> str:
    """Width of a line; the first two of every operation are its own, see `layout`."""
    if shares is None or index // 2 >= len(shares):
        return ""
    return f' stroke-width="{_number(1 + 2 * shares[index // 2][0])}"'


def _subscript(name: str) -> str:
    base, brace, below = name.rstrip("}").partition("_{")
    return f'{base}<tspan dy="3" font-size="9">{below}</tspan>' if brace else base


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
