"""What the images of a study are: looked at once, before anything runs, where they can be seen."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import ray

from cluster.address import find_cluster
from cluster.tasks import keep_on_worker
from orchestrator.config import SOURCE, StudyConfig, StudyImages, source
from orchestrator.options import RunOptions
from orchestrator.trials.placement import prepare_trials
from orchestrator.trials.progress import image_progress
from pcdarts.config import OWN_IMAGES, RetrainConfig, SearchConfig
from pcdarts.data.batches import check_dataset
from pcdarts.data.dataset_files import FILES, find_files
from pcdarts.data.datasets import DataDescription
from pcdarts.data.sources import OnProgress
from pcdarts.diagnostics.trainable import require_trainable

Config = SearchConfig | RetrainConfig
T = TypeVar("T", SearchConfig, RetrainConfig, StudyImages)
PATHS = ("data_dir", "split_file")
"""Fields that name a file or a folder."""


def with_absolute_paths(study: StudyConfig) -> StudyConfig:
    """The study with absolute data folders and split files, as trials run in other working directories."""
    sweep = {name: tuple(map(_absolute, values)) if name in PATHS else values for name, values in study.sweep.items()}

    def absolute(config: T) -> T:
        paths: dict[str, Any] = {name: _absolute(getattr(config, name)) for name in PATHS if hasattr(config, name)}
        return replace(config, **paths)

    return replace(
        study,
        search=absolute(study.search),
        sweep=sweep,
        retrain=absolute(study.retrain),
        race=replace(study.race, recipe=absolute(study.race.recipe)),
        images=tuple(map(absolute, study.images)),
    )


def describe_images(
    study: StudyConfig,
    stored: StudyConfig | None,
    options: RunOptions,
    *,
    searches: bool = True,
    say: Callable[[str], None] = print,
) -> tuple[StudyConfig, list[DataDescription]]:
    """The study with what was found in its images filled in, and their descriptions.

    Images are looked at on this machine, or else by a task on a worker of the cluster.  Where this machine does not see
    them and the study was `stored` before, what is known of them stays; trials check images that they hold in memory,
    but not larger trees.  Built-in data sets that only trainings read may be missing until these run.  Without
    `searches`, only what trainings read is looked at.

    Raises ValueError for images that cannot be used, for others than those of the stored study, and for networks that
    cannot be trained on them.
    """
    known = {source(each): each for each in (*_moved(study, stored), *study.images)}
    study, descriptions = study.with_images(known.values()), []
    for group in study.readers(searches=searches):
        first = group[0]
        here = _is_here(first)
        later = isinstance(first, RetrainConfig) and first.dataset not in OWN_IMAGES and not options.retrain
        if not here and (first.data_fingerprint or later):
            continue
        if here:
            with image_progress(f"images in {first.data_dir}") as on_progress:
                images, description = look_at(group, processes=os.cpu_count() or 1, on_progress=on_progress)
        elif find_cluster(options.address) is None:  # the workers will be here too: nothing to start Ray for
            images, description = look_at(group, download=True)
        else:
            resources = prepare_trials([first], options)
            images, description = ray.get(keep_on_worker(_look_and_download, group, resources))
        known[source(first)] = images
        descriptions.append(description)
        if first.dataset in OWN_IMAGES:
            say(f"Images: {description.summary}")
    study = study.with_images(known.values())
    require_networks(study)
    return study, descriptions


def look_at(
    configs: Sequence[Config], *, download: bool = False, processes: int = 0, on_progress: OnProgress | None = None
) -> tuple[StudyImages, DataDescription]:
    """What a study keeps of the images that all these configurations read, and their description.

    Raises ValueError for what is wrong with the images, and with the parts that any of the configurations makes.
    """
    description = check_dataset(*configs, download=download, processes=processes, on_progress=on_progress)
    return StudyImages.of(description.fill_in(configs[0])), description


def require_networks(study: StudyConfig) -> None:
    """Raise ValueError if a search or a training of a study whose images are described cannot work."""
    for group in study.readers():
        for config in group:
            require_trainable(config)


def _look_and_download(configs: Sequence[Config]) -> tuple[StudyImages, DataDescription]:
    """`look_at` on a worker, which has the images or downloads them."""
    return look_at(configs, download=True)


def _is_here(config: Config) -> bool:
    """Whether this machine sees the images of a configuration."""
    if config.dataset in FILES:
        try:
            return bool(find_files(config.dataset, config.data_dir))
        except ValueError:
            return False
    if config.dataset == "imagenet":
        return any(Path(config.data_dir, folder, "train").is_dir() for folder in ("imagenet", "."))
    return config.dataset in ("digits", "synthetic") or Path(config.data_dir).exists()


def _moved(study: StudyConfig, stored: StudyConfig | None) -> Iterable[StudyImages]:
    """What is known of the images of a stored study, which may have been in other folders."""
    known = stored.images if stored else ()
    for first, *_ in study.readers():
        alike = [each for each in known if (each.dataset, each.image_size) == (first.dataset, first.image_size)]
        same = [each for each in alike if each.data_dir == first.data_dir]
        if same or len(alike) == 1:
            yield replace((same or alike)[0], **{name: getattr(first, name) for name in SOURCE})


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path)) if path else path
