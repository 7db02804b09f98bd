"""Genotypes: the cells that a search finds and a network is built from.  Needs the standard library alone.

A cell has two inputs (nodes 0 and 1) and intermediate nodes 2, 3, ...; every intermediate node is the sum of two
operations, each applied to an earlier node.  The cell's output is the concatenation of the nodes in `concat`.
"""

import ast
import codecs
import hashlib
import itertools
import json
import operator
import re
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
FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
FORM = "must look like Genotype(normal=[...], ...) or be JSON"
MAX_TEXT = 100_000  # characters of one genotype
MAX_NODES = 7  # the digest tries every order of the intermediate nodes: 7! = 5040


@dataclass(frozen=True)
class Genotype:
    """A normal and a reduction cell.

    `normal` and `reduce` hold (operation, input node) pairs, two for each intermediate node; `normal_concat` and
    `reduce_concat` hold the nodes whose outputs are concatenated.  Any sequences and NumPy arrays are accepted, also
    with the pairs grouped by node; tuples of plain texts and integers are stored.  Raises ValueError for cells that
    cannot be built.
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
        """Read the official repr or the JSON of `to_json`; nothing is executed.

        The repr may be anywhere in the text, as in a log line or after `NAME =`, and in it lists, tuples and ranges,
        numbers as NumPy prints them (`np.int64(1)`), and pairs grouped by node (`[[('op', 0), ('op', 1)], ...]`).
        Raises ValueError that names the problem, also for a text with different genotypes.
        """
        text = text.strip("\ufeff \t\r\n")
        if text.startswith("{"):
            return cls(**_fields_from_json(text))
        found = {cls(**_fields_from_call(call)) for call in dict.fromkeys(_calls(text))}
        if not found:
            raise ValueError(f"genotype is {_shown(text)}, but {FORM}")
        if len(found) > 1:
            raise ValueError(
                f"the text holds {len(found)} different genotypes, but must hold one; give only the one you "
                "mean, such as the last of a log"
            )
        return found.pop()

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


def _checked_cell(name: str, cell: object) -> Cell:
    items = _items(cell)
    if items is None:
        raise ValueError(f"genotype: {name} is {_shown(cell)}, but must be a list of (operation, input node) pairs")
    pairs = _without_nodes(name, list(itertools.islice(items, 2 * MAX_NODES + 1)))
    if len(pairs) > 2 * MAX_NODES:
        raise ValueError(f"genotype: {name} has more than {MAX_NODES} nodes, but at most {MAX_NODES} are supported")
    if not pairs or len(pairs) % 2:
        raise ValueError(f"genotype: {name} has {len(pairs)} operations, but needs two for each node")
    return tuple(_checked_pair(f"genotype: {name}[{i}]", pair, i // 2 + INPUTS) for i, pair in enumerate(pairs))


def _without_nodes(name: str, items: list[Any]) -> list[Any]:
    """The pairs of a cell in one list, if they are grouped by node: `[[(op, 0), (op, 1)], ...]`."""
    nodes = [_items(item) or () for item in items]
    if not all(node and all(_items(pair) for pair in node) for node in nodes):
        return items
    for position, node in enumerate(nodes):
        if len(node) != 2:
            raise ValueError(f"genotype: {name}[{position}] is {_shown(node)}, but a node needs two operations")
    return list(itertools.chain(*nodes))


def _checked_pair(where: str, pair: object, node: int) -> tuple[str, int]:
    items = _items(pair)
    if items is None or len(items) != 2:
        raise ValueError(f"{where} is {_shown(pair)}, but must be an (operation, input node) pair")
    operation, source = items[0], _integer(items[1])
    if not isinstance(operation, str) or operation not in OPERATIONS:
        raise ValueError(f"{where} names the operation {_shown(operation)}, but must be one of {', '.join(OPERATIONS)}")
    if source is None or not 0 <= source < node:
        raise ValueError(f"{where} reads node {_shown(items[1])}, but node {node} can read nodes 0 to {node - 1} only")
    return str.__str__(operation), source  # of a subclass such as np.str_, the plain text


def _checked_concat(name: str, concat: object, intermediate: int) -> tuple[int, ...]:
    allowed = range(INPUTS, INPUTS + intermediate)
    items = _items(concat)
    if not items:
        raise ValueError(f"genotype: {name} is {_shown(concat)}, but must be a list of nodes")
    nodes = [_integer(item) for item in itertools.islice(items, intermediate + 1)]
    if len(set(nodes)) != len(nodes) or not all(node in allowed for node in nodes):
        raise ValueError(f"genotype: {name} is {_shown(concat)}, but must name different nodes of {list(allowed)}")
    return tuple(node for node in nodes if node is not None)


def _items(value: Any) -> Sequence[Any] | None:
    """A sequence, or the list of a NumPy array; None for anything else, also for a text."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else None


def _integer(value: Any) -> int | None:
    """An integer of any type, such as np.int64, as a plain one; None for anything else."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _shown(value: object) -> str:
    """A value in an error message: on one line, and not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}..."


def _concat_text(nodes: Sequence[int]) -> str:
    contiguous = range(nodes[0], nodes[-1] + 1)
    return repr(contiguous) if tuple(contiguous) == nodes else repr(list(nodes))


def _fields_from_json(text: str) -> dict[str, Any]:
    _check_length(text)
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"genotype is not valid JSON: {error}") from None
    _check_fields(fields)  # a text that starts with "{" can only hold an object
    return dict(fields)


def _calls(text: str) -> list[str]:
    """The texts from each `Genotype(` to its closing parenthesis, or to the next one if it is not closed."""
    return [_call(f"Genotype({rest}") for rest in text.split("Genotype(")[1:]]


def _call(text: str) -> str:
    depth = 0
    for token in re.finditer(r"""[()]|'[^'\n]*'|"[^"\n]*"|#.*""", text):  # parentheses, texts and comments
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth == 0:
            return text[: token.end()]
    return text


def _fields_from_call(text: str) -> dict[str, Any]:
    _check_length(text)
    try:
        call = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        place = (error.text or "")[max((error.offset or 0) - 1, 0) :].strip()
        raise ValueError(f"genotype cannot be read at {_shown(place)}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"genotype cannot be read: {error}") from None
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError(f"genotype is {_shown(text)}, but {FORM}")
    names = [str(keyword.arg) for keyword in call.keywords]
    _check_fields(names)
    return {name: _literal(name, keyword.value, text) for name, keyword in zip(names, call.keywords, strict=True)}


def _check_length(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise ValueError(f"genotype text has {len(text)} characters, but at most {MAX_TEXT} are read")


def _check_fields(names: Iterable[str]) -> None:
    if sorted(names) != sorted(FIELDS):
        raise ValueError(f"genotype has fields {_shown(list(names))}, but needs exactly {list(FIELDS)}")


class _PlainValues(ast.NodeTransformer):
    """Replaces NumPy's scalars, as in `np.int64(1)` or `np.str_('skip_connect')`, by their values."""

    def visit_Call(self, node: ast.Call) -> ast.expr:  # noqa: N802 (the name that ast requires)
        self.generic_visit(node)
        scalar = re.fullmatch(r"(?:np|numpy)\.(?:u?int(?:\d+|_|p|c)?|u?longlong|str_)", ast.unparse(node.func))
        return node.args[0] if scalar and len(node.args) == 1 and not node.keywords else node


def _literal(name: str, node: ast.expr, text: str) -> object:
    try:
        node = _PlainValues().visit(node)
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "range" and not node.keywords:
            return range(*map(ast.literal_eval, node.args))
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        plain = (ast.List, ast.Tuple, ast.Constant, ast.UnaryOp)
        other = next(
            (part for part in ast.walk(node) if isinstance(part, ast.expr) and not isinstance(part, plain)), node
        )
        raise ValueError(
            f"genotype: {name} holds {_shown(ast.get_source_segment(text, other))}, but must be a list, a tuple or a "
            "range of plain texts and numbers"
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
    """The genotype of a published name, a text, or a file with a text; `-` is standard input.

    Raises ValueError for anything else.
    """
    if source in PUBLISHED:
        return PUBLISHED[source]
    if source.lstrip("\ufeff \t\r\n").startswith("{") or "Genotype(" in source:
        return Genotype.parse(source)
    try:
        data = Path("/dev/stdin" if source == "-" else source).read_bytes()
        text = data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8")
    except (OSError, ValueError) as error:  # ValueError: an impossible file name, or a file that is not text
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"genotype is {source!r}, but must be one of {', '.join(PUBLISHED)}, a text such as Genotype(normal=...), "
            f"or a file that holds one ({reason})"
        ) from None
    try:
        return Genotype.parse(text)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
