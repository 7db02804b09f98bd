"""Whatever is read from outside gives a correct result or a ValueError: never another error, never a lost row.

2,200 examples in all; hypothesis draws the same ones in every run (see conftest).
"""

import json
import math
import tempfile
import warnings
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.storage import compaction as packs
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from orchestrator.config import SelectionConfig, StudyConfig
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.study_file import parse_study, study_toml
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.genotype import PUBLISHED, Genotype
from pcdarts.training.checkpoint import CheckpointFile
from tests.analysis.synthetic import search_row

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
"""Whatever JSON can hold."""


@st.composite
def damaged(draw, whole):
    """Bytes or text with a few places cut out, doubled or replaced."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(whole)))
        stop = draw(st.integers(start, min(len(whole), start + 20)))
        new = draw(
            st.binary(max_size=8) if isinstance(whole, bytes) else st.text("[](),'01normal_{}:\x00ö", max_size=8)
        )
        whole = whole[:start] + draw(st.sampled_from([new, whole[start:stop] * 2])) + whole[stop:]
    return whole


def paths(plain, at=()):
    """Where values lie in nested dictionaries and lists."""
    inner = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    return [at, *(path for key, value in inner for path in paths(value, (*at, key)))]


@st.composite
def changed(draw, plain):
    """Nested plain values with one of them removed or replaced by anything."""
    plain = json.loads(json.dumps(plain))
    *way, last = draw(st.sampled_from(paths(plain)[1:]))
    holder = plain
    for key in way:
        holder = holder[key]
    if draw(st.booleans()):
        holder[last] = draw(PLAIN)
    else:
        del holder[last]
    return plain


@settings(max_examples=600)
@given(
    st.sampled_from(sorted(PUBLISHED)).flatmap(
        lambda name: damaged(str(PUBLISHED[name])) | damaged(PUBLISHED[name].to_json())
    )
    | st.text(max_size=60)
)
def test_genotype_text(text):
    try:
        genotype = Genotype.parse(text)
    except ValueError as error:
        assert str(error)
    else:
        assert Genotype.parse(str(genotype)) == genotype and len(genotype.digest) == 16


@settings(max_examples=500)
@given(
    st.sampled_from([SearchConfig, RetrainConfig, SelectionConfig, RunOptions]).flatmap(
        lambda kind: st.tuples(
            st.just(kind),
            st.dictionaries(st.sampled_from([f.name for f in fields(kind)]), PLAIN, min_size=1, max_size=2),
        )
    )
)
def test_configuration_fields(drawn):
    kind, values = drawn
    try:
        config = kind(**values)
    except ValueError as error:
        assert str(error)
    else:
        assert kind(**values) == config
        if kind is SearchConfig:
            assert config.search_id == kind(**values).search_id


@settings(max_examples=200)
@given(changed(smoke().to_dict()))
def test_study_files(plain):
    try:
        study = StudyConfig.from_dict(plain)
    except ValueError as error:
        assert str(error)
    else:
        assert StudyConfig.from_dict(json.loads(json.dumps(study.to_dict()))) == study


@settings(max_examples=100)
@given(damaged(study_toml(smoke(), RunOptions())))
def test_toml_files(text):
    try:
        study, options = parse_study(text, name="mine", say=lambda line: None)
    except ValueError as error:
        assert str(error)
    else:
        assert parse_study(study_toml(study, options), name="other") == (study, options)


@settings(max_examples=200)
@given(st.sampled_from(SEARCHES.schema.names), PLAIN)
def test_rows_of_a_table(name, value):
    with tempfile.TemporaryDirectory() as root:
        store = ResultStore(root)
        row = search_row(4, 0, 80.0) | {name: value}
        try:
            store.append(SEARCHES, [row], "a")
        except ValueError as error:
            assert name in str(error) and store.parts(SEARCHES) == []
        else:
            (found,) = store.rows(SEARCHES)
            assert same(found.pop(name), value) and found == {n: v for n, v in row.items() if n != name}


def same(found, value):
    """Equal, or both no number; tables turn integers into floats where a column wants them."""
    both = isinstance(found, float) and isinstance(value, float) and math.isnan(found) and math.isnan(value)
    return both or found == value


ROWS = [search_row(4, number, 80.0) | {"search_id": f"s{number}"} for number in range(4)]


@cache
def files_of(kind):
    """A study with four searches, a file each or in two packs, or with two requests: contents of its files by name."""
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patched:
        patched.setattr(packs, "SIZE", 2)
        patched.setattr(packs, "LEAST", 2)
        store = ResultStore(root)
        if kind == "requests":
            for name in ("DARTS_V1", "DARTS_V2"):
                RetrainQueue(smoke(), store).add(name)
        else:
            for row in ROWS:
                store.append(SEARCHES, [row], row["search_id"])
            if kind == "packs":
                store.compact(SEARCHES)
        found = {path.relative_to(root): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}
        return dict(sorted(found.items(), key=lambda item: item[1]))  # packs have other names in every run


def write(root, files):
    for name, content in files.items():
        path = Path(root, name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


@settings(max_examples=200)
@given(st.data(), st.booleans())
def test_damaged_parts_and_packs(data, in_packs):
    files = files_of("packs" if in_packs else "parts")
    name = data.draw(st.sampled_from(list(files)))
    with tempfile.TemporaryDirectory() as root:
        write(root, files | {name: data.draw(damaged(files[name]))})
        again = ResultStore(root)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = again.rows(SEARCHES)
        held = 2 if in_packs else 1
        lost = len(ROWS) - len(found)
        assert all(row in ROWS for row in found) and lost == (held if again.broken else 0)
        assert len(again.read(EPOCHS)) == 0


@settings(max_examples=200)
@given(st.data())
def test_queue_requests(data):
    files = files_of("requests")
    requests = sorted(name for name in files if name.parts[0] == "queue-requests")
    whole = files[requests[0]]
    content = data.draw(damaged(whole) | changed(json.loads(whole)).map(lambda plain: json.dumps(plain).encode()))
    with tempfile.TemporaryDirectory() as root:
        write(root, files | {requests[0]: content})
        again = RetrainQueue(smoke(), ResultStore(root))
        try:
            jobs = again.rows()
        except ValueError as error:
            assert str(Path(root, requests[0])) in str(error)
        else:
            assert sorted(job["job_id"] for job in jobs) == [name.stem for name in requests]


@settings(max_examples=200)
@given(st.data())
def test_checkpoints(data):
    state = {"config": {"k": 4}, "weights": torch.arange(6.0), "history": [{"epoch": 0, "alphas": ((1.0,), (2.0,))}]}
    with tempfile.TemporaryDirectory() as folder:
        file = CheckpointFile(Path(folder, "a.pt"))
        file.save(state)
        path = Path(file.path)
        path.write_bytes(data.draw(damaged(path.read_bytes())))
        try:
            found = file.load({"k": 4})
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert torch.equal(found["weights"], state["weights"]) and found["history"] == state["history"]
