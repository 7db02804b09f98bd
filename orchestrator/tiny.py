"""A study at a small scale: the same settings, race and stages in minutes, to see the whole of it work."""

import math
from dataclasses import replace
from typing import Literal

from orchestrator.config import SOURCE, RaceConfig, Rung, StudyConfig
from orchestrator.options import RunOptions
from pcdarts.config import WARMUPS
from pcdarts.presets import retrain_smoke, smoke

Scale = Literal["full", "tiny"]
SEEDS = 2
"""Most seeds of a setting, of a rung and of the full training at the tiny scale."""
IMAGES = 64
"""Training images of a tiny search."""


def tiny(study: StudyConfig) -> StudyConfig:
    """The study on synthetic images with few seeds, short trainings and small networks; its accuracies mean nothing."""
    seeds = study.sweep.get("seed", (study.search.seed,))[:SEEDS]
    sweep = {name: values for name, values in study.sweep.items() if name not in SOURCE} | {"seed": seeds}
    small, search, retrain = smoke(), study.search, replace(retrain_smoke(), epochs=3)
    epochs = max(small.epochs, *(len(sweep.get(name, ())) for name in WARMUPS))
    sweep |= {name: tuple(range(len(sweep[name]))) for name in WARMUPS if name in sweep}
    if "epochs" in sweep:
        sweep["epochs"] = tuple(range(epochs, epochs + len(sweep["epochs"])))
    return replace(
        study,
        name=f"{study.name}-tiny",
        search=replace(
            search,
            dataset=small.dataset,
            image_size=0,
            split_file="",
            max_images=IMAGES,
            batch_size=IMAGES // 4,
            epochs=epochs,
            warmup_epochs=min(search.warmup_epochs, small.warmup_epochs),
            learning_rate_warmup_epochs=0,
            channels=math.lcm(small.channels, search.k, *sweep.get("k", ())),
            layers=small.layers,
            stem=small.stem,
            eigenvalue_every=small.eigenvalue_every,
            threads=1,
        ),
        sweep=sweep,
        selection=replace(study.selection, top=min(SEEDS, study.selection.top), max_parameters=0, max_macs=0),
        race=RaceConfig(rungs=_tiny_rungs(study.race.rungs), recipe=replace(retrain, channels=2)),
        retrain=replace(retrain, validation_portion=study.retrain.validation_portion),
        final=replace(
            study.final,
            seeds=min(SEEDS, study.final.seeds),
            published=min(1, study.final.published),
            recipes=("smoke",) if study.final.recipes else (),
        ),
    )


def _tiny_rungs(rungs: tuple[Rung, ...]) -> tuple[Rung, ...]:
    """Rungs of 1, 2, ... epochs that keep half the cells, as a tiny study has few, and fewer than the rung before."""
    tiny_rungs: list[Rung] = []
    for number, rung in reversed(list(enumerate(rungs, start=1))):
        following = tiny_rungs[0].keep if tiny_rungs else 0
        keep = max(following + 1, math.ceil(rung.keep / 2))
        tiny_rungs.insert(0, Rung(epochs=number, seeds=min(SEEDS, rung.seeds), keep=keep))
    return tuple(tiny_rungs)


def at_scale(study: StudyConfig, options: RunOptions, scale: Scale) -> tuple[StudyConfig, RunOptions]:
    """A study and its options at a scale; a tiny one retrains right after the searches, as that is short."""
    return (study, options) if scale == "full" else (tiny(study), replace(options, retrain=True))
