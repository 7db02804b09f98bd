"""Seeds that are added until the mean of a setting is known well enough."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.store import ResultStore
from analysis.tables import SEARCHES, SETTINGS
from orchestrator.config import SeedConfig, StudyConfig
from orchestrator.more_seeds import added_searches, further_searches, setting_rows
from orchestrator.presets import smoke
from orchestrator.study import RunOptions, run_study


def study(**seeds):
    return dataclasses.replace(smoke(), sweep={"seed": (0, 1, 5), "k": (1, 2)}, seeds=SeedConfig(**seeds))


def table(study, values):
    """A table of searches from accuracies by k, in order of seed; None for a failed one."""
    rows = []
    for k, accuracies in values.items():
        for seed, accuracy in zip((0, 1, 5, 6, 7, 8, 9, 10), accuracies, strict=False):
            config = dataclasses.replace(study.search, k=k, seed=seed)
            status = "failed" if accuracy is None else "completed"
            rows.append(
                {
                    "search_id": config.search_id,
                    "setting": study.setting(config),
                    "seed": seed,
                    "status": status,
                    "valid_accuracy": np.nan if accuracy is None else accuracy,
                }
            )
    return pd.DataFrame(rows, columns=["search_id", "setting", "seed", "status", "valid_accuracy"])


def added(study, values):
    return [(config.k, config.seed) for config in further_searches(study, table(study, values))]


def test_no_seed_is_added_unless_asked_for():
    assert added(study(), {1: [1, 2, 90], 2: [1, 2, 90]}) == []
    assert setting_rows(study(), table(study(), {1: [1, 2, 90]})) == []


def test_a_setting_waits_until_its_seeds_have_ended():
    assert added(study(target_halfwidth=0.1), {1: [70, 80], 2: [50, 50, 50]}) == []


def test_wide_settings_get_seeds_after_the_largest_one_and_at_most_double_them():
    assert added(study(target_halfwidth=0.1), {1: [70, 80, 75], 2: [50, 50, 50]}) == [(1, 6), (1, 7), (1, 8)]
    assert added(study(target_halfwidth=0.1, max_seeds=4), {1: [70, 80, 75], 2: [50, 50, 50]}) == [(1, 6)]


def test_as_many_seeds_as_the_deviation_so_far_asks_for():
    # std 1, t interval of 4 seeds: 3.182 / 2 = 1.59; of 3: 4.303 / sqrt(3) = 2.48; of 5: 2.776 / sqrt(5) = 1.24
    values = {1: [69, 70, 71], 2: [50, 50, 50]}
    assert added(study(target_halfwidth=2.5), values) == []
    assert added(study(target_halfwidth=1.6), values) == [(1, 6)]
    assert added(study(target_halfwidth=1.25), values) == [(1, 6), (1, 7)]


def test_the_setting_with_the_fewest_seeds_comes_first():
    values = {1: [70, 80, 75, 72, 71], 2: [50, 60, 70]}
    assert [k for k, _ in added(study(target_halfwidth=0.01, max_seeds=6), values)] == [2, 2, 2, 1]


def test_failed_seeds_use_up_the_budget_but_do_not_enter_the_mean():
    values = {1: [70, None, None], 2: [50, 50, 50]}
    assert added(study(target_halfwidth=0.1, max_seeds=4), values) == [(1, 6)]
    assert added(study(target_halfwidth=0.1, max_seeds=3), values) == []
    wide, narrow = setting_rows(study(target_halfwidth=0.1, max_seeds=3), table(study(), values))
    assert (wide["seeds_run"], wide["seeds_with_result"], wide["mean"], wide["halfwidth"]) == (3, 1, 70.0, None)
    assert "all 3 seeds are used" in wide["reason"]
    assert (narrow["mean"], narrow["halfwidth"]) == (50.0, 0.0) and "within the target" in narrow["reason"]


def test_the_corrected_interval_asks_for_more():
    values = {1: [69, 70, 71], 2: [50, 50, 50]}
    assert len(added(study(target_halfwidth=1.6, corrected_interval=True), values)) > 1


def test_random_cells_have_no_mean_and_get_no_seeds():
    random = dataclasses.replace(study(target_halfwidth=0.1), sweep={"seed": (0,), "method": ("random",)})
    rows = [{"search_id": c.search_id, "setting": random.setting(c), "seed": 0} for c in random.searches()]
    frame = pd.DataFrame(rows).assign(status="completed", valid_accuracy=np.nan)
    assert further_searches(random, frame) == [] == setting_rows(random, frame)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"target_halfwidth": -1.0}, "target_halfwidth is -1"), ({"max_seeds": 1}, "max_seeds is 1, .*at least 2")],
)
def test_bad_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SeedConfig(**values)


def test_a_study_without_the_field_can_be_read():
    plain = smoke().to_dict()
    del plain["seeds"]
    assert StudyConfig.from_dict(plain) == smoke()


def test_added_searches_are_known_from_the_table():
    wide = study(target_halfwidth=0.1)
    frame = table(wide, {1: [70, 80, 75, None, 71], 2: [50, 50, 50]})
    assert [(config.k, config.seed) for config in added_searches(wide, frame)] == [(1, 6), (1, 7)]
    assert added_searches(study(), frame) == []


def test_a_study_adds_seeds_up_to_the_most_and_records_why_it_stopped(tmp_path, ray_session):
    wide = dataclasses.replace(
        smoke(),
        search=dataclasses.replace(smoke().search, batch_size=10),
        sweep={"seed": (0, 1), "k": (2,)},
        seeds=SeedConfig(target_halfwidth=1e-6, max_seeds=3),
    )
    said = []
    options = RunOptions(address="local")
    for _ in range(2):  # the second time nothing is left to do
        run_study(wide, str(tmp_path), options=options, command=["pcdarts"], say=said.append)
    store = ResultStore(str(tmp_path))
    assert sorted(store.read(SEARCHES)["seed"]) == [0, 1, 2]
    (row,) = store.read(SETTINGS).to_dict("records")
    assert (row["setting"], row["seeds_run"]) == ("k=2", 3) and "all 3 seeds are used" in row["reason"]
    assert sum(line.startswith("1 more search: ") for line in said) == 1
