"""Genotypes: the cells that a search finds and a network is built from.  Needs the standard library alone.

A cell has two inputs (nodes 0 and 1) and intermediate nodes 2, 3, ...; every intermediate node is the sum of two
operations, each applied to an earlier node.  The cell's output is the concatenation of the nodes in `concat`.
"""

import ast
import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pcdarts.published import CELLS

PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""Candidate operations of an edge, in the order of the columns of alpha."""

OPERATIONS = (*PRIMITIVES, "sep_conv_7x7", "conv_7x1_1x7", "noise")
"""All operations of genotypes: those of the search space, NASNet, AmoebaNet and RobustDARTS S4."""

INPUTS = 2
"""Input nodes of a cell: the outputs of the two cells before it."""

Cell = tuple[tuple[str, int], ...]
MAX_TEXT = 100_000
MAX_NODES = 7  # the digest tries every order of the intermediate nodes: 7! = 5040


@dataclass(frozen=True)
class Genotype:
    """A normal and a reduction cell.

    `normal` and `reduce` hold (operation, input node) pairs, two for each intermediate node; `normal_concat` and
    `reduce_concat` hold the nodes whose outputs are concatenated.  Any sequences are accepted, tuples are stored.
    Raises ValueError for cells that cannot be built.
    """

    normal: Sequence[tuple[str, int]]
    normal_concat: Sequence[int]
    reduce: Sequence[tuple[str, int]]
    reduce_concat: Sequence[int]

    def __post_init__(self) -> None:
        for name in ("normal", "reduce"):
            cell = _checked_cell(name, getattr(self, name))
            concat = _checked_concat(f"{name}_concat", getattr(self, f"{name}_concat"), len(cell) // 2)
            object.__setattr__(self, name, cell)
            object.__setattr__(self, f"{name}_concat", concat)

    @classmethod
    def parse(cls, text: str) -> "Genotype":
        """Read the official repr (concat as `range(2, 6)` or as a list) or the JSON of `to_json`; nothing is executed.

        Text around the repr, such as a log line or `NAME = Genotype(...)`, numbers as NumPy prints them
        (`np.int64(1)`), and pairs grouped by node (`[[('op', 0), ('op', 1)], ...]`) are accepted.  Raises ValueError
        that names the problem and its place.
        """
        if len(text) > MAX_TEXT:
            raise ValueError(f"genotype text has {len(text)} characters, but at most {MAX_TEXT} are read")
        text = text.strip("\ufeff \t\r\n")
        fields = _fields_from_json(text) if text.startswith("{") else _fields_from_repr(text)
        expected = ("normal", "normal_concat", "reduce", "reduce_concat")
        missing, unknown = [f for f in expected if f not in fields], [f for f in fields if f not in expected]
        if missing or unknown:
            raise ValueError(f"genotype has fields {list(fields)}, but needs exactly {list(expected)}")
        return cls(**fields | {name: _without_nodes(fields[name]) for name in ("normal", "reduce")})

    def __str__(self) -> str:
        """The official repr, so that published scripts can read it."""
        return (
            f"Genotype(normal={list(self.normal)}, normal_concat={_concat_text(self.normal_concat)}, "
            f"reduce={list(self.reduce)}, reduce_concat={_concat_text(self.reduce_concat)})"
        )

    def to_json(self) -> str:
        """A JSON object with the four fields; `parse` reads it back."""
        return json.dumps(
            {
                "normal": self.normal,
                "normal_concat": self.normal_concat,
                "reduce": self.reduce,
                "reduce_concat": self.reduce_concat,
            }
        )

    @property
    def digest(self) -> str:
        """16 hex digits, equal for isomorphic cells: independent of the numbering of nodes and the order of inputs."""
        canonical = (
            _canonical_cell(tuple(self.normal), tuple(self.normal_concat)),
            _canonical_cell(tuple(self.reduce), tuple(self.reduce_concat)),
        )
        return hashlib.sha256(json.dumps(canonical).encode()).hexdigest()[:16]

    def count(self, operation: str) -> tuple[int, int]:
        """How often the normal and the reduction cell use an operation."""
        normal, reduce = (sum(op == operation for op, _ in cell) for cell in (self.normal, self.reduce))
        return normal, reduce


def _checked_cell(name: str, pairs: object) -> Cell:
    if not isinstance(pairs, Sequence) or isinstance(pairs, str):
        raise ValueError(f"genotype: {name} is {pairs!r}, but must be a list of (operation, input node) pairs")
    if not pairs or len(pairs) % 2:
        raise ValueError(f"genotype: {name} has {len(pairs)} operations, but needs two for each node")
    if len(pairs) > 2 * MAX_NODES:
        raise ValueError(f"genotype: {name} has {len(pairs) // 2} nodes, but at most {MAX_NODES} are supported")
    for position, pair in enumerate(pairs):
        where, node = f"genotype: {name}[{position}]", position // 2 + INPUTS
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise ValueError(f"{where} is {pair!r}, but must be an (operation, input node) pair")
        operation, source = pair
        if operation not in OPERATIONS:
            raise ValueError(f"{where} names the operation {operation!r}, but must be one of {', '.join(OPERATIONS)}")
        if not isinstance(source, int) or isinstance(source, bool) or not 0 <= source < node:
            raise ValueError(f"{where} reads node {source!r}, but node {node} can read nodes 0 to {node - 1} only")
    return tuple((operation, source) for operation, source in pairs)


def _checked_concat(name: str, nodes: object, intermediate: int) -> tuple[int, ...]:
    allowed = range(INPUTS, INPUTS + intermediate)
    if not isinstance(nodes, Sequence) or isinstance(nodes, str) or not nodes:
        raise ValueError(f"genotype: {name} is {nodes!r}, but must be a list of nodes")
    if len(set(map(repr, nodes))) != len(nodes) or not all(type(n) is int and n in allowed for n in nodes):
        raise ValueError(f"genotype: {name} is {list(nodes)}, but must name different nodes of {list(allowed)}")
    return tuple(nodes)


def _concat_text(nodes: Sequence[int]) -> str:
    contiguous = range(nodes[0], nodes[-1] + 1)
    return repr(contiguous) if tuple(contiguous) == nodes else repr(list(nodes))


def _fields_from_json(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"genotype is not valid JSON: {error}") from None
    return fields  # a text that starts with "{" can only hold an object


def _fields_from_repr(text: str) -> dict[str, Any]:
    if (calls := text.count("Genotype(")) > 1:
        raise ValueError(f"the text holds {calls} genotypes, but must hold one; give the last one of a log")
    if calls:
        text = _call(text[text.index("Genotype(") :])
    try:
        call = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ValueError(
            f"genotype cannot be read at line {error.lineno}, column {error.offset}: {error.msg}"
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"genotype cannot be read: {error}") from None
    if not isinstance(call, ast.Call) or getattr(call.func, "id", None) != "Genotype" or call.args:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise ValueError(f"genotype is {shown!r}, but must look like Genotype(normal=[...], ...) or be JSON")
    return {str(keyword.arg): _literal(str(keyword.arg), keyword.value) for keyword in call.keywords}


def _call(text: str) -> str:
    """The call at the start of a text, up to its closing parenthesis; the whole text if it is not closed."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and depth == 0:
            return text[: position + 1]
    return text


def _without_nodes(cell: object) -> object:
    """The pairs of a cell in one list, if they are grouped by node: `[[(op, 0), (op, 1)], ...]`."""
    if not isinstance(cell, list) or not cell:
        return cell
    grouped = all(
        isinstance(node, Sequence) and node and all(isinstance(pair, (list, tuple)) for pair in node) for node in cell
    )
    return list(itertools.chain(*cell)) if grouped else cell


class _PlainNumbers(ast.NodeTransformer):
    """Replaces NumPy's scalars, as in `np.int64(1)` or `np.str_('skip_connect')`, by their values."""

    def visit_Call(self, node: ast.Call) -> ast.expr:  # noqa: N802 (the name that ast requires)
        self.generic_visit(node)
        module = node.func.value if isinstance(node.func, ast.Attribute) else None
        if isinstance(module, ast.Name) and module.id in ("np", "numpy") and len(node.args) == 1 and not node.keywords:
            return node.args[0]
        return node


def _literal(name: str, node: ast.expr) -> object:
    try:
        node = _PlainNumbers().visit(node)
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "range" and not node.keywords:
            bounds = [ast.literal_eval(argument) for argument in node.args]
            nodes = range(*bounds)
            return list(nodes) if len(nodes) < MAX_TEXT else [str(nodes)]
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError, OverflowError):
        raise ValueError(
            f"genotype: {name} at column {node.col_offset + 1} is neither a list nor a range of numbers"
        ) from None


@lru_cache(maxsize=4096)
def _canonical_cell(cell: Cell, concat: tuple[int, ...]) -> tuple[object, ...]:
    """The smallest form under all renumberings of the intermediate nodes.

    4 nodes have 24 orders, so trying all is exact and cheap; orders in which a node reads a later one are skipped.
    """
    count = len(cell) // 2
    forms = (_renumbered(cell, concat, order) for order in itertools.permutations(range(INPUTS, INPUTS + count)))
    return min(form for form in forms if form is not None)


def _renumbered(cell: Cell, concat: Iterable[int], order: Sequence[int]) -> tuple[object, ...] | None:
    new = {0: 0, 1: 1} | {old: position + INPUTS for position, old in enumerate(order)}
    nodes = []
    for old in order:
        inputs = [(operation, new[source]) for operation, source in cell[2 * (old - INPUTS) : 2 * (old - INPUTS) + 2]]
        if any(source >= new[old] for _, source in inputs):
            return None
        nodes.append(tuple(sorted(inputs)))
    return (tuple(nodes), tuple(sorted(new[node] for node in concat)))


PUBLISHED = {name: Genotype(**cells) for name, cells in CELLS.items()}
"""Genotypes printed in papers, by name."""


@lru_cache
def published_name(digest: str) -> str:
    """The name of the published cells with this digest; empty for other cells."""
    return next((name for name, genotype in PUBLISHED.items() if genotype.digest == digest), "")


def read_genotype(source: str) -> Genotype:
    """The genotype of a published name, a text, or a file with a text.

    Raises ValueError for anything else.
    """
    if source in PUBLISHED:
        return PUBLISHED[source]
    if source.lstrip().startswith("{") or "Genotype(" in source:
        return Genotype.parse(source)
    try:
        text = Path(source).read_text()
    except (OSError, ValueError) as error:  # ValueError: an impossible file name, or a file that is not text
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"genotype is {source!r}, but must be one of {', '.join(PUBLISHED)}, a text such as Genotype(normal=...), "
            f"or a file that holds one ({reason})"
        ) from None
    return Genotype.parse(text)
