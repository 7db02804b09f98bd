"""Tables of made-up studies: every number of a training is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from analysis.records import RetrainIdentity, SearchIdentity, SearchSetting, Stage
from analysis.tables import QUEUE, RETRAINS, SEARCHES
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.results import RetrainResult
from pcdarts.spaces import SPACES, random_genotype

RECIPE = RetrainConfig()
SHORT = replace(RECIPE, epochs=25)
ALL_IMAGES = replace(RECIPE, validation_portion=0.0)


@dataclass(kw_only=True)
class Tables:
    """Rows of a study; cells are named by numbers."""

    searches: list[dict[str, Any]] = field(default_factory=list)
    queue: list[dict[str, Any]] = field(default_factory=list)
    retrains: list[dict[str, Any]] = field(default_factory=list)

    def search(self, setting: str, seed: int, cell: int | None, **values: Any) -> None:
        """A search that found a cell, or failed for None."""
        method = "random" if setting == "random" else "pcdarts"
        k = int(setting.split(",")[0].removeprefix("k=")) if setting.startswith("k=") else 4
        config = SearchConfig(method=method, seed=seed, k=k)
        identity = SearchIdentity(search_id=f"{setting}-{seed}", study="made-up", status="completed", error="")
        row = SEARCHES.row(identity, SearchSetting(setting=setting, sampling_rate=None), config)
        if cell is None:
            row |= {"status": "failed", "error": "out of memory"}
        else:
            row |= {"genotype": str(genotype(cell)), "genotype_digest": digest(cell), "warnings": ""}
            row["device_name"] = "a GPU"
        self.searches.append(row | values)

    def train(
        self,
        cell: int,
        tested: Sequence[float | None],
        *,
        validated: Sequence[float] | None = None,
        stage: Stage = "final",
        rung: int | None = None,
        recipe: RetrainConfig = RECIPE,
        **values: Any,
    ) -> None:
        """A training of a cell for each test error; None failed for good."""
        for seed, error in enumerate(tested):
            job = {"job_id": f"{cell}-{stage}-{len(self.queue)}", "study": "made-up"}
            job |= {"stage": stage, "rung": rung, "genotype_digest": digest(cell)}
            self.queue.append(queued(job, cell, "failed" if error is None else "done"))
            identity = RetrainIdentity(**job, attempt=1, status="completed", error="", genotype=str(genotype(cell)))
            if error is None:
                self.retrains.append(RETRAINS.row(identity, recipe, status="failed", error="node lost"))
                continue
            row = RETRAINS.row(identity, replace(recipe, seed=seed), result(100 - error, recipe))
            row["valid_accuracy"] = None if validated is None else 100 - validated[seed]
            self.retrains.append(row | values)

    def wait(self, cell: int, *, stage: Stage = "final") -> None:
        """A training that has not started."""
        job = {"job_id": f"{cell}-waits", "study": "made-up", "stage": stage, "genotype_digest": digest(cell)}
        self.queue.append(queued(job, cell, "queued"))

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """The tables `searches`, `queue` and `retrains`."""
        tables = ((SEARCHES, self.searches), (QUEUE, self.queue), (RETRAINS, self.retrains))
        searches, queue, retrains = (table.to_arrow(rows).to_pandas() for table, rows in tables)
        return searches, queue, retrains


def settings_with(errors: Mapping[str, Sequence[float]]) -> Tables:
    """Settings whose searches, by seed, found a cell each, trained once with these test errors."""
    tables, cell = Tables(), 0
    for setting, values in errors.items():
        for seed, error in enumerate(values):
            tables.search(setting, seed, cell)
            tables.train(cell, [error], validated=[error])
            cell += 1
    return tables


def genotype(cell: int) -> Any:
    return random_genotype(SPACES["darts"], cell)


def digest(cell: int) -> str:
    return str(genotype(cell).digest)


def queued(job: Mapping[str, Any], cell: int, state: str) -> dict[str, Any]:
    return QUEUE.row(
        job,
        genotype=genotype(cell),
        origins=(),
        reason="made up",
        network_parameters=3_000_000,
        network_macs=500_000_000,
        submitted_at="2026-01-01T12:00:00+00:00",
        rank=1,
        state=state,
        attempts=1,
        error="",
    )


def result(test_accuracy: float, recipe: RetrainConfig) -> RetrainResult:
    validated = recipe.validation_portion > 0
    return RetrainResult(
        best_epoch=recipe.epochs - 1,
        train_loss=0.1,
        train_accuracy=99.0,
        valid_accuracy=None,
        test_loss=0.1,
        test_accuracy=test_accuracy,
        network_parameters=3_000_000,
        network_macs=500_000_000,
        epochs_trained=recipe.epochs,
        seconds=1e5,
        peak_memory_bytes=2**33,
        device_name="a GPU",
        training_images=45_000 if validated else 50_000,
        validation_images=5_000 if validated else 0,
        test_images=10_000,
    )
