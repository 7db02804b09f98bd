"""Seconds, memory and size of `pcdarts report` on made-up studies of growing size.

    python -m tests.benchmarks.report [--searches 20 1000 10000] [--epochs 50] [--settings 8] [--keep DIR]

Every study is written first (a part holds a few hundred searches, as compaction leaves them), then the command runs in
a process of its own.  "seconds" are by the clock, "CPU" those of the process, "peak" its highest resident memory, all
with the interpreter's start.  Column "ratio" compares seconds with those of the study before, per search: 1 is linear.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.tables import EPOCHS, SEARCHES
from pcdarts.genotype import PUBLISHED
from tests.analysis.synthetic import epoch_rows, search_row

PER_PART = 250
LISTS = {"alphas_normal": (14, 8), "alphas_reduce": (14, 8), "betas_normal": (14,), "betas_reduce": (14,)}


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One run of the command."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output_mb: float


def write_study(root: Path, searches: int, epochs: int, settings: int) -> None:
    """A study of completed, stopped and failed searches with all columns; every alpha is drawn anew."""
    generator = np.random.default_rng(0)
    for start in range(0, searches, PER_PART):
        numbers = range(start, min(start + PER_PART, searches))
        found = [_search(number, settings, generator) for number in numbers]
        _write(root / "searches" / f"part-{start:06}.parquet", SEARCHES.to_arrow(found))
        ended = [search for search in found if search["status"] != "failed"]
        _write(root / "epochs" / f"part-{start:06}.parquet", _epochs(ended, epochs, generator))
    (root / "study.json").write_text('{"name": "benchmark", "command": ["pcdarts", "run", "cifar10"]}\n')


def _search(number: int, settings: int, generator: np.random.Generator) -> dict[str, object]:
    seed, setting = divmod(number, settings)
    k = 2 ** (setting % 5)
    accuracy = None if generator.random() < 0.02 else float(84 + setting / 10 + generator.normal(0, 0.4))
    row = search_row(k, seed, accuracy, "benchmark", list(PUBLISHED)[number % len(PUBLISHED)])
    row |= {"setting": f"k={k}, order={1 + setting // 5}", "search_id": f"{row['search_id']}-{number}"}
    if accuracy is not None:
        row |= {
            "status": "stopped" if generator.random() < 0.05 else "completed",
            "genotype_digest": f"{int(generator.integers(2**63)):016x}",  # nearly all cells of large studies differ
            "dominant_eigenvalue": float(generator.gamma(2, 0.2)),
            "discretization_gap": float(generator.gamma(2, 5)),
            "gpu_days": float(generator.uniform(0.05, 0.1)),
        }
    return row


def _epochs(searches: list[dict[str, object]], epochs: int, generator: np.random.Generator) -> pa.Table:
    """All epochs of some searches: one search's rows repeated, then every number that varies drawn for all of them."""
    template = EPOCHS.to_arrow(epoch_rows(search_row(4, 0, 84.0), epochs=epochs))
    rows = len(searches) * epochs
    table = pa.concat_tables([template] * len(searches)).combine_chunks()
    epoch = np.tile(np.arange(epochs), len(searches))
    curve = 1 - np.exp(-(epoch + 1) / (epochs / 5))
    drawn = {
        "search_id": np.repeat([str(search["search_id"]) for search in searches], epochs),
        "valid_accuracy": 84 * curve + generator.normal(0, 0.5, rows),
        "train_accuracy": 87 * curve + generator.normal(0, 0.5, rows),
        "dominant_eigenvalue": np.where(epoch % 2 == 0, 0.1 + 0.3 * curve + generator.gamma(2, 0.05, rows), np.nan),
        "discretized_accuracy": np.where(epoch % 2 == 0, 60 * curve + generator.normal(0, 2, rows), np.nan),
        "weight_norm": 30 + 20 * curve + generator.normal(0, 0.5, rows),
        "alpha_norm": curve + generator.normal(0, 0.02, rows),
        "beta_norm": curve + generator.normal(0, 0.02, rows),
        "alpha_entropy_normal": 2.079 - 0.8 * curve + generator.normal(0, 0.02, rows),
        "alpha_entropy_reduce": 2.079 - 0.5 * curve + generator.normal(0, 0.02, rows),
        "alpha_kendall_tau": generator.uniform(0.5, 1, rows),
        "seconds": 12 + generator.normal(0, 0.2, rows),
    }
    for name, values in drawn.items():
        array = pa.array(values, type=EPOCHS.schema.field(name).type, from_pandas=True)
        table = table.set_column(table.schema.get_field_index(name), EPOCHS.schema.field(name), array)
    for name, shape in LISTS.items():
        values = pa.array(generator.normal(0, 0.1, rows * int(np.prod(shape))))
        for size in reversed(shape):
            offsets = np.arange(0, len(values) + 1, size, dtype=np.int32)
            values = pa.ListArray.from_arrays(pa.array(offsets), values)
        array = values.cast(EPOCHS.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), EPOCHS.schema.field(name), array)
    return table


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, write_page_checksum=True)


def measure(root: Path, form: str) -> Measurement:
    """One run of `pcdarts report` in a process of its own, whose resources are measured."""
    command = [sys.executable, "-m", "orchestrator.cli", "report", str(root), "--format", form]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    probe = "import resource, sys\nfrom orchestrator.cli import main\ncode = main(sys.argv[1:])\n"
    probe += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\nsys.exit(code)"
    command = [sys.executable, "-c", probe, *command[3:]]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    written = root / ("report-csv" if form == "csv" else f"report.{form}")
    files = written.iterdir() if form == "csv" else [written]
    return Measurement(
        seconds=seconds,
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        peak_mb=int(lines[-1]) / 1024,
        output_mb=sum(file.stat().st_size for file in files) / 1e6,
    )


def table(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The lines of a Markdown table, one a study and format."""
    yield "| searches | format | seconds | CPU | peak MB | output MB | ratio to linear growth |"
    yield "|---:|---|---:|---:|---:|---:|---:|"
    earlier: tuple[int, float] | None = None
    for searches in options.searches:
        root = folder / str(searches)
        if not (root / "study.json").exists():
            write_study(root, searches, options.epochs, options.settings)
        for form in ("html", "md", "csv"):
            m = measure(root, form)
            ratio = "" if earlier is None or form != "html" else f"{m.seconds / earlier[1] * earlier[0] / searches:.2f}"
            yield (
                f"| {searches} | {form} | {m.seconds:.1f} | {m.cpu_seconds:.1f} | {m.peak_mb:.0f} "
                f"| {m.output_mb:.2f} | {ratio} |"
            )
            if form == "html":
                html_seconds = m.seconds
        earlier = searches, html_seconds
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import analysis"], check=True)
    yield f"\n`import analysis`: {time.perf_counter() - start:.2f} s"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, nargs="+", default=[20, 1000, 10000], help="sizes of the studies")
    parser.add_argument("--epochs", type=int, default=50, help="epochs of every search")
    parser.add_argument("--settings", type=int, default=8, help="settings of every study, at most 10")
    parser.add_argument("--keep", type=Path, help="folder for the studies, used again where they are there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for line in table(options, options.keep or Path(folder)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
