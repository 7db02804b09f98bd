"""Import results of other programs: searches, their cells, and the accuracies of retrained cells.

    sources = Sources(
        columns={"genotype": "cell", "valid_accuracy": "one_shot", "test_accuracy": "retrained"},
        values={"dataset": "cifar10", "method": "pcdarts", "k": 4},
        unit="percent",
    )
    found = read_results(read_rows(path, "csv"), "old.csv", sources, study="old")
    write_results(found, "studies/old")

A row of the file becomes a row of `searches` and, if it has an accuracy of a retraining, one of `queue` and one of
`retrains`.  What the file does not contain stays missing.
"""

import dataclasses
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.importing.fields import FIELDS, RETRAIN, Sources, column_names
from analysis.store import ResultStore
from analysis.tables import QUEUE, RETRAINS, SEARCHES
from pcdarts.config import NOT_PROTOCOL, RetrainConfig, SearchConfig
from pcdarts.genotype import Genotype

PART = "imported"
"""Name of the part of every table: another import replaces an earlier one."""
SETTING_FIELDS = tuple(field.name for field in dataclasses.fields(SearchConfig) if field.name not in NOT_PROTOCOL)
"""Fields of a search in which settings can differ."""

Size = Callable[[Genotype], tuple[int, int]]
"""Parameters and multiply-adds of a network of these cells at retraining size."""


@dataclass(frozen=True, kw_only=True)
class ImportedResults:
    """Rows of the tables, and what was left out."""

    searches: Sequence[dict[str, Any]]
    """Rows of `searches`."""
    queue: Sequence[dict[str, Any]]
    """Rows of `queue`."""
    retrains: Sequence[dict[str, Any]]
    """Rows of `retrains`."""
    numbered: bool
    """Whether the file has no seeds, so that the numbers of its rows stand for them."""
    unread: tuple[str, ...]
    """Columns of the file that no field takes."""

    def text(self) -> str:
        """The summary to print."""
        cells = {row["genotype_digest"] for row in self.searches}
        settings = Counter(row["setting"] for row in self.searches)
        lines = [
            f"{len(self.searches)} searches, {len(cells)} distinct cells, {len(self.retrains)} retrainings",
            *(f"  {setting}: {count} searches" for setting, count in settings.items()),
        ]
        if self.numbered:
            lines.append("no column is mapped to seed: the row numbers are the seeds, and no two settings share one")
        if self.unread:
            lines.append(f"columns not read: {', '.join(self.unread)}")
        return "\n".join(lines)


@dataclass(kw_only=True)
class _Search:
    """A search, while the rows of the file are read."""

    number: int
    """Its first row in the file, counted from 1."""
    row: dict[str, Any]
    """Its row of the table."""
    genotype: Genotype
    """Its cells as printed in the file."""
    retrainings: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Rows of the file with an accuracy of a retraining: their numbers, and the fields of the retraining."""


def read_results(
    rows: Sequence[Mapping[str, Any]],
    file: str,
    sources: Sources,
    *,
    study: str,
    recipe: RetrainConfig | None = None,
    size: Size | None = None,
) -> ImportedResults:
    """The rows of the tables that the rows of a file give.

    Rows with the same setting, seed and cell are retrainings of one search.  `recipe` fills the fields of retrainings
    that `sources` does not.  Raises ValueError that names the row, the value, the rule and the remedy.
    """
    for name, flag in (("genotype", "--map genotype=COLUMN"), ("dataset", "--dataset"), ("method", "--method")):
        if name not in sources.columns and name not in sources.values:
            raise ValueError(f"{file}: {name} has no source, but every search needs it; give {flag}")
    records = sources.read(rows, file)
    labels = _settings(records)
    searches: dict[tuple[str, int], _Search] = {}
    for number, (record, setting) in enumerate(zip(records, labels, strict=True), start=1):
        where = f"{file}, row {number}"
        seed = number if "seed" not in sources.columns else _needed(record, "seed", where)
        search = _search(record, setting, number=number, seed=seed, study=study, where=where)
        first = searches.setdefault((setting, seed), search)
        if first is not search:
            _check_same(first, search, where)
            first.retrainings += search.retrainings
    if size is not None:
        for search in searches.values():
            _add_size(search, size)
    queue, retrains = _jobs(list(searches.values()), file, study, recipe)
    used = set(sources.columns.values())
    return ImportedResults(
        searches=[search.row for search in searches.values()],
        queue=queue,
        retrains=retrains,
        numbered="seed" not in sources.columns,
        unread=tuple(name for name in column_names(rows) if name not in used),
    )


def write_results(results: ImportedResults, out_dir: str) -> None:
    """Write the tables into a study folder.  Raises ValueError if it holds another study."""
    store = ResultStore(out_dir)
    tables = ((SEARCHES, results.searches), (QUEUE, results.queue), (RETRAINS, results.retrains))
    others = [part for table, _ in tables for part in store.parts(table) if part != PART]
    if others or store.read_text("study.json") is not None:
        raise ValueError(f"{out_dir!r} holds another study; give another name with --study")
    for table, rows in tables:
        store.append(table, rows, PART)


def _search(record: Mapping[str, Any], setting: str, *, number: int, seed: int, study: str, where: str) -> _Search:
    method = _needed(record, "method", where)
    try:
        genotype = Genotype.parse(_needed(record, "genotype", where))
    except ValueError as error:
        raise ValueError(error if where in str(error) else f"{where}: {error}") from None
    values = {name: value for name, value in record.items() if not name.startswith(RETRAIN)}
    if method != "pcdarts" and values.get("k") is None:
        values["k"] = 1
    if values.get("k") is None:
        raise ValueError(f"{where}: k is missing, but a search by pcdarts needs it; give --k, or map a column to k")
    skips = genotype.count("skip_connect")
    row = SEARCHES.row(
        values,
        search_id=f"seed{seed}-{_digest(setting, seed, values)}",
        study=study,
        status="completed",
        error="",
        setting=setting,
        seed=seed,
        sampling_rate=None if method == "random" else 1 / values["k"],
        genotype=genotype,
        genotype_digest=genotype.digest,
        skip_connections_normal=skips[0],
        skip_connections_reduce=skips[1],
    )
    retraining = {
        name.removeprefix(RETRAIN): value
        for name, value in record.items()
        if name.startswith(RETRAIN) and value is not None
    }
    retrained = "test_accuracy" in retraining or "valid_accuracy" in retraining
    retraining.setdefault("dataset", row["dataset"])
    return _Search(number=number, row=row, genotype=genotype, retrainings=[(number, retraining)] if retrained else [])


def _settings(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The label of each row's setting: its own, or the fields that differ between rows, as in the studies of Ray."""
    varied = [name for name in SETTING_FIELDS if len({record.get(name) for record in records}) > 1]
    labels = []
    for record in records:
        pcdarts = record.get("method") == "pcdarts"
        names = [name for name in varied if name != "method" and record.get(name) is not None]
        if pcdarts and "k" not in names and ("method" in varied or not names):
            names = ["k", *names]
        if not pcdarts:
            names = [name for name in names if name != "k"]
        if not pcdarts or "method" in varied:
            names = ["method", *names]
        labels.append(record.get("setting") or ", ".join(f"{name}={record.get(name)}" for name in names))
    return labels


def _check_same(first: _Search, again: _Search, where: str) -> None:
    """Raise ValueError unless a row describes the same search as an earlier one."""
    seed = f"setting {first.row['setting']} and seed {first.row['seed']}"
    differing = [name for name in FIELDS if name in first.row and first.row[name] != again.row[name]]
    if differing:
        name = differing[0]
        raise ValueError(
            f"{where}: {seed} are those of row {first.number}, but {name} is {str(again.row[name])[:60]!r} instead of "
            f"{str(first.row[name])[:60]!r}; give different searches different seeds"
        )
    if not again.retrainings:
        raise ValueError(f"{where}: {seed} are those of row {first.number}, and nothing was retrained; remove one row")


def _add_size(search: _Search, size: Size) -> None:
    """Compute the size of the network where the file does not give it."""
    if search.row["network_parameters"] is None or search.row["network_macs"] is None:
        parameters, macs = size(search.genotype)
        search.row["network_parameters"] = search.row["network_parameters"] or parameters
        search.row["network_macs"] = search.row["network_macs"] or macs


def _jobs(
    searches: Sequence[_Search], file: str, study: str, recipe: RetrainConfig | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of `queue` and `retrains`: one for each retraining."""
    common = {} if recipe is None else dataclasses.asdict(recipe)
    common = {name: value for name, value in common.items() if name not in NOT_PROTOCOL}
    found_by: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for search in searches:
        found_by[search.row["genotype_digest"]].append(search.row)
    numbers: Counter[str] = Counter()
    rows_of_jobs: dict[str, int] = {}
    queue: list[dict[str, Any]] = []
    retrains: list[dict[str, Any]] = []
    for search in searches:
        digest = search.row["genotype_digest"]
        origins = sorted(found_by[digest], key=lambda row: -(row["valid_accuracy"] or 0))
        for number, given in search.retrainings:
            values = common | given
            protocol = _digest(*(values.get(name) for name in RetrainConfig.__dataclass_fields__ if name != "seed"))
            if "seed" not in given:
                values["seed"] = numbers[digest + protocol]
                numbers[digest + protocol] += 1
            job = {
                "job_id": f"{digest}-{protocol}-seed{values['seed']}",
                "study": study,
                "stage": "final",
                "genotype_digest": digest,
                "genotype": str(search.genotype),
            }
            if (row := rows_of_jobs.setdefault(job["job_id"], number)) != number:
                raise ValueError(
                    f"{file}, row {number}: the cell was retrained with seed {values['seed']} in row {row} already; "
                    "map a column with different seeds to retrain.seed, or remove one row"
                )
            retrains.append(RETRAINS.row(values, job, attempt=1, status="completed", error=""))
            queue.append(
                QUEUE.row(
                    job,
                    origins=[row["search_id"] for row in origins],
                    valid_accuracy=origins[0]["valid_accuracy"],
                    reason=f"imported from row {number}",
                    network_parameters=search.row["network_parameters"],
                    network_macs=search.row["network_macs"],
                    submitted_at="",
                    rank=len(queue) + 1,
                    state="done",
                    attempts=1,
                    error="",
                )
            )
    return queue, retrains


def _needed(record: Mapping[str, Any], name: str, where: str) -> Any:
    if record.get(name) is None:
        raise ValueError(f"{where}: {name} is missing, but every row needs it; add it, or remove the row")
    return record[name]


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
