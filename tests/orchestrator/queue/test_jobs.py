"""Jobs: their names, their recipes in a study, and their rows in the table."""

import dataclasses
from dataclasses import replace

import pytest

from analysis.records import Candidate
from orchestrator.presets import smoke
from orchestrator.queue.events import JobState
from orchestrator.queue.jobs import QueuedJob, RetrainJob
from pcdarts.config import NOT_IDENTITY, RetrainConfig
from pcdarts.genotype import Genotype

CELL = Candidate(
    genotype=Genotype([("skip_connect", 0), ("sep_conv_3x3", 1)], [2], [("noise", 0), ("noise", 1)], [2]),
    origins=("a", "b"),
    valid_accuracy=90.0,
    reason="best",
    network_parameters=10,
    network_macs=20,
)
RECIPE = RetrainConfig(epochs=10, data_dir="/submitted", checkpoint_every=2)
JOB = RetrainJob.of(CELL, RECIPE, "final")


def test_isomorphic_cells_and_equal_recipes_are_one_job():
    swapped = Genotype([("sep_conv_3x3", 1), ("skip_connect", 0)], [2], [("noise", 0), ("noise", 1)], [2])
    assert RetrainJob.of(replace(CELL, genotype=swapped), replace(RECIPE, data_dir="/x"), "final").job_id == JOB.job_id
    assert RetrainJob.of(CELL, replace(RECIPE, seed=1), "final").job_id != JOB.job_id
    other = Genotype([("max_pool_3x3", 0), ("sep_conv_3x3", 1)], [2], [("noise", 0), ("noise", 1)], [2])
    assert RetrainJob.of(replace(CELL, genotype=other), RECIPE, "final").job_id != JOB.job_id


def test_a_recipe_is_as_submitted_but_for_the_data_folder_and_how_often_to_save():
    study = RetrainConfig(epochs=99, data_dir="/here", checkpoint_every=5)
    assert JOB.config(study) == replace(RECIPE, data_dir="/here", checkpoint_every=5)
    others = NOT_IDENTITY | {"data_fingerprint"}
    assert JOB.recipe.keys() == {f.name for f in dataclasses.fields(RetrainConfig)} - others
    found = replace(study, data_fingerprint="50+10 images, 3x32x32, 0a1b2c3d")
    assert JOB.config(found).data_fingerprint == found.data_fingerprint
    assert JOB.config(replace(found, dataset="digits")).data_fingerprint == ""


def test_a_field_that_is_newer_than_the_job_has_its_default():
    older = replace(JOB, recipe={name: value for name, value in JOB.recipe.items() if name != "cutout"})
    assert older.config(replace(RECIPE, cutout=3)).cutout == RetrainConfig().cutout


@pytest.mark.parametrize(("change", "error"), [({"channels": 0}, ValueError), ({"colour": 1}, TypeError)])
def test_an_impossible_recipe_is_refused_when_it_is_used(change, error):
    job = replace(JOB, recipe={**JOB.recipe, **change})
    with pytest.raises(error, match=next(iter(change))):
        job.config(smoke().retrain)


@pytest.mark.parametrize(
    ("state", "columns"),
    [
        (JobState(), {}),
        (JobState(state="running", epochs=4, epoch_seconds=2.5), {"epochs_done": 4, "seconds_left": 15.0}),
        (JobState(state="done", epochs=4, epoch_seconds=2.5), {"epochs_done": 10}),
        (JobState(error="lost", attempts=1, retry_at=3600.0), {"retry_at": "1970-01-01T01:00:00+00:00", "attempts": 1}),
    ],
)
def test_the_row_of_a_job(state, columns):
    assert QueuedJob(job=replace(JOB, submitted_at="now"), state=state, rank=3).row("study") == {
        "job_id": JOB.job_id,
        "study": "study",
        "stage": "final",
        "rung": None,
        "genotype": str(CELL.genotype),
        "genotype_digest": CELL.genotype.digest,
        "origins": ("a", "b"),
        "valid_accuracy": 90.0,
        "reason": "best",
        "network_parameters": 10,
        "network_macs": 20,
        "submitted_at": "now",
        "rank": 3,
        "state": state.state,
        "attempts": 0,
        "error": state.error,
        "epochs_done": 0,
        "epochs_planned": 10,
        "seconds_left": None,
        "retry_at": None,
        **columns,
    }
