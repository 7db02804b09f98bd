"""What `pcdarts export` does: a retrained job of a study becomes weights, cells and a model card."""

import dataclasses
from pathlib import Path
from typing import Any

from analysis.store import ResultStore
from analysis.tables import RETRAINS, SEARCHES
from orchestrator.queue.retrain_queue import find_job
from orchestrator.storage.study_folder import checkpoint, open_study, stored_descriptions
from pcdarts.config import RetrainConfig, outcome_fields
from pcdarts.data.datasets import DATASETS, dataset_info, fits_memory
from pcdarts.data.decoding.crops import shorter_side
from pcdarts.export import export_network, export_onnx, model_card, network_from_weights
from pcdarts.genotype import Genotype
from pcdarts.pretrained import ImageInput
from pcdarts.results import RetrainResult

ORIGIN = ("study", "job_id", "git_revision", "python_version", "torch_version", "ray_version", "device_name")
"""Columns of the table `retrains` that say where a network comes from."""


def export_job(root: str, job: str, folder: str, *, onnx: bool = False, ema: bool = False) -> list[Path]:
    """Write the network of a finished job, with the weights of its best epoch; returns the files.

    With `ema` their moving average, at its own best epoch.  Raises ValueError if the study has no such job, the
    job has no result, or it kept no average.
    """
    study, store = open_study(root)
    row = _result(store, job)
    job = row["job_id"]
    saved = checkpoint(root, job).read()
    if saved is None:
        raise ValueError(f"the checkpoint of job {job} is missing from {root!r}; its weights are lost")
    genotype = Genotype.parse(row["genotype"])
    names = {field.name for field in dataclasses.fields(RetrainConfig)}
    # What the weights were trained with: a checkpoint holds the fields that differ from their defaults.
    config = RetrainConfig(**{name: value for name, value in saved["config"].items() if name in names})
    if ema and "ema" not in saved:
        raise ValueError(f"job {job} kept no moving average of its weights (ema_decay 0); export it without --ema")
    best = saved["ema"]["best"] if ema else saved["best"]
    network = network_from_weights(best["weights"], genotype, layers=config.layers, stem=config.stem)
    network.images = _images(store, config)
    results = {field.name: row[field.name] for field in dataclasses.fields(RetrainResult)}
    kind = f"moving average, decay {config.ema_decay:g}; its results begin with ema_" if ema else "as trained"
    origin = {"weights": f"of epoch {best['epoch']}, {kind}", "found by": _searches(store, genotype.digest)}
    origin |= {name: row[name] for name in ORIGIN}
    origin |= {"trained": f"{row['started_at']} to {row['finished_at']}"}
    card = model_card(
        genotype,
        name=f"{study.name}, job {job}",
        results={name: value for name, value in results.items() if name != "device_name"},
        recipe=outcome_fields(config),
        images=_described(network.images) if network.images else {},
        origin=origin,
    )
    files = export_network(folder, network, card)
    if onnx:
        files.append(export_onnx(folder, network, dataset_info(config).image_size))
    return files


def _images(store: ResultStore, config: RetrainConfig) -> ImageInput | None:
    """What the network takes and what its logits mean; None for own images that the study did not describe."""
    info = dataset_info(config)
    height, width = info.image_size
    mean, std, labels = info.mean, info.std, ()
    for each in stored_descriptions(store):
        if (each["dataset"], each["fingerprint"]) == (config.dataset, config.data_fingerprint) and (
            (each["height"], each["width"]) == info.image_size
        ):
            mean, std, labels = tuple(each["mean"]), tuple(each["std"]), tuple(each["classes"])
            break
    else:
        if config.dataset not in DATASETS:
            return None
    side = min(info.image_size) if fits_memory(config) else shorter_side(info.image_size)
    return ImageInput(height=height, width=width, shorter_side=side, mean=mean, std=std, labels=labels)


def _described(images: ImageInput) -> dict[str, Any]:
    """The images of a network, for its card."""
    return {
        "input": f"{len(images.mean)} x {images.height} x {images.width} pixels, scaled to 0 to 1",
        "mean": ", ".join(f"{value:.6g}" for value in images.mean),
        "standard deviation": ", ".join(f"{value:.6g}" for value in images.std),
        "classes, by logit": ", ".join(images.labels) or None,
    }


def _searches(store: ResultStore, digest: str) -> str | None:
    """The searches that found these cells, with their seeds; None if they were added by hand."""
    rows = store.rows(SEARCHES)
    found = [f"{row['search_id']} (seed {row['seed']})" for row in rows if row["genotype_digest"] == digest]
    return ", ".join(sorted(found)) or None


def _result(store: ResultStore, job: str) -> dict[str, Any]:
    """The row of a job's last completed attempt; the job may be named by an unambiguous prefix."""
    completed = [row for row in store.rows(RETRAINS) if row["status"] == "completed"]
    known = sorted({row["job_id"] for row in completed})
    if not any(job_id.startswith(job) for job_id in known):
        names = ", ".join(known) or "none yet; `pcdarts retrain` trains them"
        raise ValueError(f"job is {job!r}, but must be a retrained one of this study: {names}")
    job = find_job(job, known)
    return max((row for row in completed if row["job_id"] == job), key=lambda row: row["attempt"])
