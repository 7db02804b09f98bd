"""Genotypes: parsing, printing, isomorphism."""

import enum
import itertools
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcdarts.genotype import OPERATIONS, PRIMITIVES, PUBLISHED, Genotype, published_name, read_genotype

CELL = [("sep_conv_3x3", 1), ("skip_connect", 0)]


@st.composite
def cells(draw, nodes=4):
    return [
        (draw(st.sampled_from(OPERATIONS)), draw(st.integers(0, node - 1)))
        for node in range(2, 2 + nodes)
        for _ in range(2)
    ]


@st.composite
def genotypes(draw):
    concat = draw(st.lists(st.integers(2, 5), min_size=1, max_size=4, unique=True))
    return Genotype(draw(cells()), concat, draw(cells()), range(2, 6))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_survive_both_notations(name):
    genotype = PUBLISHED[name]
    assert Genotype.parse(str(genotype)) == genotype
    assert Genotype.parse(genotype.to_json()) == genotype
    assert Genotype.parse(genotype.to_json()).digest == genotype.digest


def test_str_is_the_official_repr():
    genotype = Genotype(CELL, range(2, 3), CELL, [2])
    assert str(genotype) == (
        "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0)], normal_concat=range(2, 3), "
        "reduce=[('sep_conv_3x3', 1), ('skip_connect', 0)], reduce_concat=range(2, 3))"
    )
    assert "normal_concat=[3, 2]" in str(Genotype(CELL + CELL, [3, 2], CELL, [2]))


def test_concat_may_be_a_list_or_a_range():
    text = str(PUBLISHED["PC_DARTS_cifar"])
    assert Genotype.parse(text.replace("range(2, 6)", "[2, 3, 4, 5]")) == PUBLISHED["PC_DARTS_cifar"]


def by_node(cell):
    return [list(cell[start : start + 2]) for start in range(0, len(cell), 2)]


CELLS = PUBLISHED["PC_DARTS_cifar"]
TEXT = str(CELLS)
GROUPED = TEXT.replace(str(list(CELLS.normal)), str(by_node(CELLS.normal))).replace(
    str(list(CELLS.reduce)), str(by_node(CELLS.reduce))
)


@pytest.mark.parametrize(
    "pasted",
    [
        f"genotype = {TEXT}",
        f"PC_DARTS_cifar = {TEXT}\n",
        f"2019-11-02 08:15:00,123 INFO genotype = {TEXT}, valid_acc 87.6 (epoch 49)",
        f"(epoch 49) Namespace(arch={TEXT}, seed=0)",
        f"DARTS = Genotype(\n    # 97.43 :)\n{TEXT[9:]}",
        f"- `genotypes.{TEXT}`",
        f"\ufeff  {TEXT}",
        "\ufeff" + CELLS.to_json(),
        TEXT.replace(", ", ",\r\n") + "\r\n",
        CELLS.to_json().replace(", ", ",\r\n"),
        TEXT.replace("range(2, 6)", "[2, 3, 4, 5]"),
        TEXT.replace("range(2, 6)", "(np.int64(2), np.int32(3), numpy.intp(4), np.longlong(5))"),
        TEXT.replace("range(2, 6)", "range(np.int64(2), np.int64(6))"),
        TEXT.replace("[", "(").replace("]", ")"),
        TEXT.replace("'", '"').replace(", 1)", ", np.int64(1))"),
        TEXT.replace("'skip_connect'", "numpy.str_('skip_connect')"),
        f"GENOTYPE={GROUPED}",
        f'GENOTYPE="{GROUPED}"',
        f'python augment.py --genotype \\\n"{GROUPED}" --seed 1',
        GROUPED.replace("[", "(").replace("]", ")"),
        json.dumps(
            {name: by_node(cell) if len(cell) == 8 else cell for name, cell in json.loads(CELLS.to_json()).items()}
        ),
        f"epoch 48 genotype = {TEXT}\nepoch 49 genotype = {TEXT.replace('range(2, 6)', '[2, 3, 4, 5]')}",
    ],
)
def test_genotypes_are_read_as_people_paste_them(pasted):
    assert Genotype.parse(pasted) == CELLS


def test_a_text_with_different_genotypes_is_refused():
    log = "\n".join(f"genotype = {PUBLISHED[name]}" for name in ("DARTS_V1", "DARTS_V2", "DARTS_V1"))
    with pytest.raises(ValueError, match="holds 2 different genotypes, but must hold one; give only the one you"):
        Genotype.parse(log)


class Operation(enum.StrEnum):
    SKIP = "skip_connect"


class Label(str):
    def __str__(self):
        return "a label"


class Node(enum.IntEnum):
    FIRST = 0
    SECOND = 1


@pytest.mark.parametrize(
    "cell",
    [
        [("skip_connect", np.int64(0)), ("skip_connect", np.uint8(1))],
        [(np.str_("skip_connect"), 0), (Label("skip_connect"), 1)],
        [(Operation.SKIP, Node.FIRST), [Operation.SKIP, Node.SECOND]],
        [[("skip_connect", 0), ("skip_connect", np.int16(1))]],
        np.array([("skip_connect", 0), ("skip_connect", 1)], dtype=object),
        (np.array(["skip_connect", 0], dtype=object), ("skip_connect", 1)),
    ],
)
@pytest.mark.parametrize("concat", [[np.int64(2)], (np.uint8(2),), range(2, 3), np.arange(2, 3)])
def test_plain_texts_and_integers_are_stored(cell, concat):
    genotype = Genotype(cell, concat, cell, concat)
    assert genotype == Genotype.parse(str(genotype)) == Genotype.parse(genotype.to_json())
    assert repr(genotype.normal) == "(('skip_connect', 0), ('skip_connect', 1))"
    assert {type(part) for pair in genotype.normal for part in pair} == {str, int}
    assert repr(genotype.reduce_concat) == "(2,)"


def repr_text(genotype, draw):
    """The repr of a genotype with any brackets, numbers, grouping and surroundings that logs and files have."""
    fields = {}
    for name in ("normal", "reduce"):
        cell = getattr(genotype, name)
        text = str(draw(st.sampled_from([list, tuple, by_node]))(cell))
        if draw(st.booleans()):
            text = text.replace("[", "(").replace("]", ")")
        numbers = draw(st.sampled_from(["{}", "np.int64({})", "numpy.int32({})"]))
        for node in range(5):
            text = text.replace(f", {node})", f", {numbers.format(node)})")
        fields[name] = text
        fields[f"{name}_concat"] = str(draw(st.sampled_from([list, tuple]))(getattr(genotype, f"{name}_concat")))
    names = draw(st.permutations(list(fields)))
    call = f"Genotype({', '.join(f'{name}={fields[name]}' for name in names)})"
    if draw(st.booleans()):
        call = call.replace("'", '"')
    before = draw(st.sampled_from(["", "\ufeff", "GENOTYPE=", "2019-08-01 12:00:00,123 genotype = ", "(1 of 3) [x] '"]))
    return before + call + draw(st.sampled_from(["", "\r\n", ",", "' (best)", "\n" + call]))


@given(genotypes(), st.data())
def test_any_genotype_survives_all_notations(genotype, data):
    assert Genotype.parse(str(genotype)) == genotype == Genotype.parse(genotype.to_json())
    assert Genotype.parse(repr_text(genotype, data.draw)) == genotype


@given(genotypes(), st.permutations([2, 3, 4, 5]), st.booleans())
def test_the_digest_does_not_see_a_renumbering(genotype, order, swap):
    new = {0: 0, 1: 1} | {old: position + 2 for position, old in enumerate(order)}
    nodes = [[(op, new[source]) for op, source in genotype.normal[2 * (old - 2) : 2 * (old - 2) + 2]] for old in order]
    if any(source >= node for node, pairs in enumerate(nodes, start=2) for _, source in pairs):
        return  # this order would read a later node
    pairs = [pair for node in nodes for pair in (reversed(node) if swap else node)]
    renumbered = Genotype(pairs, [new[n] for n in genotype.normal_concat], genotype.reduce, genotype.reduce_concat)
    assert renumbered.digest == genotype.digest


def test_two_equal_nodes_are_not_one_shared_node():
    twins = Genotype(CELL + CELL + [("skip_connect", 2), ("skip_connect", 3)], [4], CELL, [2])
    shared = Genotype(CELL + CELL + [("skip_connect", 2), ("skip_connect", 2)], [4], CELL, [2])
    assert twins.digest != shared.digest


def test_different_operations_inputs_and_outputs_have_different_digests():
    variants = [
        Genotype([(op, source), ("skip_connect", 0), ("skip_connect", 0), ("skip_connect", 1)], concat, CELL, [2])
        for op, source, concat in itertools.product(PRIMITIVES, (0, 1), ([2, 3], [3]))
    ]
    assert len({variant.digest for variant in variants}) == len(variants)


def test_count():
    assert PUBLISHED["DARTS_V1"].count("skip_connect") == (3, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "genotype is '', but must look like Genotype"),
        ("Genotype(normal=[(", r"cannot be read at '\(': '\(' was never closed"),
        (TEXT.replace("'", "\u2019"), r"cannot be read at '\u2019sep_conv_3x3.*\.\.\.: invalid character"),
        ("{", "not valid JSON"),
        ('{"normal": []}', "needs exactly"),
        ("print(1)", "must look like Genotype"),
        ("Genotype(normal=[])", r"has fields \['normal'\], but needs exactly"),
        (TEXT.replace("normal_concat=", "normal=", 1), r"has fields \['normal', 'normal', 'reduce', 'reduce_concat'\]"),
        ("Genotype(recurrent=[('tanh', 0)], concat=range(1, 9))", r"has fields \['recurrent', 'concat'\]"),
        (f"Genotype({list(CELLS.normal)}, range(2, 6))", "must look like Genotype"),
        (TEXT.replace("range(2, 6)", "open('x')", 1), r"normal_concat holds \"open\('x'\)\", but must be a list"),
        (TEXT.replace(", 1)", ", tensor(1))", 1), r"normal holds 'tensor\(1\)', but must be a list"),
        (TEXT.replace(", 1)", ", np.negative(1))", 1), r"normal holds 'np.negative\(1\)'"),
        (TEXT.replace(", 1)", ", 1, 0.4)", 1), r"normal\[0\] is \('sep_conv_3x3', 1, 0.4\), but must be an"),
        (TEXT.replace(", 1)", ", 1.0)", 1), r"normal\[0\] reads node 1.0, but node 2 can read nodes 0 to 1 only"),
        (TEXT.replace(", 1)", ", True)", 1), r"normal\[0\] reads node True"),
        (TEXT.replace("'sep_conv_3x3'", "b'sep_conv_3x3'", 1), r"normal\[0\] names the operation b'sep_conv_3x3'"),
        (TEXT.replace("('sep_conv_3x3', 1), ", "", 1), "normal has 7 operations, but needs two for each node"),
        (GROUPED.replace("('sep_conv_3x3', 1), ", "", 1), r"normal\[0\] is .*, but a node needs two operations"),
        (str(Genotype(CELL * 7, [2], CELL, [2])).replace("normal=[", f"normal=[{CELL[0]}, "), "more than 7 nodes"),
        (str(PUBLISHED["DARTS_V1"]).replace("sep_conv_3x3', 1", "sep_conv_9x9', 1", 1), r"normal\[0\] names"),
        (str(PUBLISHED["DARTS_V1"]).replace("('sep_conv_3x3', 1)", "('sep_conv_3x3', 2)", 1), "node 2 can read"),
        (str(PUBLISHED["DARTS_V1"]).replace("range(2, 6)", "range(2, 7)", 1), "must name different nodes"),
        (str(PUBLISHED["DARTS_V1"]).replace("range(2, 6)", "range(10**12)", 1), "range of plain"),
        (str(PUBLISHED["DARTS_V1"]).replace("range(2, 6)", f"range({10**30})", 1), "must name different nodes"),
        (str(PUBLISHED["DARTS_V1"]).replace("range(2, 6)", "range(0, 10000000000)", 1), "must name different nodes"),
        ("Genotype(" + "(" * 200_000, "has 200009 characters, but at most"),
        ("{" + "[" * 200_000, "has 200001 characters, but at most"),
    ],
)
def test_malformed_text_says_what_and_where(text, message):
    with pytest.raises(ValueError, match=message):
        Genotype.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_refused_with_a_value_error(text):
    with pytest.raises(ValueError):
        Genotype.parse(text)


def test_published_cells_are_known_by_their_digest():
    assert [published_name(genotype.digest) for genotype in PUBLISHED.values()] == list(PUBLISHED)
    assert published_name(Genotype(CELL, [2], CELL, [2]).digest) == ""


def test_cells_are_read_from_a_name_a_text_or_a_file(tmp_path):
    cells, file = PUBLISHED["AmoebaNet"], tmp_path / "cells.json"
    file.write_text(cells.to_json())
    assert [read_genotype(source) for source in ("AmoebaNet", str(cells), cells.to_json(), str(file))] == [cells] * 4
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_text(f"genotype = {cells}\r\n", encoding=encoding)
        assert read_genotype(str(file)) == cells
    assert read_genotype("\ufeff" + cells.to_json()) == cells
    for source in ("AmebaNet", str(tmp_path), "a\0b", ""):
        with pytest.raises(ValueError, match="must be one of PC_DARTS_cifar, .* or a file that holds one"):
            read_genotype(source)
    file.write_bytes(b"\x80\x02")
    with pytest.raises(ValueError, match="or a file that holds one"):
        read_genotype(str(file))
    file.write_text("nothing")
    with pytest.raises(ValueError, match=r"cells.json: genotype is 'nothing', but must look like"):
        read_genotype(str(file))


def test_cells_are_read_from_standard_input(tmp_path):
    file = tmp_path / "log.txt"
    file.write_text(f"genotype = {CELLS}\n")
    before = os.dup(0)
    try:
        with file.open() as opened:
            os.dup2(opened.fileno(), 0)
            assert read_genotype("-") == CELLS
    finally:
        os.dup2(before, 0)
        os.close(before)
