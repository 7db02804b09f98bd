"""Configuration of a study: one search configuration, the fields that vary, and what happens to the best cells."""

import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from analysis.records import Stage
from pcdarts.config import (
    FROM_IMAGES,
    METHOD_FIELDS,
    OWN_IMAGES,
    Dataset,
    RetrainConfig,
    SearchConfig,
    digest,
    outcome_fields,
    scaled_warmups,
)
from pcdarts.config.fields import at_least, check_types
from pcdarts.genotype import PUBLISHED
from pcdarts.presets import RECIPES, retrain_cifar10

T = TypeVar("T")
Config = TypeVar("Config", SearchConfig, RetrainConfig)
SOURCE = ("dataset", "data_dir", "image_size")
"""Fields that decide which images a configuration reads."""


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which cells are retrained: some of every setting."""

    top: int = 2
    """Distinct cells of every setting to retrain; random cells are a setting like others. 0: none."""
    max_parameters: int = 0
    """Maximum number of weights of the network that is retrained; 0: no limit."""
    max_macs: int = 0
    """Maximum multiply-adds of that network for one image; 0: no limit. The mobile setting is 600000000."""

    def __post_init__(self) -> None:
        check_types(self)
        at_least(self, top=0, max_parameters=0, max_macs=0)


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A step of the race: every cell in it is trained, and the best go on."""

    epochs: int
    """Epochs of every training, of a schedule of its own."""
    seeds: int = 1
    """Trainings of each cell, with the seed of the recipe and the next ones."""
    keep: int
    """Cells that go on to the next rung, or from the last one to the full training. More if there are more settings:
    each keeps its best cell, except in the last rung."""

    def __post_init__(self) -> None:
        check_types(self)
        at_least(self, epochs=1, seeds=1, keep=1)

    def __str__(self) -> str:
        return f"{self.epochs}x{self.seeds}:{self.keep}"

    @classmethod
    def parse(cls, text: str) -> "Rung":
        """Read `EPOCHSxSEEDS:KEEP`; raises ValueError for anything else."""
        if not (match := re.fullmatch(r"([1-9]\d*)x([1-9]\d*):([1-9]\d*)", text)):
            raise ValueError(
                f"race.rungs has {text!r}, but each rung must be EPOCHSxSEEDS:KEEP, each at least 1, as in 25x1:4: "
                "train every cell for 25 epochs with one seed, then keep the best 4"
            )
        epochs, seeds, keep = map(int, match.groups())
        return cls(epochs=epochs, seeds=seeds, keep=keep)


@dataclass(frozen=True, kw_only=True)
class RaceConfig:
    """Short trainings of all selected cells, of growing length, whose validation accuracy chooses those to train in
    full.
    """

    rungs: tuple[Rung, ...] = ()
    """Rungs of the race, each with more epochs and fewer cells than the one before. None: no race, all selected cells
    are trained in full."""
    recipe: RetrainConfig = retrain_cifar10()
    """Recipe of these trainings, by default the official one for CIFAR-10. The rungs replace its epochs; a warm-up of
    the learning rate keeps its share of fewer epochs."""

    def __post_init__(self) -> None:
        check_types(self)
        for shorter, longer in itertools.pairwise(self.rungs):
            if longer.epochs <= shorter.epochs or longer.keep >= shorter.keep:
                raise ValueError(
                    f"rungs is {rungs_text(self.rungs)}, but every rung must train longer and keep fewer cells than "
                    f"the one before; change {longer}"
                )
        if not self.recipe.validation_portion:
            raise ValueError(
                "recipe.validation_portion is 0, but must be above 0, because validation accuracy ranks the cells"
            )

    def recipe_of(self, rung: Rung) -> RetrainConfig:
        """The recipe of a rung."""
        return RetrainConfig(
            **vars(self.recipe) | {"epochs": rung.epochs} | scaled_warmups(vars(self.recipe), rung.epochs)
        )


@dataclass(frozen=True, kw_only=True)
class FinalConfig:
    """How often the chosen cells are trained in full, and by what else than the study's own recipe."""

    seeds: int = 1
    """Trainings of each cell by each recipe, with the seed of the recipe and the next ones."""
    published: int = 0
    """How many of the best cells by validation accuracy are trained again as papers do: on all training images, with
    the test accuracy of the last epoch."""
    recipes: tuple[str, ...] = ()
    """Names of other recipes that train the same cells, to see whether the order of cells depends on the recipe."""
    cells: tuple[str, ...] = ()
    """Names of published cells that are trained in full as well, without running the race."""

    def __post_init__(self) -> None:
        check_types(self)
        at_least(self, seeds=1, published=0)
        for name in self.cells:
            if name not in PUBLISHED or self.cells.count(name) > 1:
                raise ValueError(
                    f"cells is {','.join(self.cells)}, but must name published cells, each once: {', '.join(PUBLISHED)}"
                )
        for name in self.recipes:
            if name not in RECIPES or self.recipes.count(name) > 1:
                raise ValueError(
                    f"recipes is {','.join(self.recipes)}, but must name recipes, each once: {', '.join(RECIPES)}"
                )


@dataclass(frozen=True, kw_only=True)
class TrainingStage:
    """A stage of the retraining: which recipe trains its cells, with which seeds."""

    stage: Stage
    """Kind of the stage."""
    rung: int | None = None
    """Number of the rung, counted from 1; None for other stages."""
    name: str
    """What people call it, such as `rung 1`, `final` or `recipe cifar10-short`."""
    recipe: RetrainConfig
    """The recipe with the first seed."""
    seeds: int
    """Trainings of each cell."""

    def recipes(self) -> list[RetrainConfig]:
        """The recipe with each of the seeds."""
        return [replace(self.recipe, seed=self.recipe.seed + number) for number in range(self.seeds)]


@dataclass(frozen=True, kw_only=True)
class SeedConfig:
    """Whether seeds are added to a setting until the mean of its validation accuracy is known well enough."""

    target_halfwidth: float = 0.0
    """Add seeds until the half-width of the 95 % confidence interval of the mean (Student's t) is at most this;
    percentage points. 0: only the given seeds."""
    max_seeds: int = 20
    """Maximum number of seeds of a setting, including failed ones."""
    corrected_interval: bool = False
    """Use wider intervals that have 95 % confidence over all looks together (Bonferroni); otherwise the last interval
    is optimistic, because seeds stop as soon as it is narrow."""

    def __post_init__(self) -> None:
        check_types(self)
        at_least(self, target_halfwidth=0, max_seeds=2)


@dataclass(frozen=True, kw_only=True)
class StudyImages:
    """What was found in the images that some configurations of a study read."""

    dataset: Dataset
    """Name of the data set."""
    data_dir: str
    """Where it is."""
    image_size: int
    """Side that its images are resized to, pixels; 0: not resized."""
    classes: int = 0
    """Own images: number of classes."""
    image_channels: int = 0
    """Own images: channels."""
    image_height: int = 0
    """Own images: height of the network's input, pixels."""
    image_width: int = 0
    """Own images: width of the network's input, pixels."""
    data_fingerprint: str = ""
    """Number, shape and digest of the images."""

    @classmethod
    def of(cls, config: SearchConfig | RetrainConfig) -> "StudyImages":
        """What a configuration holds about its images."""
        return cls(**{name: getattr(config, name) for name in (*SOURCE, *FROM_IMAGES)})


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Everything that determines the outcome of a study.  Raises ValueError if one of its searches is not valid."""

    name: str
    """Name of the study and of its folder."""
    search: SearchConfig
    """Fields that all searches share."""
    sweep: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: {"seed": (0,)})
    """Fields of the search that vary, with their values; every combination is searched. Searches with fewer epochs than
    search.epochs have proportionally shorter warm-ups."""
    retrain: RetrainConfig
    """How the best cells are retrained."""
    selection: SelectionConfig = SelectionConfig()
    """Which cells are retrained."""
    race: RaceConfig = RaceConfig()
    """The race: short trainings that choose the cells to train in full."""
    final: FinalConfig = FinalConfig()
    """The full training of these cells."""
    seeds: SeedConfig = SeedConfig()
    """When seeds are added to those of the sweep."""
    images: tuple[StudyImages, ...] = ()
    """What was found in the images before the first search; see `with_images`."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            raise ValueError(
                f"study name is {self.name!r}, but must be letters, digits, . _ - and start with a letter or digit"
            )
        for name, values in self.sweep.items():
            if name not in {f.name for f in dataclasses.fields(SearchConfig)}:
                raise ValueError(f"sweep.{name} is not a field of a search; `pcdarts run --help-fields` lists them")
            if not values or len(set(values)) < len(values):
                raise ValueError(f"sweep.{name} is {list(values)}, but must have at least one value, each only once")
        method = self.search.method
        if method in METHOD_FIELDS and set(self.sweep.get("method", ())) - {method}:
            raise ValueError(
                f"the study sweeps method, but search.method is {method}, which overrides "
                f"{', '.join(METHOD_FIELDS[method])}; set search.method to pcdarts"
            )
        try:
            self.searches()
        except ValueError as error:
            raise ValueError(f"search.{error}") from None
        self._check_recipes()

    def searches(self) -> list[SearchConfig]:
        """All searches, the first seed of every setting first; combinations that give the same search count once."""
        unique: dict[str, SearchConfig] = {}
        for search in self._combinations():
            unique.setdefault(search.search_id, search)
        return list(unique.values())

    def readers(self, *, searches: bool = True) -> list[list[SearchConfig | RetrainConfig]]:
        """The searches and trainings that read images, apart from their seeds, in groups that read the same images."""
        combinations = self._combinations() if searches else ()
        readers: list[SearchConfig | RetrainConfig] = [
            *(replace(search, seed=0) for search in combinations if search.method != "random"),
            *(stage.recipe for stage in self.stages()),
        ]
        groups: dict[tuple[Any, ...], dict[SearchConfig | RetrainConfig, None]] = {}
        for config in readers:
            groups.setdefault(source(config), {})[config] = None
        return [list(group) for group in groups.values()]

    def with_images(self, images: Iterable[StudyImages]) -> "StudyConfig":
        """The study with what was found in its images filled in, wherever they are read."""
        found = tuple(each for each in images if each.data_fingerprint)
        race = replace(self.race, recipe=_filled_in(self.race.recipe, found))
        search, retrain = _filled_in(self.search, found), _filled_in(self.retrain, found)
        return replace(self, images=found, search=search, retrain=retrain, race=race)

    def stages(self) -> list[TrainingStage]:
        """The stages of the retraining in their order: rungs, final, published, other recipes."""
        retrain, final = self.retrain, self.final
        stages = [
            TrainingStage(
                stage="rung", rung=number, name=f"rung {number}", recipe=self.race.recipe_of(rung), seeds=rung.seeds
            )
            for number, rung in enumerate(self.race.rungs, 1)
        ]
        stages.append(TrainingStage(stage="final", name="final", recipe=retrain, seeds=final.seeds))
        if final.published:
            recipe = replace(retrain, validation_portion=0.0)
            stages.append(TrainingStage(stage="published", name="published", recipe=recipe, seeds=final.seeds))
        for name in final.recipes:
            recipe = on_images_of(retrain, replace(RECIPES[name](), data_dir=retrain.data_dir, seed=retrain.seed))
            stages.append(TrainingStage(stage="recipe", name=f"recipe {name}", recipe=recipe, seeds=final.seeds))
        return stages

    def recipe(self, stage: Stage) -> RetrainConfig:
        """The recipe whose data folder a stage uses."""
        return self.race.recipe if stage == "rung" else self.retrain

    def setting(self, search: SearchConfig) -> str:
        """Label of the setting of a search, such as `k=4`, `k=4, order=2` or `method=darts`: what its seeds share.

        It omits fields that the method does not use.
        """
        swept = [name for name, values in self.sweep.items() if name != "seed" and len(values) > 1]
        names = [name for name in swept if name != "method" and not _unused(name, search.method)]
        if search.method == "pcdarts" and "k" not in names and ("method" in swept or not names):
            names = ["k", *names]
        if search.method != "pcdarts" or "method" in swept:
            names = ["method", *names]
        return ", ".join(f"{name}={getattr(search, name)}" for name in names)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and TOML."""
        return dataclasses.asdict(self) | {"sweep": {name: list(values) for name, values in self.sweep.items()}}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "StudyConfig":
        """Read the result of `to_dict`; raises ValueError for anything else."""
        try:
            if plain.get("proxy", {}).get("top"):
                raise ValueError("its proxy stage is of an earlier version of this program; a race has replaced it")
            sweep = plain.get("sweep", {"seed": [0]})
            for name, values in sweep.items():
                if not isinstance(values, (list, tuple)):
                    raise ValueError(f"sweep.{name} is {values!r}, but must be a list")
            race, final = dict(plain.get("race", {})), dict(plain.get("final", {}))
            if "recipe" in race:
                race["recipe"] = make_section(RetrainConfig, "race.recipe", race["recipe"])
            if "rungs" in race:
                race["rungs"] = tuple(
                    make_section(Rung, "race.rungs", rung) if isinstance(rung, Mapping) else Rung.parse(str(rung))
                    for rung in race["rungs"]
                )
            final |= {name: tuple(value) for name, value in final.items() if isinstance(value, list)}
            return cls(
                name=plain["name"],
                search=make_section(SearchConfig, "search", plain["search"]),
                sweep={name: tuple(values) for name, values in sweep.items()},
                retrain=make_section(RetrainConfig, "retrain", plain["retrain"]),
                selection=make_section(SelectionConfig, "selection", plain.get("selection", {})),
                race=make_section(RaceConfig, "race", race),
                final=make_section(FinalConfig, "final", final),
                seeds=make_section(SeedConfig, "seeds", plain.get("seeds", {})),
                images=tuple(StudyImages(**images) for images in plain.get("images", ())),
            )
        except KeyError as error:
            raise ValueError(f"the study's configuration lacks {error.args[0]}") from None
        except (TypeError, AttributeError) as error:
            raise ValueError(f"the study's configuration cannot be read: {error}") from None

    def differences(self, other: "StudyConfig") -> list[str]:
        """What another configuration changes, as `field: here -> there`; fields outside the identity are ignored."""
        before, after = self._flat(), other._flat()
        return [
            f"{name}: {before.get(name)} -> {after.get(name)}"
            for name in dict.fromkeys([*before, *after])
            if before.get(name) != after.get(name)
        ]

    def extends(self, before: "StudyConfig") -> bool:
        """Whether this study only adds searches or trainings to an earlier one, so that all its results stay valid."""
        changed = {text.partition(".")[0] for text in before.differences(self)}
        # Whatever changed of the common part, a search is the same if its id is.
        settings = {search.search_id: self.setting(search) for search in self.searches()}
        kept = all(settings.get(search.search_id) == before.setting(search) for search in before.searches())
        old, new = before.final, self.final
        more = new.seeds >= old.seeds and new.published >= old.published
        more = more and set(new.recipes) >= set(old.recipes) and set(new.cells) >= set(old.cells)
        return changed <= {"search", "sweep", "seeds", "final"} and kept and more

    def _check_recipes(self) -> None:
        """Raise ValueError if two stages would train the same jobs."""
        seen: dict[str, TrainingStage] = {}
        for stage in self.stages():
            for recipe in stage.recipes():
                other = seen.setdefault(digest(recipe), stage)
                if other is not stage:
                    raise ValueError(
                        f"{other.name} and {stage.name} train by the same recipe, but every stage needs its own; "
                        f"{_remedy(other, stage)}"
                    )

    def _combinations(self) -> Iterator[SearchConfig]:
        """The searches of all combinations of swept values, the first seed of every setting first."""
        names = sorted(self.sweep, key=lambda name: name != "seed")
        for combination in itertools.product(*(self.sweep[name] for name in names)):
            values = dict(zip(names, combination, strict=True))
            search = replace(self.search, **self._warmups(values.get("epochs")) | values)
            swept = self.images and any(name in SOURCE for name in names)
            yield _filled_in(search, self.images) if swept else search

    def _warmups(self, epochs: Any) -> dict[str, int]:
        """Warm-ups of searches with this number of epochs, those that differ from the common ones."""
        return scaled_warmups(vars(self.search), epochs) if isinstance(epochs, int) else {}

    def _flat(self) -> dict[str, str]:
        fixed = {name: value for name, value in outcome_fields(self.search).items() if name not in self.sweep}
        if any(map(self._warmups, self.sweep.get("epochs", ()))):
            fixed["epochs"] = self.search.epochs  # warm-ups are scaled by it
        parts: dict[str, dict[str, Any]] = {
            "search": fixed,
            "sweep": {name: list(values) for name, values in self.sweep.items()},
            "retrain": outcome_fields(self.retrain),
            "selection": dataclasses.asdict(self.selection),
            "race": {"rungs": rungs_text(self.race.rungs)},
            "final": dataclasses.asdict(self.final),
            "seeds": dataclasses.asdict(self.seeds),
        }
        if self.race.rungs:  # otherwise the recipe has no effect
            recipe = outcome_fields(self.race.recipe)
            parts["race"] |= {f"recipe.{name}": value for name, value in recipe.items()}
        return {f"{part}.{name}": json.dumps(value) for part, values in parts.items() for name, value in values.items()}


def source(config: SearchConfig | RetrainConfig | StudyImages) -> tuple[Any, ...]:
    """Which images are read: equal for configurations that read the same."""
    return tuple(getattr(config, name) for name in SOURCE)


def on_images_of(trained: RetrainConfig, recipe: RetrainConfig) -> RetrainConfig:
    """A recipe for a study that trains on own images: on these, as its own data set lies elsewhere."""
    if trained.dataset not in OWN_IMAGES:
        return recipe
    return replace(recipe, **{name: getattr(trained, name) for name in (*SOURCE, "flip", "max_images", *FROM_IMAGES)})


def _filled_in(config: Config, images: Iterable[StudyImages]) -> Config:
    """A configuration with what was found in its images; without it if they are not among these."""
    empty = StudyImages(dataset=config.dataset, data_dir=config.data_dir, image_size=config.image_size)
    found = next((each for each in images if source(each) == source(config)), empty)
    return replace(config, **{name: getattr(found, name) for name in FROM_IMAGES})


def rungs_text(rungs: tuple[Rung, ...]) -> str:
    """Rungs as `--set race.rungs=` takes them, such as `25x1:4,100x2:2`."""
    return ",".join(map(str, rungs))


def make_section(kind: type[T], section: str, values: Mapping[str, Any]) -> T:
    """A configuration whose errors name its section, as in `search.k is 3, but must be ...`."""
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{section}.{error}") from None


def _remedy(first: TrainingStage, second: TrainingStage) -> str:
    """How to give two stages different recipes."""
    if second.stage == "recipe":
        return f"leave {second.name.removeprefix('recipe ')} out of final.recipes"
    if second.stage == "published" and first.stage == "final":
        return "set final.published=0: without validation images the full training is the published one already"
    return f"give {first.name} fewer epochs (race.rungs), or turn the race off (race.rungs=)"


def _unused(name: str, method: str) -> bool:
    """Whether a method ignores a field."""
    if method == "random":
        return name != "space"
    return name in METHOD_FIELDS.get(method, ())
