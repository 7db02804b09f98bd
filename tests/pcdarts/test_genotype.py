"""Genotypes: parsing, printing, isomorphism."""

import itertools

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


def test_genotypes_are_read_as_people_paste_them():
    cells = PUBLISHED["PC_DARTS_cifar"]
    text = str(cells)
    nodes = [list(cells.normal[start : start + 2]) for start in range(0, 8, 2)]
    for pasted in (
        f"PC_DARTS_cifar = {text}\n",
        f"\ufeff  {text}",
        f"2019-11-02 08:15:00,123 INFO genotype = {text}, valid_acc 87.6 (epoch 49)",
        f"GENOTYPE={text.replace(str(list(cells.normal)), str(nodes))}",
        text.replace(", 1)", ", np.int64(1))").replace("'skip_connect'", "numpy.str_('skip_connect')"),
        cells.to_json().replace("\n", "\r\n"),
    ):
        assert Genotype.parse(pasted) == cells, pasted
    with pytest.raises(ValueError, match="holds 2 genotypes"):
        Genotype.parse(f"{text}\n{text}")


@given(genotypes())
def test_any_genotype_survives_both_notations(genotype):
    assert Genotype.parse(str(genotype)) == genotype == Genotype.parse(genotype.to_json())


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
        ("", "cannot be read at line"),
        ("Genotype(normal=[(", "was never closed"),
        ("{", "not valid JSON"),
        ('{"normal": []}', "needs exactly"),
        ("print(1)", "must look like Genotype"),
        ("Genotype(normal=open('x'))", "normal at column 17 is neither a list"),
        (str(PUBLISHED["DARTS_V1"]).replace("sep_conv_3x3', 1", "sep_conv_9x9', 1", 1), r"normal\[0\] names"),
        (str(PUBLISHED["DARTS_V1"]).replace("('sep_conv_3x3', 1)", "('sep_conv_3x3', 2)", 1), "node 2 can read"),
        (str(PUBLISHED["DARTS_V1"]).replace("range(2, 6)", "range(2, 7)", 1), "must name different nodes"),
        (str(PUBLISHED["DARTS_V1"]).replace("range(2, 6)", "range(10**12)", 1), "neither a list nor a range"),
        (str(PUBLISHED["DARTS_V1"]).replace("range(2, 6)", "range(0, 10000000000)", 1), "must name different nodes"),
        ("x" * 200_000, "at most"),
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
    for source in ("AmebaNet", str(tmp_path), "a\0b", ""):
        with pytest.raises(ValueError, match="must be one of PC_DARTS_cifar, .* or a file that holds one"):
            read_genotype(source)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="or a file that holds one"):
        read_genotype(str(file))
