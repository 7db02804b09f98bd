"""Configuration of a study: one search configuration, the fields that vary, and what happens to the best cells."""

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from analysis.records import Stage
from pcdarts.config import METHOD_FIELDS, RetrainConfig, SearchConfig, digest, outcome_fields, scaled_warmups
from pcdarts.config.fields import at_least, check_types, require
from pcdarts.presets import retrain_proxy

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which cells are queued for retraining: the best by a lower bound of validation accuracy, and random ones."""

    top: int = 2
    """Distinct cells to queue, plus as many random cells if the study has the method random."""
    max_parameters: int = 0
    """Maximum number of weights of the network that is retrained; 0: no limit."""
    max_macs: int = 0
    """Maximum multiply-adds of that network for one image; 0: no limit. The mobile setting is 600000000."""

    def __post_init__(self) -> None:
        check_types(self)
        at_least(self, top=0, max_parameters=0, max_macs=0)


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """A short retraining of more cells than are trained in full; its validation accuracy chooses those."""

    top: int = 0
    """Distinct cells of the searches to train briefly, plus as many random ones; at least as many as are trained in
    full. 0: no proxy stage, the searches alone rank the cells."""
    seeds: int = 3
    """Short retrainings of each cell, with the seed of the recipe and the next ones."""
    recipe: RetrainConfig = retrain_proxy()
    """Recipe of the short retraining; by default CIFAR-10 for 100 epochs."""

    def __post_init__(self) -> None:
        check_types(self)
        at_least(self, top=0, seeds=1)
        require(
            self.recipe.validation_portion > 0,
            self.recipe,
            "validation_portion",
            "above 0, because validation accuracy ranks the proxies",
        )

    def recipes(self) -> list[RetrainConfig]:
        """The recipe with each of the seeds."""
        return [dataclasses.replace(self.recipe, seed=self.recipe.seed + number) for number in range(self.seeds)]


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
    proxy: ProxyConfig = ProxyConfig()
    """The short retraining that ranks cells before the full one."""
    seeds: SeedConfig = SeedConfig()
    """When seeds are added to those of the sweep."""

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
        if self.proxy.top and digest(self.retrain) in map(digest, self.proxy.recipes()):
            raise ValueError(
                "the proxy recipe equals the final one; give it fewer epochs (proxy.recipe.epochs), or turn the proxy "
                "stage off (proxy.top=0)"
            )

    def searches(self) -> list[SearchConfig]:
        """All searches, the first seed of every setting first; combinations that give the same search count once."""
        names = sorted(self.sweep, key=lambda name: name != "seed")
        unique: dict[str, SearchConfig] = {}
        for combination in itertools.product(*(self.sweep[name] for name in names)):
            values = dict(zip(names, combination, strict=True))
            search = dataclasses.replace(self.search, **self._warmups(values.get("epochs")) | values)
            unique.setdefault(search.search_id, search)
        return list(unique.values())

    def recipe(self, stage: Stage) -> RetrainConfig:
        """The recipe of a stage."""
        return self.proxy.recipe if stage == "proxy" else self.retrain

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
            sweep = plain.get("sweep", {"seed": [0]})
            for name, values in sweep.items():
                if not isinstance(values, (list, tuple)):
                    raise ValueError(f"sweep.{name} is {values!r}, but must be a list")
            proxy = dict(plain.get("proxy", {}))
            if "recipe" in proxy:
                proxy["recipe"] = make_section(RetrainConfig, "proxy.recipe", proxy["recipe"])
            return cls(
                name=plain["name"],
                search=make_section(SearchConfig, "search", plain["search"]),
                sweep={name: tuple(values) for name, values in sweep.items()},
                retrain=make_section(RetrainConfig, "retrain", plain["retrain"]),
                selection=make_section(SelectionConfig, "selection", plain.get("selection", {})),
                proxy=make_section(ProxyConfig, "proxy", proxy),
                seeds=make_section(SeedConfig, "seeds", plain.get("seeds", {})),
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
        """Whether this study only adds searches to an earlier one, so that all earlier results stay valid."""
        changed = {text.partition(".")[0] for text in before.differences(self)}
        settings = {search.search_id: self.setting(search) for search in self.searches()}
        kept = all(settings.get(search.search_id) == before.setting(search) for search in before.searches())
        return changed <= {"sweep", "seeds"} and kept

    def _warmups(self, epochs: Any) -> dict[str, int]:
        """Warm-ups of searches with this number of epochs, those that differ from the common ones."""
        return scaled_warmups(vars(self.search), epochs) if isinstance(epochs, int) else {}

    def _flat(self) -> dict[str, str]:
        fixed = {name: value for name, value in outcome_fields(self.search).items() if name not in self.sweep}
        if any(map(self._warmups, self.sweep.get("epochs", ()))):
            fixed["epochs"] = self.search.epochs  # warm-ups are scaled by it
        parts = {
            "search": fixed,
            "sweep": {name: list(values) for name, values in self.sweep.items()},
            "retrain": outcome_fields(self.retrain),
            "selection": dataclasses.asdict(self.selection),
            "proxy": {"top": self.proxy.top},
            "seeds": dataclasses.asdict(self.seeds),
        }
        if self.proxy.top:  # otherwise the rest has no effect
            parts["proxy"]["seeds"] = self.proxy.seeds
            parts["proxy"] |= {f"recipe.{name}": value for name, value in outcome_fields(self.proxy.recipe).items()}
        return {f"{part}.{name}": json.dumps(value) for part, values in parts.items() for name, value in values.items()}


def make_section(kind: type[T], section: str, values: Mapping[str, Any]) -> T:
    """A configuration whose errors name its section, as in `search.k is 3, but must be ...`."""
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{section}.{error}") from None


def _unused(name: str, method: str) -> bool:
    """Whether a method ignores a field."""
    if method == "random":
        return name != "space"
    return name in METHOD_FIELDS.get(method, ())
