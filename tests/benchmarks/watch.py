"""Seconds and bytes of the live page, `pcdarts watch`, on made-up studies: first paint and updates.

    python -m tests.benchmarks.watch [--searches 1000 10000] [--epochs 50] [--settings 8] [--keep DIR]

"read" is the first look at the study's folder, once at the start of the server; "first" a page's first answer, computed
and serialized.  "update" is one more epoch of one search, the last of three: reading it, computing the page again,
finding what changed.  With Chromium, "paint" is the time from opening the address to the drawn tables, "drawn" to the
drawn curves, and "update in the page" the time from the arrival of an update to the drawn curves.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from analysis.store import ResultStore
from analysis.tables import EPOCHS
from orchestrator.watch.changes import changes
from orchestrator.watch.panels import panels
from orchestrator.watch.reading.snapshot import StudyReader
from orchestrator.watch.view import View
from tests.analysis.browser import Browser, missing
from tests.analysis.synthetic import epoch_rows, search_row
from tests.benchmarks.report import write_study

RUNNING = search_row(4, 9_999, 80.0)
VIEWS = {"overview": View(), "searches": View(tab="searches"), "sorted": View(tab="searches", sort="-valid_accuracy")}


class Stopwatch:
    """Time since it was made, by the clock and of the processor."""

    def __init__(self) -> None:
        self.clock, self.processor = time.perf_counter(), time.process_time()

    def __str__(self) -> str:
        return f"{time.perf_counter() - self.clock:.2f} | {time.process_time() - self.processor:.2f}"


def server_lines(root: Path) -> Iterator[str]:
    """What the server takes, by view."""
    store = ResultStore(str(root))
    store.append(EPOCHS, epoch_rows(RUNNING, 1), RUNNING["search_id"])
    watch = Stopwatch()
    reader = StudyReader(str(root))
    reader.refresh()
    yield f"| read | | {watch} | |"
    before = {}
    for name, view in VIEWS.items():
        reader.snapshot.made.clear()
        watch = Stopwatch()
        before[name] = panels(reader.snapshot, view)
        text = json.dumps(before[name])
        yield f"| first | {name} | {watch} | {len(text) / 1e3:.1f} |"
    epochs = 1
    for name, view in VIEWS.items():
        for _ in range(3):
            epochs += 1
            store.append(EPOCHS, epoch_rows(RUNNING, epochs), RUNNING["search_id"])
            watch = Stopwatch()
            reader.refresh()
            after = panels(reader.snapshot, view)
            text = json.dumps(changes(before[name], after))
            before[name] = after
        yield f"| update | {name} | {watch} | {len(text) / 1e3:.1f} |"


def browser_lines(root: Path) -> Iterator[str]:
    """What a user waits for in Chromium."""
    command = [sys.executable, "-m", "orchestrator.cli", "watch", str(root), "--port", "0", "--public"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = ""
        for line in process.stdout:
            address = found[0] if (found := re.search(r"http://\S+", line)) else address
            if "Ctrl-C" in line:
                break
        with tempfile.TemporaryDirectory() as profile, Browser(profile) as browser:
            for name in ("first", "again"):
                start = time.perf_counter()
                browser.command("POST", "/url", {"url": address})
                for what in ("first", "drawn"):
                    while not browser.run(f"return document.body.dataset.{what}"):
                        time.sleep(0.01)
                    yield f"| {'paint' if what == 'first' else what} | {name} | {time.perf_counter() - start:.2f} | | |"
            store = ResultStore(str(root))
            drawn = browser.run("return document.body.dataset.drawn")
            store.append(EPOCHS, epoch_rows(RUNNING, 20), RUNNING["search_id"])
            while browser.run("return document.body.dataset.drawn") == drawn:
                time.sleep(0.01)
            seconds = int(browser.run("return document.body.dataset.update")) / 1e3
            yield f"| update in the page | overview | {seconds:.3f} | | |"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, nargs="+", default=[1000, 10000], help="sizes of the studies")
    parser.add_argument("--epochs", type=int, default=50, help="epochs of every search")
    parser.add_argument("--settings", type=int, default=8, help="settings of every study, at most 10")
    parser.add_argument("--keep", type=Path, help="folder for the studies, used again where they are there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for searches in options.searches:
            root = (options.keep or Path(folder)) / str(searches)
            if not (root / "study.json").exists():
                write_study(root, searches, options.epochs, options.settings)
            print(f"\n{searches} searches\n\n| step | view | seconds | CPU | kB |\n|---|---|---:|---:|---:|")
            for line in server_lines(root):
                print(line, flush=True)
            for line in browser_lines(root) if not missing() else ():
                print(line, flush=True)


if __name__ == "__main__":
    main()
