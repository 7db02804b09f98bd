"""Draw a cell that `analysis.drawing.cell_layout` placed, as inline SVG.

graphviz is not used: on the published cells its labels float between edges, so that it is unclear which operation
belongs to which edge, and the report would depend on a system package.
"""

import html
from collections.abc import Sequence

from analysis.drawing.cell_layout import NODE_SIZE, Box, CellLayout, Edge, Label, layout
from pcdarts.genotype import INPUTS, Genotype

FONT, GAP = "ui-sans-serif, system-ui, sans-serif", 28.0
COLORS = {"conv": "#2563a8", "dilated": "#7a4bb0", "pool": "#a8620b", "skip": "#2a7d4f", "other": "#666666"}
"""Colors where a page does not define the CSS variables --cell-conv, --cell-dilated, ..."""


def draw(layout: CellLayout, title: str, shares: Sequence[tuple[float, float]] | None = None) -> str:
    """SVG of a cell, for an HTML page or a separate file.

    `shares` has for each operation, in the order of the genotype, the share of cells that keep its edge (shown as text
    and line width) and the share that keep it with this operation (the filled part of the label), 0 to 1.

    Text takes the page's color, labels the CSS variables --cell-conv, --cell-dilated, --cell-pool, --cell-skip and
    --cell-other.
    """
    width, height = _number(layout.width), _number(layout.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="cell" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{FONT}" font-size="12">',
        f"<title>{html.escape(title)}</title>",
        f"<desc>{html.escape(describe(layout))}</desc>",
        '<g fill="none" stroke-width="1.4" style="stroke:var(--cell-line,#8a8a8a)">',
        *(f'<path d="{path(edge)}"{_stroke(index, shares)}/>' for index, edge in enumerate(layout.edges)),
        "</g>",
    ]
    for index, label in enumerate(layout.labels):
        color = f"var(--cell-{label.kind},{COLORS[label.kind]})"
        lines.append(_rectangle(label.box, 5, f"fill:{color};fill-opacity:.13;stroke:{color}"))
        if shares is None:
            lines.append(_text(label.box, html.escape(label.operation)))
        else:
            lines += _share(label, color, *shares[index])
    for node in layout.nodes:
        lines.append(_rectangle(node.box, NODE_SIZE / 2, "fill:currentColor;fill-opacity:.06;stroke:currentColor"))
        lines.append(_text(node.box, _subscript(node.name)))
    return "\n".join([*lines, "</svg>"])


def draw_cells(genotype: Genotype, cells: Sequence[str] = ("normal", "reduce")) -> str:
    """SVG of some cells of a genotype, one below the other."""
    layouts = [layout(getattr(genotype, cell), getattr(genotype, f"{cell}_concat")) for cell in cells]
    width, height = max(each.width for each in layouts), sum(each.height for each in layouts) + GAP * len(layouts)
    parts, top = [], 0.0
    for cell, placed in zip(cells, layouts, strict=True):
        name = "normal cell" if cell == "normal" else "reduction cell"
        parts.append(f'<text x="8" y="{_number(top + 16)}" font-weight="600" fill="currentColor">{name}</text>')
        drawn = draw(placed, name).replace("<svg ", f'<svg y="{_number(top + GAP)}" ', 1)
        parts.append(drawn)
        top += placed.height + GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_number(width)}" height="{_number(height)}" '
            f'viewBox="0 0 {_number(width)} {_number(height)}" font-family="{FONT}" font-size="12">',
            '<rect width="100%" height="100%" style="fill:var(--paper,#ffffff)"/>',
            *parts,
            "</svg>",
        ]
    )


def describe(layout: CellLayout) -> str:
    """The cell in words, for screen readers."""
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


def _name(layout: CellLayout, node: int) -> str:
    return layout.nodes[node].name if node < INPUTS else f"node {node}"


def _rectangle(box: Box, radius: float, style: str) -> str:
    x, y, width, height = (_number(value) for value in (box.x, box.y, box.width, box.height))
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{_number(radius)}" style="{style}"/>'


def _text(box: Box, content: str) -> str:
    x, y = _number(box.x + box.width / 2), _number(box.middle + 4)
    return f'<text x="{x}" y="{y}" text-anchor="middle" fill="currentColor">{content}</text>'


def _share(label: Label, color: str, edge: float, operation: float) -> list[str]:
    """A label filled up to the operation's share, with the edge's share in front of it."""
    filled = Box(x=label.box.x, y=label.box.y, width=label.box.width * operation, height=label.box.height)
    tooltip = f"{label.operation}: {100 * edge:.0f} % keep the edge, {100 * operation:.0f} % with this operation"
    # The halo of the paper's color lets the number be read where it crosses a line.
    return [
        f"<g><title>{html.escape(tooltip)}</title>",
        _rectangle(filled, 5, f"fill:{color};fill-opacity:.3"),
        _text(label.box, html.escape(label.operation)),
        f'<text x="{_number(label.box.x - 5)}" y="{_number(label.box.middle + 4)}" text-anchor="end" font-size="11" '
        f'fill="currentColor" stroke-width="4" stroke-linejoin="round" paint-order="stroke" '
        f'style="stroke:var(--paper,#ffffff)">{100 * edge:.0f} %</text></g>',
    ]


def _stroke(index: int, shares: Sequence[tuple[float, float]] | None) -> str:
    """Line width; `layout` puts the two lines of each operation first."""
    if shares is None or index // 2 >= len(shares):
        return ""
    return f' stroke-width="{_number(1 + 2 * shares[index // 2][0])}"'


def _subscript(name: str) -> str:
    base, brace, below = name.rstrip("}").partition("_{")
    return f'{base}<tspan dy="3" font-size="9">{below}</tspan>' if brace else base


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
