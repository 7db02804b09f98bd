"""Simulated studies whose truth is known: the tables that a study would have written.

Figures are those of CIFAR-10.  40 PC-DARTS searches by an independent user gave cells of 97.00 +- 0.20 % test accuracy
with one retraining each, in no relation to one-shot accuracy (86.27 +- 0.43 %, Spearman 0.02).  Retraining a cell again
varies by 0.07 to 0.1 points, which leaves a deviation of 0.17 points between cells.

All trainings are measured on the same images, so their errors are alike: a network errs on an image if

    sqrt(shared) x difficulty of the image + sqrt(1 - shared) x noise of the training  >  quantile of its true accuracy

with standard normal difficulty and noise.  With a shared part of 0.93 two networks of 3 % test error have two thirds of
their errors in common.  Trainings of one cell then vary by 0.1 points on given 10,000 test images, and all of them by
0.17 points over sets of images.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from analysis.records import DerivedNetwork, RetrainIdentity, SearchIdentity, SearchSetting, Stage
from analysis.store import ResultStore
from analysis.tables import EPOCHS, QUEUE, RETRAINS, SEARCHES
from orchestrator.queue.jobs import make_job_id
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.genotype import Genotype
from pcdarts.results import RetrainResult, SearchResult
from pcdarts.spaces import SPACES, random_genotype
from tests.analysis.synthetic import PROVENANCE, epoch_rows

FULL = RetrainConfig()
"""The full training: CIFAR-10, 600 epochs, 45,000 images."""
PUBLISHED = RetrainConfig(validation_portion=0.0)
"""The full training on all images; the last epoch is tested."""
COLLAPSE = 1.0
"""Points that a collapsed search costs its cell."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Deviations in percentage points, and sizes of the sets of images."""

    cells: float = 0.17
    """Of the true accuracies of the cells of a setting."""
    trainings: float = 0.04
    """Of the true accuracies of trainings of one cell, besides what the images add."""
    one_shot: float = 0.43
    """Of one-shot accuracies between the searches of a setting."""
    one_shot_correlation: float = 0.02
    """Correlation of one-shot and true accuracy within a setting."""
    short: tuple[tuple[int, float], ...] = ((25, 0.6), (100, 0.8))
    """(epochs, correlation of the cells' true accuracies after these epochs and after the full training)."""
    shared: float = 0.93
    """Part of the variance that the images have in common for all trainings, see the module."""
    test_images: int = 10_000
    """Test images; 0: accuracies are the true ones, and no predictions are kept."""
    validation_images: int = 5_000
    """Validation images, another number than of test images; 0: accuracies are the true ones."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting of the study."""

    k: int = 4
    method: str = "pcdarts"
    searches: int = 5
    accuracy: float = 97.0
    """True mean accuracy of its cells after the full training, percent."""
    one_shot: float = 86.3
    """Mean one-shot accuracy; random cells have none."""
    collapsed: tuple[int, ...] = ()
    """Seeds with a warning; their cells lose COLLAPSE points, and their one-shot accuracy gains 2."""
    failed: tuple[int, ...] = ()
    """Seeds without a result."""

    @property
    def name(self) -> str:
        return f"k={self.k}" if self.method == "pcdarts" else f"method={self.method}"


@dataclass(kw_only=True)
class SimulatedStudy:
    """Searches at first; `retrain` adds trainings of their cells.  Every random number comes from the generator."""

    settings: Sequence[Setting]
    generator: np.random.Generator
    noise: Noise = Noise()
    name: str = "simulated"
    truth: dict[str, float] = field(default_factory=dict)
    """Digest of a cell to its expected accuracy after the full training with a validation part, percent."""
    trained: dict[str, float] = field(default_factory=dict)
    """Job to the true accuracy of the network that it trained, percent."""
    setting_of: dict[str, Setting] = field(default_factory=dict)
    searches: list[dict[str, Any]] = field(default_factory=list)
    queue: list[dict[str, Any]] = field(default_factory=list)
    retrains: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = sum(setting.searches for setting in self.settings)
        self._difficulty = {
            images: self.generator.standard_normal(images, dtype=np.float32)
            for images in (self.noise.test_images, self.noise.validation_images)
        }
        self._short: dict[tuple[str, int], float] = {}
        numbers = iter(self.generator.permutation(count))
        for setting in self.settings:
            self.searches += [self._search(setting, seed, int(next(numbers))) for seed in range(setting.searches)]

    def true_accuracy(self, digest: str, recipe: RetrainConfig) -> float:
        """Expected accuracy of a cell after a training by a recipe, percent.

        Shorter trainings are worse by 75 / epochs points and order the cells otherwise, to the degree of `noise.short`;
        10 % more images add 0.1 points.
        """
        full = self.truth[digest] + (0.1 if recipe.validation_portion == 0 else 0.0)
        correlation = dict(self.noise.short).get(recipe.epochs, 1.0)
        if recipe.epochs == FULL.epochs:
            return full
        if (digest, recipe.epochs) not in self._short:
            self._short[digest, recipe.epochs] = self.noise.cells * float(self.generator.standard_normal())
        mean = self.setting_of[digest].accuracy
        mixed = correlation * (full - mean) + math.sqrt(1 - correlation**2) * self._short[digest, recipe.epochs]
        return mean + mixed - 75 / recipe.epochs

    def training(self, digest: str, recipe: RetrainConfig) -> float:
        """The true accuracy of a network that is trained now."""
        return self.true_accuracy(digest, recipe) + self.noise.trainings * float(self.generator.standard_normal())

    def measured(self, true: float, images: int) -> tuple[float, bytes | None]:
        """A network's accuracy on the study's set of that many images, and which it classifies correctly, packed."""
        if not images:
            return true, None
        noise = self.generator.standard_normal(images, dtype=np.float32)
        latent = math.sqrt(self.noise.shared) * self._difficulty[images] + math.sqrt(1 - self.noise.shared) * noise
        correct = latent <= special.ndtri(min(true, 99.999) / 100)
        return 100 * float(correct.mean()), np.packbits(correct).tobytes()

    def cells(self, *names: str) -> list[str]:
        """Digests of the cells of these settings, of all without names, in the order of the searches."""
        kept = [digest for digest, setting in self.setting_of.items() if not names or setting.name in names]
        return [digest for digest in kept if digest in self.truth]

    def networks(self, digest: str, stage: Stage) -> list[float]:
        """True accuracies of the networks that were trained of a cell in a stage, percent."""
        rows = [row for row in self.retrains if (row["genotype_digest"], row["stage"]) == (digest, stage)]
        return [self.trained[row["job_id"]] for row in rows if row["status"] == "completed"]

    def retrain(
        self,
        cells: Iterable[str],
        recipe: RetrainConfig = FULL,
        *,
        stage: Stage = "final",
        seeds: int = 1,
        rung: int | None = None,
        failed: Iterable[str] = (),
    ) -> None:
        """Train cells `seeds` times each; all trainings of the cells in `failed` fail."""
        lost = set(failed)
        jobs = [(digest, dataclasses.replace(recipe, seed=seed)) for digest in cells for seed in range(seeds)]
        for rank, (digest, seeded) in enumerate(jobs, 1):
            self._train(digest, seeded, stage=stage, rung=rung, rank=rank, failed=digest in lost)

    def race(self, rungs: Iterable[tuple[int, int, int]]) -> list[str]:
        """Train the cells of all settings in rungs of (epochs, seeds, cells kept) and return those kept by the last.

        Kept are the best by mean validation accuracy; every setting keeps one but in the last rung.
        """
        racing, planned = self.cells(), list(rungs)
        for number, (epochs, seeds, keep) in enumerate(planned, 1):
            self.retrain(racing, dataclasses.replace(FULL, epochs=epochs), stage="rung", seeds=seeds, rung=number)
            racing = self.best(racing, rung=number, keep=keep, each_setting=number < len(planned))
        return racing

    def best(self, cells: Iterable[str], *, rung: int | None, keep: int, each_setting: bool) -> list[str]:
        """The best cells by their mean validation accuracy in a rung, or in the final stage."""
        stage = "final" if rung is None else "rung"
        results: dict[str, list[float]] = {}
        for row in self.retrains:
            if (row["stage"], row["rung"]) == (stage, rung) and row["status"] == "completed":
                results.setdefault(row["genotype_digest"], []).append(row["valid_accuracy"])
        order = sorted(set(cells) & set(results), key=lambda digest: -float(np.mean(results[digest])))
        firsts = {self.setting_of[digest].name: digest for digest in reversed(order)} if each_setting else {}
        floor = set(firsts.values())
        others = [digest for digest in order if digest not in floor][: max(0, keep - len(floor))]
        return [digest for digest in order if digest in floor or digest in others]

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """The tables `searches`, `queue` and `retrains`."""
        tables = ((SEARCHES, self.searches), (QUEUE, self.queue), (RETRAINS, self.retrains))
        searches, queue, retrains = (table.to_arrow(rows).to_pandas() for table, rows in tables)
        return searches, queue, retrains

    def write(self, root: str, *, epochs: int = 0) -> ResultStore:
        """The study as a folder, with that number of epochs of every search."""
        store = ResultStore(root)
        trained = [row for row in self.searches if row["status"] != "failed" and row["method"] != "random"]
        epochs = [epoch for search in trained for epoch in epoch_rows(search)]
        for table, rows in (
            (SEARCHES, self.searches),
            (EPOCHS, epochs),
            (QUEUE, self.queue),
            (RETRAINS, self.retrains),
        ):
            if rows:
                store.append(table, rows, "simulated")
        store.write_text("study.json", f'{{"name": "{self.name}", "command": ["pcdarts", "run", "{self.name}"]}}')
        return store

    def _search(self, setting: Setting, seed: int, number: int) -> dict[str, Any]:
        config = _search_config(setting.method, setting.k, seed)
        rate = None if setting.method == "random" else 1 / setting.k
        common = (SearchSetting(setting=setting.name, sampling_rate=rate), config, PROVENANCE)
        identity = SearchIdentity(search_id=config.search_id, study=self.name, status="completed", error="")
        if seed in setting.failed:
            return SEARCHES.row(identity, *common, status="failed", error="RuntimeError: out of memory")
        deviation, other = (float(value) for value in self.generator.standard_normal(2))
        correlation, collapsed = self.noise.one_shot_correlation, seed in setting.collapsed
        one_shot = correlation * deviation + math.sqrt(1 - correlation**2) * other
        text, digest = _cell(number)
        self.truth[digest] = setting.accuracy + self.noise.cells * deviation - COLLAPSE * collapsed
        self.setting_of[digest] = setting
        result = SearchResult(
            genotype=text,
            genotype_digest=digest,
            train_loss=0.3,
            train_accuracy=91.0,
            valid_loss=0.4,
            valid_accuracy=setting.one_shot + self.noise.one_shot * one_shot + 2 * collapsed,
            supernet_parameters=1_197_000 // setting.k,
            epochs_trained=config.epochs,
            last_genotype_change=config.epochs - 3,
            skip_connections_normal=7 if collapsed else 1,
            skip_connections_reduce=0,
            seconds=0.1 * 86_400,
            peak_memory_bytes=10 * 2**30,
            device_name="NVIDIA GeForce GTX 1080 Ti",
            chosen_epoch=config.epochs - 1,
            warnings="skip rule: the normal cell has 7 skip connections, more than 4" if collapsed else "",
            gpu_days=0.1,
        )
        size = DerivedNetwork(
            network_parameters=int(self.generator.integers(3_000_000, 4_500_000)),
            network_macs=int(self.generator.integers(450_000_000, 700_000_000)),
        )
        row = SEARCHES.row(identity, *common, result, size)
        if setting.method == "random":
            row |= dict.fromkeys(("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "gpu_days"))
            row |= {"supernet_parameters": 0, "epochs_trained": 0, "chosen_epoch": None, "seconds": 0.01}
        return row

    def _train(
        self, digest: str, recipe: RetrainConfig, *, stage: Stage, rung: int | None, rank: int, failed: bool
    ) -> None:
        search = next(row for row in self.searches if row["genotype_digest"] == digest)
        job = {
            "job_id": _job_id(search["genotype"], recipe),
            "study": self.name,
            "stage": stage,
            "rung": rung,
            "genotype_digest": digest,
        }
        copied = ("genotype", "valid_accuracy", "network_parameters", "network_macs")
        self.queue.append(
            QUEUE.row(
                job,
                {name: search[name] for name in copied},
                origins=(search["search_id"],),
                reason="simulated",
                submitted_at="2026-01-01T12:00:00+00:00",
                rank=rank,
                state="failed" if failed else "done",
                attempts=1,
                error="node lost" if failed else "",
                epochs_done=0 if failed else recipe.epochs,
                epochs_planned=recipe.epochs,
            )
        )
        status, error = ("failed", "node lost") if failed else ("completed", "")
        identity = RetrainIdentity(**job, attempt=1, status=status, error=error, genotype=search["genotype"])
        if failed:
            self.retrains.append(RETRAINS.row(identity, recipe, PROVENANCE))
            return
        validated = recipe.validation_portion > 0
        true = self.trained[job["job_id"]] = self.training(digest, recipe)
        valid_accuracy = self.measured(true, self.noise.validation_images)[0] if validated else None
        test_accuracy, test_correct = self.measured(true, self.noise.test_images)
        result = RetrainResult(
            best_epoch=recipe.epochs - 5 if validated else recipe.epochs - 1,
            train_loss=0.05,
            train_accuracy=99.0,
            valid_accuracy=valid_accuracy,
            test_loss=0.1,
            test_accuracy=test_accuracy,
            network_parameters=search["network_parameters"],
            network_macs=search["network_macs"],
            epochs_trained=recipe.epochs,
            seconds=150.0 * recipe.epochs,
            peak_memory_bytes=2**33,
            device_name="NVIDIA GeForce GTX 1080 Ti",
            training_images=45_000 if validated else 50_000,
            validation_images=self.noise.validation_images or 5_000 if validated else 0,
            test_images=self.noise.test_images or 10_000,
            test_correct=test_correct,
        )
        self.retrains.append(RETRAINS.row(identity, recipe, PROVENANCE, result))


def simulated_studies(
    count: int, settings: Sequence[Setting], *, seed: int, noise: Noise = Noise()
) -> Iterator[SimulatedStudy]:
    """Independent studies of the same settings, without retrainings; the same for the same seed."""
    for child in np.random.SeedSequence(seed).spawn(count):
        yield SimulatedStudy(settings=settings, generator=np.random.default_rng(child), noise=noise)


@lru_cache(maxsize=1024)
def _cell(number: int) -> tuple[str, str]:
    """Text and digest of a random cell: a label that says nothing of the cell's accuracy."""
    genotype = random_genotype(SPACES["darts"], number)
    return str(genotype), genotype.digest


@lru_cache(maxsize=1024)
def _search_config(method: Any, k: int, seed: int) -> SearchConfig:
    return SearchConfig(method=method, k=k, seed=seed)


@lru_cache(maxsize=8192)
def _job_id(genotype: str, recipe: RetrainConfig) -> str:
    return make_job_id(Genotype.parse(genotype), recipe)
