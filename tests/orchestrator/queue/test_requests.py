"""Requests: what is added is read again by whoever asks, and a broken one is named."""

import json
from dataclasses import replace

import pytest

from analysis.records import Candidate
from analysis.storage.study_files import StudyFiles
from orchestrator.queue.jobs import RetrainJob
from orchestrator.queue.requests import RequestLog
from pcdarts.genotype import PUBLISHED

CELL = Candidate(
    genotype=PUBLISHED["DARTS_V1"],
    origins=("x", "y"),
    valid_accuracy=90.0,
    reason="why",
    network_parameters=1,
    network_macs=2,
)
PLAIN_CELL = json.loads(json.dumps(vars(CELL) | {"genotype": str(CELL.genotype)}))
JOB = RetrainJob(
    job_id="ab-cd",
    cell=CELL,
    stage="rung",
    rung=2,
    recipe={"epochs": 2, "channels": 0},
    by_hand=False,
    submitted_at="2026-01-01T00:00:00+00:00",
)


def test_a_request_is_read_as_it_was_added_by_this_process_or_another(tmp_path):
    by_hand = replace(JOB, job_id="ab-ab", by_hand=True, cell=replace(CELL, valid_accuracy=None))
    here, there = (RequestLog(StudyFiles(str(tmp_path))) for _ in range(2))
    here.add(JOB)
    assert there.get("ab-cd") == JOB
    there.add(by_hand)
    assert here.read() == there.read() == {"ab-ab": by_hand, "ab-cd": JOB}
    assert list(here.read()) == list(there.read())


def test_of_two_that_submit_a_job_at_once_the_first_counts(tmp_path):
    here, there = (RequestLog(StudyFiles(str(tmp_path))) for _ in range(2))
    here.add(JOB)
    there.add(replace(JOB, by_hand=True))
    assert there.get(JOB.job_id) == here.get(JOB.job_id) == JOB


@pytest.mark.parametrize(
    "change",
    [
        {"job_id": "ab-ef"},
        {"stage": "last"},
        {"by_hand": 0},
        {"recipe": {"channels": 0}},
        {"recipe": {"epochs": 2**70}},
        {"cell": PLAIN_CELL | {"reason": "\ud800"}},
        {"colour": "red"},
        {"cell": {}},
        {"cell": PLAIN_CELL | {"origins": "x"}},
        {"cell": PLAIN_CELL | {"network_macs": 1.5}},
        {"cell": PLAIN_CELL | {"genotype": "Genotype(...)"}},
    ],
)
def test_a_broken_request_is_named(change, tmp_path):
    log = RequestLog(StudyFiles(str(tmp_path)))
    log.add(JOB)
    path = tmp_path / "ab-cd.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=r"request .*ab-cd\.json is broken; remove the file"):
        RequestLog(StudyFiles(str(tmp_path))).read()
