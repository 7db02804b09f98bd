"""Seeds that are asked for at an awkward moment run all the same."""

import dataclasses
import types

import orchestrator.study
from analysis.store import ResultStore
from analysis.tables import SEARCHES
from orchestrator.config import SeedConfig
from orchestrator.more_seeds import with_added_seeds
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from orchestrator.study import missing_searches, run_missing_searches
from tests.analysis.synthetic import search_row


def test_seeds_that_come_while_the_rule_adds_seeds_run_afterwards(tmp_path, monkeypatch):
    store = ResultStore(str(tmp_path))
    study = dataclasses.replace(smoke(), seeds=SeedConfig(target_halfwidth=0.1, max_seeds=20))
    requests = types.SimpleNamespace(study=study, store=store)
    rounds = []

    def run_searches(requests, lease, configs, *, options, say):
        rounds.append({config.seed for config in configs})
        for config in configs:
            accuracy = 50.0 + 20 * (config.seed % 2) * (len(rounds) == 1)  # the first round is not precise enough
            names = {
                "search_id": config.search_id,
                "setting": study.setting(config),
                "seed": config.seed,
                "k": config.k,
            }
            store.append(SEARCHES, [search_row(1, 0, accuracy) | names], config.search_id)
        if len(rounds) == 2:
            requests.study = with_added_seeds(requests.study, [77])

    monkeypatch.setattr(orchestrator.study, "run_searches", run_searches)
    assert run_missing_searches(requests, None, options=RunOptions(), say=lambda line: None)
    assert 77 in set.union(*rounds) and len(rounds) >= 3
    assert not missing_searches(requests.study, store)
