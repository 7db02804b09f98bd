"""The 14 best practices for NAS research, as far as the tables of a study decide them: met, partly met or not met.

Source: Lindauer and Hutter: Best Practices for Scientific Research on Neural Architecture Search, JMLR 21(243), 2020.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd

from analysis.conclusions.levels import data_name, levels, trainings
from analysis.conclusions.sentences import counted
from analysis.sections.blocks import ReportTable, Section, Text
from analysis.sections.wording import duration, row_dicts
from analysis.statistics.retrained_cells import RECIPE_COLUMNS
from analysis.statistics.summaries import WITH_RESULT
from pcdarts.config import NOT_PROTOCOL, SearchConfig

Answer = Literal["met", "partly", "not met", "not decided by the tables"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)
FEWEST_SEEDS = 3
"""Seeds that every setting needs for this point; a comparison between settings needs more."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One best practice, and whether the study meets it."""

    name: str
    """The practice."""
    answer: Answer
    """Whether it is met."""
    why: str
    """The reason, in one sentence."""


def good_practice(searches: pd.DataFrame, retrains: pd.DataFrame, *, described: bool) -> tuple[Point, ...]:
    """The 14 points in the paper's order; `described` says whether the study has a study.json with its command."""
    ended = searches[searches["status"].isin(WITH_RESULT)]
    retrained = retrains[retrains["status"] == "completed"]
    settings = _settings_by_recipe(ended, retrains)
    both = pd.concat([searches, retrains], ignore_index=True) if len(retrains) else searches
    answers = (
        ("Release the code of the training pipeline", _released(retrained, "retraining")),
        ("Release the code of the search", _released(searches, "search")),
        ("Release the code as it was run", _as_run(both)),
        ("Same data and search space for all methods", _same_benchmark(searches)),
        ("Ablations", _ablations(ended, settings)),
        ("Same evaluation protocol for all methods", _same_protocol(ended, settings)),
        ("Performance against compute", _against_compute(ended, settings)),
        ("Random sampling and random search as baselines", _random_baselines(ended, retrained)),
        ("Several runs, with reported seeds", _several_runs(ended)),
        ("Tabular or surrogate benchmarks where they exist", _tabular()),
        ("Confounders controlled", _confounders(searches)),
        ("Hyperparameter tuning reported", _tuning(searches)),
        ("End-to-end time of the method", _end_to_end(ended, retrained)),
        ("All details of the experimental setup", _set_up(both, described)),
    )
    return tuple(Point(name=name, answer=answer, why=why) for name, (answer, why) in answers)


def section(points: Sequence[Point]) -> Section:
    """The points as a section of the report."""
    counts = [(answer, sum(point.answer == answer for point in points)) for answer in ANSWERS]
    table = ReportTable(
        id="practice",
        caption="Best practices of Lindauer and Hutter (JMLR 21(243), 2020), checked against the tables",
        headings=("point", "answer", "why"),
        rows=tuple((f"{number}. {point.name}", point.answer, point.why) for number, point in enumerate(points, 1)),
        text_columns=frozenset({"answer", "why"}),
        wide_columns=frozenset({"point", "answer", "why"}),
    )
    text = (
        f"Of {len(points)} points: "
        + ", ".join(f"{count} {'partly met' if answer == 'partly' else answer}" for answer, count in counts)
        + "."
    )
    return Section(id="practice", title="Best-practice checklist", short="Checklist", blocks=(Text(text=text), table))


_Answered = tuple[Answer, str]


def _released(rows: pd.DataFrame, one: str) -> _Answered:
    """Tables know the revision of the code, not whether it is public."""
    revisions, known = _distinct(rows, "git_revision"), int(rows["git_revision"].notna().sum())
    if not len(rows):
        return "not decided by the tables", f"There is no {one} yet."
    if not known:
        return "not decided by the tables", f"No {one} records the git revision of its code."
    named = f"revision {revisions[0]}" if len(revisions) == 1 else f"one of {len(revisions)} revisions"
    recorded = f"{'every' if known == len(rows) else f'{known} of {len(rows)}'} {_plural(one, known == len(rows))}"
    return "not decided by the tables", _sentence(f"{recorded} ran {named}; whether it is public is not recorded")


def _as_run(rows: pd.DataFrame) -> _Answered:
    revisions = _distinct(rows, "git_revision")
    if not revisions:
        return "not met", "No row records a git revision, so the code that ran is unknown."
    changed = [revision for revision in revisions if revision.endswith("+")]
    if changed:
        return "partly", f"{_list(changed)} had uncommitted changes, so that code cannot be recovered."
    return "met", "All code was committed: no revision has local changes."


def _same_benchmark(searches: pd.DataFrame) -> _Answered:
    if not len(searches):
        return "not met", "There are no searches yet."
    if not searches["dataset"].notna().any():
        return "not met", "The tables do not record the data set of the searches."
    recorded = searches.dropna(subset=["dataset"])
    data = sorted({data_name(row) for row in row_dicts(recorded)})
    prints = [text for text in _distinct(searches, "data_fingerprint") if text]
    if len(_distinct(searches, "dataset")) > 1 or len(prints) > 1:
        differ = _list(data if len(data) > 1 else [f"{data[0]} of {text}" for text in prints])
        return "not met", f"The searches used different data sets ({differ}), so their accuracies are not comparable."
    names = ("image_size", "max_images", "flip", "space", "train_portion", "split_file", "stem")
    differing = [name for name in names if len(_distinct(searches, name)) > 1]
    used = f"{data[0]}: {prints[0]}" if prints else data[0]
    if differing:
        return "partly", f"All searches used {used}, but they differ in {_list(differing)}."
    return "met", f"All searches used the same data ({used}), split and search space."


def _ablations(ended: pd.DataFrame, settings: dict[str, set[str]]) -> _Answered:
    first = ended.drop_duplicates("setting")
    if len(first) < 2:
        return "not met", "Fewer than two settings have results."
    fields = _protocol(SearchConfig)
    alone = _alone(first, fields)
    compared = max(settings.values(), key=len, default=set())
    retrained = _alone(first[first["setting"].isin(compared)], fields)
    if retrained:
        return "met", f"{len(compared)} settings were retrained by one recipe; some differ in {_list(retrained)} alone."
    if alone:
        why = "but no two of them were retrained by one recipe"
        return "partly", f"{len(first)} settings; some differ in {_list(alone)} alone, {why}."
    varied = _varied(first, fields)
    if varied:
        return "partly", f"{len(first)} settings differ in several fields at once ({_list(varied)})."
    return "partly", f"{len(first)} settings have results, but no column records what they differ in."


def _alone(settings: pd.DataFrame, fields: Sequence[str]) -> list[str]:
    """Fields in which two of the settings differ while all others are equal."""
    texts, varied = settings[fields].astype(str), _varied(settings, fields)
    return [
        name
        for name in varied
        if (texts.groupby([n for n in varied if n != name])[name].nunique().max() if len(varied) > 1 else 2) > 1
    ]


def _varied(settings: pd.DataFrame, fields: Sequence[str]) -> list[str]:
    return [name for name in fields if settings[name].astype(str).nunique() > 1]


def _settings_by_recipe(ended: pd.DataFrame, retrains: pd.DataFrame) -> dict[str, set[str]]:
    """Name of each recipe to the settings with a cell that it retrained."""
    done = trainings(retrains)
    names = {level.number: level.recipe for level in levels(done)}
    joined = ended[["setting", "genotype_digest"]].dropna().merge(done[["genotype_digest", "level"]])
    return {str(name): set(group["setting"]) for name, group in joined.groupby(joined["level"].map(names))}


def _same_protocol(ended: pd.DataFrame, settings: dict[str, set[str]]) -> _Answered:
    if not settings:
        return "not met", "No cell has been retrained; one-shot accuracies are not a final evaluation."
    total = ended["setting"].nunique()
    recipe, compared = max(settings.items(), key=lambda item: len(item[1]))
    if total == 1:
        return "not decided by the tables", "The study has one setting, so there is nothing to compare."
    if len(compared) == 1:
        only = f"Of {total} settings only {next(iter(compared))} has retrained cells of one recipe"
        return "not met", f"{only}, so no two settings can be compared."
    if len(compared) < total:
        return "partly", f"{len(compared)} of {total} settings have cells retrained by one recipe ({recipe})."
    return "met", f"All {total} settings have cells retrained by one recipe ({recipe})."


def _against_compute(ended: pd.DataFrame, settings: dict[str, set[str]]) -> _Answered:
    if not len(ended):
        return "not met", "No search has a result."
    if not ended["seconds"].notna().any():
        return "not met", "No time is recorded."
    if max(map(len, settings.values()), default=0) < 2:
        return "partly", "The time of the searches is recorded, but no two settings were retrained by one recipe."
    return "met", "Test errors after retraining are shown against the cost of the searches."


def _random_baselines(ended: pd.DataFrame, retrained: pd.DataFrame) -> _Answered:
    drawn = ended[ended["method"] == "random"]
    if not len(drawn):
        return "not met", "The study has no random cells; add searches with method=random."
    random = set(drawn["genotype_digest"])
    found = set(ended["genotype_digest"]) - random
    tested = random & set(retrained["genotype_digest"])
    if not tested:
        return "partly", f"{_random_cells(len(drawn))} drawn, but none was retrained."
    recipes = [set(rows["genotype_digest"]) for _, rows in retrained.groupby(RECIPE_COLUMNS, dropna=False)]
    alike = max((len(cells & random) for cells in recipes if cells & found), default=0)
    if not alike:
        return "partly", f"{_random_cells(len(tested))} retrained, but no searched cell by the same recipe."
    return "met", f"{_random_cells(len(drawn))} drawn; {alike} retrained by the same recipe as searched cells."


def _random_cells(n: int) -> str:
    return f"{counted(n, 'random cell')} {'was' if n == 1 else 'were'}"


def _several_runs(ended: pd.DataFrame) -> _Answered:
    if not len(ended):
        return "not met", "No search has a result."
    seeds = ended.groupby("setting")["seed"].nunique()
    few = [str(name) for name in seeds.index[seeds < FEWEST_SEEDS]]
    if not few:
        least = int(seeds.min())
        return "met", f"Every setting has at least {least} seeds, all listed in the table of searches."
    if (seeds > 1).any():
        return "partly", f"{_list(few)} {'has' if len(few) == 1 else 'have'} fewer than {FEWEST_SEEDS} seeds."
    return "not met", "No setting has more than one seed, so chance cannot be separated from merit."


def _tabular() -> _Answered:
    why = "All results come from trained networks; whether a benchmark exists for this space is not recorded."
    return "not decided by the tables", why


def _confounders(searches: pd.DataFrame) -> _Answered:
    names = {
        "device_name": "device",
        "torch_version": "PyTorch",
        "python_version": "Python",
        "git_revision": "code",
        "threads": "threads",
    }
    unknown = [text for name, text in names.items() if name != "threads" and not _distinct(searches, name)]
    differing = [text for name, text in names.items() if len(_distinct(searches, name)) > 1]
    if len(unknown) == 4:
        return "not met", "Neither devices nor versions are recorded."
    if differing or unknown:
        parts = [f"the searches differ in {_list(differing)}"] if differing else []
        parts += [f"not recorded: {_list(unknown)}"] if unknown else []
        return "partly", _sentence("; ".join(parts))
    return (
        "partly",
        "All searches ran on the same type of device with the same code, versions and threads; others unknown.",
    )


def _tuning(searches: pd.DataFrame) -> _Answered:
    settings = searches["setting"].nunique()
    shown = f"all {settings} settings of this study are shown" if settings > 1 else "this study has one setting"
    return "not decided by the tables", _sentence(f"{shown}; earlier tuning is not recorded")


def _end_to_end(ended: pd.DataFrame, retrained: pd.DataFrame) -> _Answered:
    times = [rows["seconds"].dropna().astype(float) for rows in (ended, retrained)]
    if not len(times[0]):
        return "not met", "No time of a search is recorded."
    searched = f"{counted(len(times[0]), 'search', 'searches')} took {duration(times[0].sum())}"
    if not len(times[1]):
        return "partly", _sentence(f"{searched}; nothing has been retrained, which takes most of the time")
    retrainings = f"{counted(len(times[1]), 'retraining')} took {duration(times[1].sum())}"
    return "met", _sentence(f"{searched} and {retrainings}, not counting failures")


def _set_up(rows: pd.DataFrame, described: bool) -> _Answered:
    names = {
        "device_name": "device",
        "python_version": "Python version",
        "torch_version": "PyTorch version",
        "git_revision": "git revision",
        "seed": "seed",
    }
    known = rows[rows["status"] != "failed"]  # a search that failed may never have had a device
    lacking = [text for name, text in names.items() if not len(known) or known[name].isna().any()]
    lacking += [] if described else ["study.json with the exact command"]
    if len(lacking) > len(names):
        return "not met", "The setup is not recorded."
    if lacking:
        return "partly", f"Missing, at least for some rows: {_list(lacking)}."
    return (
        "met",
        "Every row records its configuration, seed, device, versions and git revision; study.json the command.",
    )


def _protocol(config: type) -> list[str]:
    return [field.name for field in dataclasses.fields(config) if field.name not in NOT_PROTOCOL]


def _distinct(rows: pd.DataFrame, name: str) -> list[str]:
    return sorted(map(str, rows[name].dropna().unique()))


def _plural(noun: str, one: bool) -> str:
    return noun if one else {"search": "searches"}.get(noun, f"{noun}s")


def _list(names: Sequence[str]) -> str:
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
