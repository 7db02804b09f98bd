"""Study presets: functions that return a complete StudyConfig.  `pcdarts run NAME` starts one."""

import difflib
from dataclasses import replace

from orchestrator.config import FinalConfig, RaceConfig, Rung, SelectionConfig, StudyConfig
from orchestrator.options import RunOptions
from pcdarts import presets

MOBILE_MACS = 600_000_000
"""Maximum multiply-adds of the ImageNet mobile setting."""
DIGITS_RACE = replace(presets.retrain_digits(), channels=8)
"""Recipe of a race on the digits: half the channels."""
CIFAR10_RUNGS = (Rung(epochs=25, keep=4), Rung(epochs=100, seeds=2, keep=2))
"""Race on CIFAR-10."""


def demo() -> StudyConfig:
    """Scikit-learn's digits: 3 seeds, K = 2 and 4; retrains two cells; minutes."""
    return StudyConfig(
        name="demo",
        search=presets.digits(),
        sweep={"seed": (0, 1, 2), "k": (2, 4)},
        retrain=presets.retrain_digits(),
        race=RaceConfig(rungs=(Rung(epochs=3, seeds=2, keep=2),), recipe=DIGITS_RACE),
    )


def baselines() -> StudyConfig:
    """Scikit-learn's digits: PC-DARTS, DARTS and random cells, 3 seeds; retrains six."""
    return StudyConfig(
        name="baselines",
        search=presets.digits(),
        sweep={"seed": (0, 1, 2), "method": ("pcdarts", "darts", "random")},
        retrain=presets.retrain_digits(),
        race=RaceConfig(recipe=DIGITS_RACE),
    )


def fashion() -> StudyConfig:
    """Fashion-MNIST with a small super-network: 3 seeds, K = 4; queues two cells."""
    return StudyConfig(
        name="fashion",
        search=presets.fashion(),
        sweep={"seed": (0, 1, 2), "k": (4,)},
        retrain=presets.retrain_fashion(),
        race=RaceConfig(recipe=presets.retrain_fashion()),
    )


def cifar10() -> StudyConfig:
    """The official CIFAR-10 search: 5 seeds, K = 4 and 8; a race of ten cells for ImageNet."""
    return StudyConfig(
        name="cifar10",
        search=presets.cifar10(),
        sweep={"seed": (0, 1, 2, 3, 4), "k": (4, 8)},
        retrain=presets.retrain_imagenet(),
        selection=SelectionConfig(top=5, max_macs=MOBILE_MACS),
        race=RaceConfig(rungs=CIFAR10_RUNGS),
    )


def imagenet() -> StudyConfig:
    """The official ImageNet search: 3 seeds, K = 2; queues three for ImageNet."""
    return StudyConfig(
        name="imagenet",
        search=presets.imagenet(),
        sweep={"seed": (0, 1, 2), "k": (2,)},
        retrain=presets.retrain_imagenet(),
        selection=SelectionConfig(top=3, max_macs=MOBILE_MACS),
    )


def pc_darts_iclr() -> StudyConfig:
    """The ICLR paper's method on CIFAR-10: 5 seeds, K = 4; a race for CIFAR-10."""
    return StudyConfig(
        name="pc-darts-iclr",
        search=presets.cifar10(),
        sweep={"seed": (0, 1, 2, 3, 4), "k": (4,)},
        retrain=presets.retrain_cifar10(),
        selection=SelectionConfig(top=5),
        race=RaceConfig(rungs=CIFAR10_RUNGS),
        final=FinalConfig(seeds=3, published=1),
    )


def journal_reading() -> StudyConfig:
    """Our reading of the journal version: 5 seeds, K = 8; a race for CIFAR-10."""
    return StudyConfig(
        name="journal-reading",
        search=presets.journal_reading(),
        sweep={"seed": (0, 1, 2, 3, 4), "k": (8,)},
        retrain=presets.retrain_cifar10(),
        selection=SelectionConfig(top=5),
        race=RaceConfig(rungs=CIFAR10_RUNGS),
        final=FinalConfig(seeds=3, published=1),
    )


def smoke() -> StudyConfig:
    """Synthetic images, seconds: 2 seeds, K = 1 and 2; to try out a cluster."""
    return StudyConfig(
        name="smoke",
        search=presets.smoke(),
        sweep={"seed": (0, 1), "k": (1, 2)},
        retrain=presets.retrain_smoke(),
        selection=SelectionConfig(top=1),
        race=RaceConfig(rungs=(Rung(epochs=1, seeds=2, keep=1),), recipe=replace(presets.retrain_smoke(), channels=2)),
    )


STUDIES = {
    "demo": demo,
    "baselines": baselines,
    "fashion": fashion,
    "cifar10": cifar10,
    "imagenet": imagenet,
    "pc-darts-iclr": pc_darts_iclr,
    "journal-reading": journal_reading,
    "smoke": smoke,
}
"""Study presets by name."""

RETRAIN_AT_ONCE = frozenset({"demo", "baselines", "smoke"})
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
