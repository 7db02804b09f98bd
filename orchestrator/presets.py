"""Study presets: functions that return a complete StudyConfig.  `pcdarts run NAME` starts one.

Presets that compare settings have the seeds that find a difference of 0.3 points with a probability of 80 %, if cells
of one setting differ by 0.2 points (standard deviation) after retraining: see `analysis.conclusions.power`.
"""

import difflib
import math
from dataclasses import replace
from typing import Any

from orchestrator.config import FinalConfig, RaceConfig, Rung, SelectionConfig, StudyConfig
from orchestrator.options import RunOptions
from pcdarts import presets
from pcdarts.config import RetrainConfig, SearchConfig

MOBILE_MACS = 600_000_000
"""Maximum multiply-adds of the ImageNet mobile setting."""
DIGITS_RACE = replace(presets.retrain_digits(), channels=8)
"""Recipe of a race on the digits: half the channels."""


def demo() -> StudyConfig:
    """Digits, minutes: K = 2 and 4, 3 seeds, which are too few to compare them."""
    return StudyConfig(
        name="demo",
        search=replace(presets.digits(), epochs=6, warmup_epochs=2),
        sweep={"seed": (0, 1, 2), "k": (2, 4)},
        retrain=replace(presets.retrain_digits(), epochs=6),
        race=RaceConfig(rungs=(Rung(epochs=2, seeds=2, keep=2),), recipe=DIGITS_RACE),
        final=FinalConfig(seeds=2),
    )


def baselines() -> StudyConfig:
    """Digits: PC-DARTS, DARTS, random cells, 13 seeds; a race, three in full."""
    return StudyConfig(
        name="baselines",
        search=presets.digits(),
        sweep={"seed": tuple(range(13)), "method": ("pcdarts", "darts", "random")},
        retrain=presets.retrain_digits(),
        selection=SelectionConfig(top=13),
        race=RaceConfig(rungs=(Rung(epochs=6, keep=3),), recipe=DIGITS_RACE),
        final=FinalConfig(seeds=3),
    )


def fashion() -> StudyConfig:
    """Fashion-MNIST with a small super-network: K = 4, 3 seeds; two cells in full."""
    return StudyConfig(
        name="fashion",
        search=presets.fashion(),
        sweep={"seed": (0, 1, 2), "k": (4,)},
        retrain=presets.retrain_fashion(),
        race=RaceConfig(recipe=presets.retrain_fashion()),
    )


def own() -> StudyConfig:
    """Your own images: K = 2 and 4, 3 seeds, which are too few to compare them."""
    return StudyConfig(
        name="own",
        search=presets.own(),
        sweep={"seed": (0, 1, 2), "k": (2, 4)},
        retrain=presets.retrain_own(),
        race=RaceConfig(rungs=(Rung(epochs=5, seeds=2, keep=2),), recipe=replace(presets.retrain_own(), channels=8)),
        final=FinalConfig(seeds=2),
    )


def cifar10() -> StudyConfig:
    """Official CIFAR-10 search: K = 4 and 8, 10 seeds; a race, three on ImageNet."""
    return StudyConfig(
        name="cifar10",
        search=presets.cifar10(),
        sweep={"seed": tuple(range(10)), "k": (4, 8)},
        retrain=presets.retrain_imagenet(),
        selection=SelectionConfig(top=10, max_macs=MOBILE_MACS),
        race=RaceConfig(rungs=(Rung(epochs=25, keep=10), Rung(epochs=100, seeds=2, keep=3))),
    )


def imagenet() -> StudyConfig:
    """The official ImageNet search: K = 2, 3 seeds; three cells on ImageNet."""
    return StudyConfig(
        name="imagenet",
        search=presets.imagenet(),
        sweep={"seed": (0, 1, 2), "k": (2,)},
        retrain=presets.retrain_imagenet(),
        selection=SelectionConfig(top=3, max_macs=MOBILE_MACS),
    )


def pc_darts_iclr() -> StudyConfig:
    """The ICLR paper's method on CIFAR-10: K = 4, 5 seeds; a race, two in full."""
    return _best_of("pc-darts-iclr", presets.cifar10())


def journal_reading() -> StudyConfig:
    """Our reading of the journal version: K = 8, 5 seeds; a race, two in full."""
    return _best_of("journal-reading", presets.journal_reading())


def ablation_k() -> StudyConfig:
    """ICLR, share of channels: K = 1, 2, 4 and 8; 15 seeds."""
    return _compare("ablation-k", {"k": (1, 2, 4, 8)}, seeds=15)


def ablation_parts() -> StudyConfig:
    """ICLR, partial channels and edge normalization: each on and off; 15 seeds."""
    return _compare("ablation-parts", {"k": (1, 4), "edge_normalization": (False, True)}, seeds=15)


def ablation_journal() -> StudyConfig:
    """Our reading of the journal: K = 8 and 16, each part on and off; 19 seeds."""
    parts = {"k": (8, 16), "side_operation": ("none", "conv_1x1"), "spatial_stride": (1, 2)}
    return _compare("ablation-journal", parts, seeds=19)


def stability() -> StudyConfig:
    """ICLR, stability: 50, 75, 100, 125 and 150 epochs; 16 seeds."""
    return _compare("stability", {"epochs": (50, 75, 100, 125, 150)}, seeds=16)


def cifar10_baselines() -> StudyConfig:
    """CIFAR-10: PC-DARTS, DARTS with its own settings, random cells; 13 seeds."""
    return _compare("cifar10-baselines", {"method": ("pcdarts", "darts-official", "random")}, seeds=13)


def robust_spaces() -> StudyConfig:
    """Spaces S1 to S4 of RobustDARTS: PC-DARTS and DARTS; 19 seeds."""
    parts = {"space": ("s1", "s2", "s3", "s4"), "method": ("pcdarts", "darts-official")}
    return _compare("robust-spaces", parts, seeds=19)


def published_cifar10() -> StudyConfig:
    """Published cells and 3 random ones, trained on CIFAR-10 as papers do."""
    retrain = replace(presets.retrain_cifar10(), validation_portion=0.0)
    cells = ("PC_DARTS_cifar", "DARTS_V1", "DARTS_V2")
    return _retrain_published("published-cifar10", retrain, FinalConfig(seeds=3, cells=cells))


def published_imagenet() -> StudyConfig:
    """Published cells and 3 random ones, trained on ImageNet as papers do."""
    retrain = replace(presets.retrain_imagenet(), validation_portion=0.0)
    cells = ("PC_DARTS_image", "PC_DARTS_cifar", "DARTS_V2")
    return _retrain_published("published-imagenet", retrain, FinalConfig(cells=cells), max_macs=MOBILE_MACS)


def smoke() -> StudyConfig:
    """Synthetic images, seconds: K = 1 and 2, 2 seeds; to try out a cluster."""
    return StudyConfig(
        name="smoke",
        search=presets.smoke(),
        sweep={"seed": (0, 1), "k": (1, 2)},
        retrain=presets.retrain_smoke(),
        selection=SelectionConfig(top=1),
        race=RaceConfig(rungs=(Rung(epochs=1, seeds=2, keep=1),), recipe=replace(presets.retrain_smoke(), channels=2)),
    )


def _best_of(name: str, search: SearchConfig) -> StudyConfig:
    """Five searches of one setting on CIFAR-10; the best of their cells is also trained as papers do."""
    return StudyConfig(
        name=name,
        search=search,
        sweep={"seed": tuple(range(5)), "k": (search.k,)},
        retrain=presets.retrain_cifar10(),
        selection=SelectionConfig(top=5),
        race=RaceConfig(rungs=(Rung(epochs=100, seeds=2, keep=2),)),
        final=FinalConfig(seeds=3, published=1),
    )


def _compare(name: str, sweep: dict[str, tuple[Any, ...]], *, seeds: int) -> StudyConfig:
    """Settings on CIFAR-10: all their cells are trained for 50 epochs, two of each for 200, one of each in full."""
    settings = math.prod(map(len, sweep.values()))
    return StudyConfig(
        name=name,
        search=presets.cifar10(),
        sweep={"seed": tuple(range(seeds)), **sweep},
        retrain=presets.retrain_cifar10(),
        selection=SelectionConfig(top=seeds),
        race=RaceConfig(rungs=(Rung(epochs=50, keep=2 * settings), Rung(epochs=200, seeds=2, keep=settings))),
        final=FinalConfig(seeds=3, published=1),
    )


def _retrain_published(name: str, retrain: RetrainConfig, final: FinalConfig, *, max_macs: int = 0) -> StudyConfig:
    """Published cells next to random cells, which need no search."""
    return StudyConfig(
        name=name,
        search=replace(presets.cifar10(), method="random"),
        sweep={"seed": tuple(range(10))},  # some are too large for the mobile setting
        retrain=retrain,
        selection=SelectionConfig(top=3, max_macs=max_macs),
        final=final,
    )


STUDIES = {
    "demo": demo,
    "baselines": baselines,
    "fashion": fashion,
    "own": own,
    "cifar10": cifar10,
    "imagenet": imagenet,
    "pc-darts-iclr": pc_darts_iclr,
    "journal-reading": journal_reading,
    "ablation-k": ablation_k,
    "ablation-parts": ablation_parts,
    "ablation-journal": ablation_journal,
    "stability": stability,
    "cifar10-baselines": cifar10_baselines,
    "robust-spaces": robust_spaces,
    "published-cifar10": published_cifar10,
    "published-imagenet": published_imagenet,
    "smoke": smoke,
}
"""Study presets by name."""

RETRAIN_AT_ONCE = frozenset({"demo", "baselines", "own", "smoke"})
"""Presets that retrain right after the searches, because it is short; for others run `pcdarts retrain`."""


def study_preset(name: str) -> StudyConfig:
    """A preset by its name; raises ValueError for an unknown one."""
    if name not in STUDIES:
        close = difflib.get_close_matches(name, STUDIES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"preset is {name!r}, but must be one of {', '.join(STUDIES)}, or a file NAME.toml{hint}")
    return STUDIES[name]()


def preset_options(name: str) -> RunOptions:
    """The options with which `pcdarts run` runs a preset."""
    return RunOptions(retrain=name in RETRAIN_AT_ONCE)
