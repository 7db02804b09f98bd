"""Made-up studies for the tests: rows that look like those of real searches."""

import math
import random
from typing import Any

from analysis.records import DerivedNetwork, EpochIdentity, Provenance, RetrainIdentity, SearchIdentity, SearchSetting
from analysis.store import ResultStore
from analysis.tables import EPOCHS, QUEUE, RETRAINS, SEARCHES
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.genotype import PUBLISHED
from pcdarts.results import EpochRecord, RetrainResult, SearchResult

PROVENANCE = Provenance(
    git_revision="0123abc",
    python_version="3.12.1",
    torch_version="2.9.0",
    ray_version="2.50.0",
    started_at="2026-01-01T10:00:00+00:00",
    finished_at="2026-01-01T11:00:00+00:00",
)


def search_row(
    k: int, seed: int, accuracy: float | None, study: str = "demo", cell: str = "PC_DARTS_cifar"
) -> dict[str, Any]:
    """A completed search, or a failed one where the accuracy is None."""
    config = SearchConfig(k=k, seed=seed, dataset="synthetic", epochs=10, warmup_epochs=3)
    genotype = PUBLISHED[cell]
    common = (SearchSetting(setting=f"k={k}", sampling_rate=1 / k), config, PROVENANCE)
    identity = SearchIdentity(search_id=config.search_id, study=study, status="completed", error="")
    if accuracy is None:
        return SEARCHES.row(identity, *common, status="failed", error="RuntimeError: out of memory")
    normal, reduce = genotype.count("skip_connect")
    result = SearchResult(
        genotype=str(genotype),
        genotype_digest=genotype.digest,
        train_loss=0.6,
        train_accuracy=accuracy + 3,
        valid_loss=0.7,
        valid_accuracy=accuracy,
        supernet_parameters=299_578,
        epochs_trained=10,
        last_genotype_change=7,
        skip_connections_normal=normal,
        skip_connections_reduce=reduce,
        seconds=120.5 + seed,
        peak_memory_bytes=2**30,
        device_name="cpu (x86_64)",
        chosen_epoch=9,
        warnings="skip rule: the normal cell has 5 skip connections, more than 4" if seed == 2 else "",
        early_stop_epoch=6 if seed == 2 else None,
        alpha_entropy_normal=1.9 - 0.1 / k,
        alpha_entropy_reduce=1.95 - 0.1 / k,
        dominant_eigenvalue=0.3 + 0.2 / k + 0.01 * seed,
        discretization_gap=20.0 + 5 / k,
        weight_norm=60.0 + 10 / k + seed,
        alpha_norm=0.5 + 0.3 / k + 0.02 * seed,
        train_valid_gap=3.0,
    )
    size = DerivedNetwork(network_parameters=3_634_678, network_macs=556_670_592)
    return SEARCHES.row(identity, *common, result, size)


def epoch_rows(search: dict[str, Any], epochs: int = 10) -> list[dict[str, Any]]:
    """Epochs that lead to a completed search."""
    rng = random.Random(search["search_id"])
    rows = []
    for epoch in range(epochs):
        size = 1e-3 + 0.1 * max(0, epoch - 2)
        matrix = tuple(tuple(size * rng.gauss(0, 1) for _ in range(8)) for _ in range(14))
        entropy = 2.079 - 0.02 * max(0, epoch - 2) * (1 + 0.2 * rng.random())
        record = EpochRecord(
            epoch=epoch,
            alpha_trained=epoch >= 3,
            learning_rate=0.1 * (1 + math.cos(math.pi * epoch / epochs)) / 2,
            train_loss=1.0,
            train_accuracy=50.0,
            valid_loss=1.0,
            valid_accuracy=search["valid_accuracy"] * (1 - 0.6 * math.exp(-epoch / 2.5)) + rng.gauss(0, 0.4),
            genotype=search["genotype"],
            genotype_digest=search["genotype_digest"],
            alphas_normal=matrix,
            alphas_reduce=matrix,
            betas_normal=matrix[0],
            betas_reduce=matrix[0],
            alpha_entropy_normal=entropy,
            alpha_entropy_reduce=entropy + 0.02,
            beta_entropy_normal=0.9,
            beta_entropy_reduce=0.9,
            skip_connections_normal=1,
            skip_connections_reduce=0,
            seconds=12.0,
            peak_memory_bytes=2**30,
            dominant_eigenvalue=0.1 + 0.04 * epoch + 0.01 * rng.random() if epoch % 2 == 0 else None,
            discretization_gap=20.0 + epoch if epoch % 2 == 0 else None,
        )
        rows.append(EPOCHS.row(EpochIdentity(search_id=search["search_id"], study=search["study"]), record))
    return rows


def queue_row(search: dict[str, Any], rank: int, state: str = "queued") -> dict[str, Any]:
    """A full retraining of the cell of a search."""
    names = ("study", "genotype", "genotype_digest", "valid_accuracy", "network_parameters", "network_macs")
    return QUEUE.row(
        {name: search[name] for name in names},
        job_id=f"retrain-{search['genotype_digest'][:8]}",
        stage="final",
        rank=rank,
        state=state,
        origins=(search["search_id"],),
        reason="best validation accuracy",
        attempts=int(state != "queued"),
        error="",
        submitted_at="2026-01-01T12:00:00+00:00",
    )


def retrain_row(
    job: dict[str, Any], test_accuracy: float | None, attempt: int = 1, valid_accuracy: float | None = 97.0
) -> dict[str, Any]:
    """A completed retraining of a job, or a failed one where the test accuracy is None."""
    names = ("job_id", "study", "genotype", "genotype_digest", "stage")
    failed = test_accuracy is None
    identity = RetrainIdentity(
        **{name: job[name] for name in names},
        attempt=attempt,
        status="failed" if failed else "completed",
        error="node lost" if failed else "",
    )
    result = RetrainResult(
        best_epoch=590,
        train_loss=0.1,
        train_accuracy=99.0,
        valid_accuracy=valid_accuracy,
        test_loss=0.1,
        test_accuracy=test_accuracy or 0.0,
        network_parameters=3_634_678,
        network_macs=556_670_592,
        epochs_trained=600,
        seconds=1e5,
        peak_memory_bytes=2**33,
        device_name="cpu (x86_64)",
    )
    return RETRAINS.row(identity, RetrainConfig(), PROVENANCE, *([] if failed else [result]))


def write_study(root: str, study: str = "demo") -> ResultStore:
    """Three settings with three seeds each, one of which failed, two queued cells, one of them retrained."""
    store = ResultStore(root)
    names = ["PC_DARTS_cifar", "PC_DARTS_image", "DARTS_V2"]
    rng = random.Random(0)
    searches = []
    for number, k in enumerate((2, 4, 8)):
        for seed in range(3):
            accuracy = None if (k, seed) == (8, 1) else 80 + 1.5 * (k == 4) + rng.gauss(0, 0.5)
            searches.append(search_row(k, seed, accuracy, study, names[(number + seed) % 3]))
    for search in searches:
        store.append(SEARCHES, [search], search["search_id"])
        if search["status"] == "completed":
            store.append(EPOCHS, epoch_rows(search), search["search_id"])
    jobs = [queue_row(searches[3], 1, "done"), queue_row(searches[4], 2)]
    for job in jobs:
        store.append(QUEUE, [job], job["job_id"])
    store.append(RETRAINS, [retrain_row(jobs[0], 97.4)], f"{jobs[0]['job_id']}-1")
    store.write_text("study.json", '{"name": "demo", "search": {"k": [2, 4, 8]}, "seeds": [0, 1, 2]}')
    return store
