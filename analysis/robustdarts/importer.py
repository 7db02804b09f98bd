"""Import published search logs of RobustDARTS into the tables of a study.

    print(import_logs("search_logs", "studies/robustdarts").text())

Each seed with a log, errors or arch file becomes a row of `searches`.  It is completed if its three files exist and
agree; otherwise it is failed, with the reason.  Columns that the files do not contain are missing, except for the
settings of all published runs (`PUBLISHED`).  Accuracies are one-shot (shared weights), and validation used the
training transform: they are not comparable between drop-path values.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.robustdarts.checks import EPOCHS_PLANNED, compare_lists, report_repeated, why_broken
from analysis.robustdarts.logs import (
    FILE,
    FOLDER,
    Log,
    LogEpoch,
    Problem,
    Problems,
    Run,
    job_folders,
    read_eigenvalues,
    read_genotype,
    read_lists,
    read_log,
)
from analysis.stability import early_stop_epoch
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from pcdarts.genotype import Genotype

STUDY = "robustdarts"
"""Name of the imported study and of its parts: a new import replaces an earlier one."""

SHOWN = 5
"""Problems of one kind and file that are printed; all are counted."""

PUBLISHED: dict[str, Any] = {
    "method": "darts-official",
    "k": 1,
    "edge_normalization": False,
    "side_operation": "none",
    "spatial_stride": 1,
    "stem": "cifar",
    "train_portion": 0.5,
    "batch_size": 64,
    "warmup_epochs": 0,
    "channels": 16,
    "layers": 8,
    "order": 2,
    "hessian_vector_product": "finite_difference",
    "learning_rate": 0.025,
    "learning_rate_min": 0.001,
    "learning_rate_warmup_epochs": 0,
    "momentum": 0.9,
    "gradient_clip": 5.0,
    "alpha_gradient_clip": 0.0,
    "alpha_learning_rate": 3e-4,
    "alpha_weight_decay": 1e-3,
    "validate_every": 1,
}
"""Settings of all published runs: experiments/search_logs/config.yaml, src/search and scripts/DARTS_search.sh."""

CUTOUT = 16
"""Side of the cutout square, applied with a probability that grows with drop path; none if drop path is 0."""


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """Result of an import."""

    searches: tuple[dict[str, Any], ...]
    """Rows of `searches`."""
    epochs: tuple[dict[str, Any], ...]
    """Rows of `epochs`."""
    meanings: tuple[tuple[str, int], ...]
    """Content of the lists train_acc and valid_acc (accuracy, error or unknown) with the number of lists."""
    problems: tuple[Problem, ...]
    """All problems with the files."""

    def text(self) -> str:
        """The summary to print: counts, then the problems, the first few of each kind and file."""
        states = Counter(row["status"] for row in self.searches)
        eigenvalues = [row for row in self.epochs if row["dominant_eigenvalue"] is not None]
        settings, measured = {row["setting"] for row in self.searches}, {row["search_id"] for row in eigenvalues}
        lines = [
            f"{len(self.searches)} searches of {len(settings)} settings: {states['completed']} completed, "
            f"{states['failed']} failed",
            f"{len(self.epochs)} epochs, {len(eigenvalues)} eigenvalues of {len(measured)} searches",
            "content of the lists train_acc and valid_acc: "
            + (", ".join(f"{count} x {meaning}" for meaning, count in self.meanings) or "none"),
            "accuracies are one-shot: shared weights, validation half, training transform",
        ]
        counts = Counter(problem.kind for problem in self.problems)
        lines.append("problems: " + (", ".join(f"{n} x {kind}" for kind, n in sorted(counts.items())) or "none"))
        grouped: dict[tuple[str, str], list[str]] = {}
        for problem in self.problems:
            grouped.setdefault((problem.kind, problem.path), []).append(problem.detail)
        for (kind, path), details in grouped.items():
            lines += [f"  {kind}: {path}: {detail}" for detail in details[:SHOWN]]
            if len(details) > SHOWN:
                lines.append(f"  {kind}: {path}: and {len(details) - SHOWN} more like these")
        return "\n".join(lines)


def import_logs(logs_dir: str, out_dir: str) -> ImportSummary:
    """Write the searches and epochs of all logs below `logs_dir` into the study folder `out_dir`.

    `logs_dir` holds {space}/{data set}/{drop path}_{L2}-{job}/, or is one of these folders.  Raises ValueError if there
    are no logs, or if `out_dir` holds another study.
    """
    root = Path(logs_dir).resolve()
    if not root.is_dir():
        raise ValueError(f"there is no folder {logs_dir!r}; unpack the logs and give the folder that holds them")
    store = ResultStore(out_dir)
    others = [part for table in (SEARCHES, EPOCHS) for part in store.parts(table) if part != STUDY]
    if others:
        raise ValueError(f"{out_dir!r} holds another study ({others[0]}, ...); give a new folder")
    summary = read_logs(root)
    if not summary.searches:
        raise ValueError(
            f"no search logs below {logs_dir!r}; it must hold folders such as "
            "s1/cifar10/0.0_0.0003-2516843 with log_1.txt"
        )
    store.append(SEARCHES, summary.searches, STUDY)
    store.append(EPOCHS, summary.epochs, STUDY)
    return summary


def read_logs(root: Path) -> ImportSummary:
    """The rows and problems of all logs below a folder; nothing is written."""
    problems = Problems()
    meanings: Counter[str] = Counter()
    runs = [run for folder in job_folders(root) for run in _runs(root, folder, problems)]
    swept = [name for name in ("space", "dataset") if len({getattr(run, name) for run in runs}) > 1]
    searches, epochs = [], []
    for run in runs:
        search, rows = _read_run(run, problems, meanings)
        search["setting"] = ", ".join(
            [*(f"{name}={getattr(run, name)}" for name in swept), *_setting(run.drop_path, run.weight_decay)]
        )
        searches.append(search)
        epochs += rows
    report_repeated(searches, problems)
    return ImportSummary(
        searches=tuple(SEARCHES.row(row) for row in searches),
        epochs=tuple(EPOCHS.row(row) for row in epochs),
        meanings=tuple(sorted(meanings.items())),
        problems=tuple(problems),
    )


def _runs(root: Path, folder: Path, problems: Problems) -> list[Run]:
    """The seeds in a job's folder.  Missing and unknown files are added to `problems`."""
    relative = folder.relative_to(root).as_posix()
    name = folder.name if relative == "." else relative
    found: dict[str, set[int]] = {"log": set(), "errors": set(), "arch": set(), "derivatives": set()}
    for path in sorted(folder.iterdir()):
        match = FILE.fullmatch(path.name)
        if match:
            kind, number = (text for text in match.groups() if text)
            found[kind].add(int(number))
        elif path.is_file():
            problems.add("unknown file", f"{name}/{path.name}", "left out")
    named = FOLDER.fullmatch(folder.name)
    if not named:
        detail = "the folder's name does not say drop path, L2 and job, such as 0.0_0.0003-2516843"
        problems.add("contradiction", name, detail)
    runs = []
    for seed in sorted(set().union(*found.values())):
        run = Run(
            folder=folder,
            name=name,
            seed=seed,
            space=folder.parent.parent.name,
            dataset=folder.parent.name,
            drop_path=float(named[1]) if named else None,
            weight_decay=float(named[2]) if named else None,
        )
        wanted = ["log", "errors", "arch", *(["derivatives"] if found["derivatives"] else [])]
        for kind in (kind for kind in wanted if seed not in found[kind]):
            problems.add("missing file", run.file(kind), "not there")
        runs.append(run)
    return runs


def _read_run(run: Run, problems: Problems, meanings: Counter[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of a search and the rows of its epochs."""
    paths = {kind: run.path(kind) for kind in ("log", "errors", "arch", "derivatives")}
    log = read_log(paths["log"], run.file("log"), problems) if paths["log"].is_file() else Log()
    lists = read_lists(paths["errors"], run.file("errors"), problems) if paths["errors"].is_file() else None
    final = read_genotype(paths["arch"], run.file("arch"), problems) if paths["arch"].is_file() else None
    eigenvalues = (
        read_eigenvalues(paths["derivatives"], run.file("derivatives"), problems)
        if paths["derivatives"].is_file()
        else {}
    )
    believed = [] if log.contradiction else log.epochs
    if lists is not None and believed:
        compare_lists(run, believed, lists, problems, meanings)
    beyond = sorted(set(eigenvalues) - {epoch.epoch for epoch in believed})
    if beyond:
        detail = f"eigenvalues of epochs {beyond} that the log does not have"
        problems.add("contradiction", run.file("derivatives"), detail)
        eigenvalues = {epoch: value for epoch, value in eigenvalues.items() if epoch not in beyond}
    rows = [_epoch_row(run, epoch, lists, eigenvalues) for epoch in believed]
    reason = why_broken(run, log, lists, final)
    planned = len(lists["train_acc"]) if lists is not None and not reason else EPOCHS_PLANNED
    search = {
        **(PUBLISHED if believed else {"k": PUBLISHED["k"]}),  # another kind of log comes from another method
        **_known(run),
        "search_id": run.search_id,
        "study": STUDY,
        "status": "failed" if reason else "completed",
        "error": reason,
        "sampling_rate": 1.0,
        "seed": run.seed,
        "epochs": planned,
    }
    if believed and believed[0].epoch == 0:
        search["learning_rate"] = believed[0].learning_rate
    for name in ("dataset", "space"):
        if search[name] is None:
            detail = f"{name} {getattr(run, name)!r} is none that the tables know; the column is empty"
            problems.add("contradiction", run.name, f"seed {run.seed}: {detail}")
    if reason:
        problems.add("failed search", f"{run.name} seed {run.seed}", reason)
    else:
        search |= _result(log, rows, final, eigenvalues)
    return search, rows


def _known(run: Run) -> dict[str, Any]:
    """The configuration fields that folder names contain."""
    choices = {column.name: column.choices for column in SEARCHES.columns}
    space = "darts" if run.space == "s5" else run.space
    return {
        "dataset": run.dataset if run.dataset in choices["dataset"] else None,
        "space": space if space in choices["space"] else None,
        "drop_path": run.drop_path,
        "weight_decay": run.weight_decay,
        "cutout": None if run.drop_path is None else CUTOUT * (run.drop_path > 0),
    }


def _epoch_row(
    run: Run, epoch: LogEpoch, lists: dict[str, list[float]] | None, eigenvalues: dict[int, float]
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "search_id": run.search_id,
        "study": STUDY,
        "epoch": epoch.epoch,
        "alpha_trained": True,
        "learning_rate": epoch.learning_rate,
        "train_accuracy": epoch.train_accuracy,
        "valid_accuracy": epoch.valid_accuracy,
        "seconds": (epoch.ended - epoch.started).total_seconds(),
        "dominant_eigenvalue": eigenvalues.get(epoch.epoch),
    }
    for name in ("train_loss", "valid_loss"):
        values = lists[name] if lists is not None else []
        row[name] = values[epoch.epoch] if epoch.epoch < len(values) else None
    return row | (_cells(epoch.genotype) if epoch.genotype is not None else {})


def _cells(genotype: Genotype) -> dict[str, Any]:
    normal, reduce = genotype.count("skip_connect")
    return {
        "genotype": str(genotype),
        "genotype_digest": genotype.digest,
        "skip_connections_normal": normal,
        "skip_connections_reduce": reduce,
    }


def _result(
    log: Log, rows: list[dict[str, Any]], final: Genotype | None, eigenvalues: dict[int, float]
) -> dict[str, Any]:
    """The outcome of a completed search."""
    assert final is not None
    last = rows[-1]
    cells = [(row["epoch"], row.get("genotype")) for row in rows]
    changes = [epoch for (epoch, cell), (_, before) in zip(cells[1:], cells, strict=False) if cell != before]
    return {
        **_cells(final),
        **{name: last[name] for name in ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy")},
        "supernet_parameters": log.parameters,
        "epochs_trained": last["epoch"] + 1,
        "last_genotype_change": changes[-1] if changes else 0,
        "seconds": sum(row["seconds"] for row in rows),
        "dominant_eigenvalue": list(eigenvalues.values())[-1] if eigenvalues else None,
        "early_stop_epoch": early_stop_epoch(list(eigenvalues), list(eigenvalues.values())),
    }


def _setting(drop_path: float | None, weight_decay: float | None) -> list[str]:
    values = {"drop_path": drop_path, "weight_decay": weight_decay}
    return [f"{name}={'unknown' if value is None else value}" for name, value in values.items()]
