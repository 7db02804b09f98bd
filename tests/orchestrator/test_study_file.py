"""Study files: what is written is read back exactly, and what is wrong is named with its file."""

import dataclasses
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.options import RunOptions
from orchestrator.presets import STUDIES, preset_options, smoke
from orchestrator.study_file import field_reference, load_study, parse_study, study_toml
from pcdarts.config import FROM_IMAGES, RetrainConfig, SearchConfig
from pcdarts.config.fields import field_docs
from pcdarts.presets import RECIPES
from tests.orchestrator.test_overrides import quiet


@pytest.mark.parametrize("name", STUDIES)
def test_every_preset_is_read_back_as_it_was_written(name):
    study, options = STUDIES[name](), preset_options(name)
    again = parse_study(study_toml(study, options), name="other", say=quiet)
    assert again == (study, options)
    assert [s.search_id for s in again[0].searches()] == [s.search_id for s in study.searches()]
    assert parse_study(study_toml(study), name="other", say=quiet) == (study, RunOptions())


@settings(max_examples=40)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=20), st.floats(1e-9, 1e9), st.booleans())
def test_all_texts_and_numbers_are_read_back(text, number, flag):
    search = dataclasses.replace(smoke().search, data_dir=text, learning_rate=number, compile=False, channels_last=flag)
    study = dataclasses.replace(smoke(), search=search, sweep={"alpha_learning_rate": (number, 2 * number)})
    assert parse_study(study_toml(study), name="other", say=quiet)[0] == study


def test_a_study_without_sweep_stays_one():
    single = dataclasses.replace(smoke(), sweep={})
    assert parse_study(study_toml(single), name="other")[0] == single


def test_every_field_stands_under_its_explanation():
    text = " ".join(study_toml(smoke(), RunOptions()).replace("\n#", "").split())
    for kind in (SearchConfig, RetrainConfig, RunOptions):
        for name, meaning in field_docs(kind).items():
            if name in FROM_IMAGES:  # whoever runs the file elsewhere has other images
                assert f"\n{name} = " not in study_toml(smoke())
                continue
            assert f"{meaning} {name} = " in text or f"{meaning} Replaced by the values in [sweep]. {name} = " in text
    assert max(map(len, study_toml(smoke()).splitlines())) <= 100


def test_a_short_file_changes_a_preset():
    text = """
        preset = "fashion"
        search.epochs = 4
        search.order = [1, 2]
        [sweep]
        k = [2, 4]
        [retrain]
        preset = "digits"
        epochs = 6
        [run]
        max_failures = 0
    """
    said = []
    study, options = parse_study(text, name="mine", say=said.append)
    assert study.name == "mine" and options == RunOptions(max_failures=0)
    assert study.sweep == {"seed": (0, 1, 2), "k": (2, 4), "order": (1, 2)}
    assert (study.search.epochs, study.search.warmup_epochs, len(said)) == (4, 2, 1)
    assert study.retrain == dataclasses.replace(RECIPES["digits"](), epochs=6)
    assert parse_study('preset = "demo"\nname = "twice"', name="mine")[1] == preset_options("demo")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[search", "Expected ']' at the end of a table declaration (at end of document)"),
        ('preset = "cifr10"', "preset is 'cifr10', but must be one of demo"),
        ("preset = 3", "preset is '3', but must be one of demo"),
        ('name = "x"', '[search] is missing; add it, or start from a preset, as in preset = "cifar10"'),
        ("[search]", "[retrain] is missing; add it"),
        ('preset = "smoke"\n[serch]\nk = 2', "serch.k is not a field; did you mean search.k?"),
        ('preset = "smoke"\n[serch]', "serch is not a field; `pcdarts run --help-fields` lists them"),
        ('preset = "smoke"\n[search.k]', "search.k is {}, but must be an integer"),
        ('preset = "smoke"\n[search]\nk = "2"', "search.k is '2', but must be an integer"),
        ('preset = "smoke"\n[search]\nk = 3', "search.k is 3, but must be one of [1, 2, 4]"),
        ('preset = "smoke"\n[sweep]\nk = 2', "sweep.k is 2, but must be a list"),
        ('preset = "smoke"\n[search]\nlearning_rate = inf', "search.learning_rate is inf, but must be a finite number"),
        (
            f'preset = "smoke"\n[search]\nlearning_rate = 1{"0" * 400}',
            f"search.learning_rate is 1{'0' * 400}, but must be",
        ),
        ('preset = "smoke"\nname = 3', "study name is 3, but must be letters"),
        ('preset = "smoke"\n[run]\nworkers = 0', "run.workers is 0, but must be at least 1"),
        ('preset = "smoke"\nsearch = 3', "search is not a field"),
    ],
)
def test_bad_files_are_named(text, message, tmp_path):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ValueError) as error:
        load_study(str(tmp_path / "mine.toml"), {})
    assert str(error.value).startswith(f"{tmp_path / 'mine.toml'}: {message}") and "\n" not in str(error.value)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.toml cannot be read: No such file or directory"):
        load_study(str(tmp_path / "absent.toml"), {})
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"bytes\.toml: 'utf-8' codec"):
        load_study(str(tmp_path / "bytes.toml"), {})
    with pytest.raises(ValueError, match="did you mean cifar10"):
        load_study("cifar", {})


def test_changes_come_after_the_file(tmp_path):
    (tmp_path / "mine.toml").write_text('preset = "smoke"\nsearch.k = 4')
    study, options = load_study(str(tmp_path / "mine.toml"), {"search.k": [1, 2], "run.wait": True})
    assert (study.name, study.sweep["k"]) == ("mine", (1, 2)) and options == RunOptions(retrain=True, wait=True)


def test_the_reference_names_every_field_with_value_and_type():
    lines = field_reference(smoke(), RunOptions()).splitlines()
    assert "search.k = 2  (an integer)" in lines and 'search.stem = "cifar"  (one of cifar, imagenet)' in lines
    assert "run.wait = false  (true or false)" in lines and "race.recipe.epochs = 2  (an integer)" in lines
    assert "    Epochs of the search." in lines
    assert "race.rungs = 1x2:1  (EPOCHSxSEEDS:KEEP, separated by commas, as in 25x1:4,100x2:2)" in lines
    named = {line.split(" = ")[0] for line in lines if " = " in line and not line.startswith(" ")}
    tables = tomllib.loads(study_toml(smoke(), RunOptions()))
    assert {f"search.{name}" for name in tables["search"]} < named and len(named) == sum(
        len(tables[section]) for section in ("search", "selection", "retrain", "final", "seeds", "run")
    ) + len(tables["race"]) - 1 + len(tables["race"]["recipe"])
