"""The live page in a real browser, headless Chromium: next to a running study, and on a finished one.

Where Chromium is missing these tests are skipped; under .ci/run, which sets PCDARTS_CI, they fail instead.
"""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from analysis.store import ResultStore
from analysis.tables import EPOCHS, QUEUE, RETRAINS
from orchestrator.watch.rows import UNKNOWN
from tests.analysis.browser import PATIENCE, Browser, missing
from tests.analysis.synthetic import epoch_rows, search_row
from tests.orchestrator.watch.studies import simulated

ROOT = Path(__file__).parents[3]
CELL = "PC_DARTS_cifar"
ESCAPE = "\ue00c"


@pytest.fixture
def browser(tmp_path):
    reason = missing()
    if reason and os.environ.get("PCDARTS_CI"):
        pytest.fail(f"continuous integration must test the live page in a browser: {reason}")
    if reason:
        pytest.skip(reason)
    with Browser(str(tmp_path / "profile")) as window:
        yield window


class Command:
    """`pcdarts` in a process of its own, whose output is kept in a file."""

    def __init__(self, folder, name, *arguments):
        self.log = folder / f"{name}.log"
        environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": str(ROOT)}
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=ROOT,
            )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def text(self):
        return self.log.read_text()

    def address(self):
        until(lambda: "Ctrl-C" in self.text() or self.process.poll() is not None)
        return re.search(r"http://\S+", self.text())[0]


def until(condition, patience=PATIENCE):
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
    return found


def text(browser, selector):
    script = "return Array.from(document.querySelectorAll(arguments[0]), e => e.textContent).join('\\n')"
    return browser.run(script, selector)


def shows(browser, selector, part):
    until(lambda: part in text(browser, selector))


def open_page(browser, address, width=1280):
    browser.command("POST", "/window/rect", {"width": width, "height": 900})
    browser.command("POST", "/url", {"url": address})


def domain(browser):
    return browser.run("return window.pcdartsDomain('valid_accuracy')")


ZOOM = """const svg = document.querySelector('[data-measure=valid_accuracy] svg');
svg.scrollIntoView({block: 'center'});
const box = svg.getBoundingClientRect();
const at = {clientX: box.left + box.width / 2, clientY: box.top + box.height / 2, bubbles: true, cancelable: true};
const hit = document.elementFromPoint(at.clientX, at.clientY);
for (let i = 0; i < 5; i++) hit.dispatchEvent(new WheelEvent('wheel', {...at, deltaY: -120, ctrlKey: true}));"""


def test_an_update_moves_neither_zoom_nor_scroll_nor_sort(browser, tmp_path):
    store, more = simulated(tmp_path / "study", searches=20), search_row(4, 99, 80.0)
    with Command(tmp_path, "watch", "watch", store.root, "--port", 0) as watch:
        open_page(browser, watch.address())
        shows(browser, "#settings", "k=4")
        until(lambda: browser.run("return document.body.dataset.drawn"))
        whole = domain(browser)
        browser.run(ZOOM)
        until(lambda: domain(browser) != whole)
        zoomed = domain(browser)
        drawn = browser.run("return document.body.dataset.drawn")
        store.append(EPOCHS, epoch_rows(more, 4), "more")
        shows(browser, "#tiles", "1 stale")
        shows(browser, "#legend", UNKNOWN)  # the search is in no plan: a setting more, for which charts are made
        until(lambda: browser.run("return document.body.dataset.drawn") != drawn)
        assert until(lambda: domain(browser)) == zoomed
        browser.click('#tabs a[data-tab="searches"]')
        shows(browser, "#rows", "completed")
        browser.click("#rows thead th:nth-child(3) button")
        until(lambda: "seed19" in text(browser, "#rows tbody tr:first-child th"))
        browser.run("scrollTo(0, 300); document.querySelector('#rows tbody a').focus()")
        focused = "return document.activeElement.textContent"
        before = browser.run("return scrollY"), browser.run(focused), text(browser, "#rows tbody th")
        store.append(EPOCHS, epoch_rows(more, 7), "more")
        until(lambda: "7" in text(browser, "#rows td:nth-child(5)").splitlines())
        assert (browser.run("return scrollY"), browser.run(focused), text(browser, "#rows tbody th")) == before
        assert browser.log() == []


def test_a_chart_is_saved_as_it_is_shown(browser, tmp_path):
    store = simulated(tmp_path / "study")
    with Command(tmp_path, "watch", "watch", store.root, "--port", 0, "--public") as watch:
        open_page(browser, watch.address())
        shows(browser, "#legend", "k=2")
        browser.click('#settings a[href*="setting=k%3D4"]')
        until(lambda: "k=2" not in text(browser, "#legend") and browser.run("return document.body.dataset.drawn"))
        links = "return Array.from(document.querySelectorAll('[data-measure=train_loss] .downloads a'), e => e.href)"
        addresses = {address.partition("?")[0].rpartition(".")[2]: address for address in browser.run(links)}
        assert set(addresses) == {"pdf", "svg", "png"} and all("setting=k%3D4" in each for each in addresses.values())
        with urllib.request.urlopen(addresses["pdf"]) as answer:
            assert answer.headers["Content-Type"] == "application/pdf" and answer.read(5) == b"%PDF-"


def test_keyboard_details_and_a_narrow_window(browser, tmp_path):
    store = simulated(tmp_path / "study", failed=(1,))
    with Command(tmp_path, "watch", "watch", store.root, "--port", 0, "--public") as watch:
        address = watch.address().partition("?")[0]  # without the token
        open_page(browser, address)
        shows(browser, "#settings", "k=4")
        assert browser.run("return document.body.dataset.mayAct") == "no"
        browser.press("2")
        shows(browser, "#rows", "completed")
        browser.run(
            "document.querySelector('#rows tbody .pill[data-state=failed]').closest('tr').querySelector('a').click()"
        )
        shows(browser, "#detail", "out of memory")
        assert "search=" in browser.run("return location.search")
        browser.press(ESCAPE)
        until(lambda: browser.run("return document.querySelector('#detail').hidden"))
        browser.press("/")
        assert browser.run("return document.activeElement.id") == "q"
        browser.type("#q", "out of mem")
        shows(browser, "#count", "2 rows of 6")
        browser.press(ESCAPE)
        browser.press("?")
        until(lambda: browser.run("return document.querySelector('#help').open"))
        browser.press(ESCAPE)
        for width in (390, 1280):
            browser.devtools(
                "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600
            )
            for key in "12345":
                browser.press(key)
                time.sleep(0.2)
                assert browser.run("return document.documentElement.scrollWidth - innerWidth") <= 0, (width, key)
        assert browser.log() == []


@pytest.mark.slow
def test_a_running_study_is_followed_and_steered(browser, tmp_path):
    root = tmp_path / "studies" / "live"
    run = (
        "run",
        "smoke",
        "--study",
        "live",
        "--storage",
        tmp_path / "studies",
        "--seeds",
        0,
        1,
        "--k",
        2,
        "--epochs",
        6,
    )
    options = ("--address", "local", "--retrain", "--set", "selection.top=1", "retrain.epochs=4")
    with Command(tmp_path, "run", *run, *options) as study:
        until(lambda: (root / "study.json").exists() or study.process.poll() is not None)
        assert study.process.poll() is None, study.text()
        with Command(tmp_path, "watch", "watch", root, "--port", 0) as watch:
            address = watch.address()
            port = re.search(r":(\d+)/", address)[1]
            open_page(browser, address)
            shows(browser, "#driver", "running")
            shows(browser, "#tiles", "running")
            until(lambda: browser.run("return document.querySelectorAll('#charts svg').length"))

            browser.click('#tabs a[data-tab="trainings"]')
            browser.type("#add-target", CELL + "\ue007")
            shows(browser, "#rows", "queued")
            (job,) = {row["job_id"] for row in ResultStore(str(root)).rows(QUEUE)}
            browser.run(
                "Array.from(document.querySelectorAll('#rows button')).find(b => b.textContent === 'Drop').click()"
            )
            shows(browser, "#rows", "dropped")
            shows(browser, "#requests", "drop job")
            until(lambda: text(browser, "#requests").count("taken up") == 2)  # the driver has answered both

            watch.process.kill()
            watch.process.wait()
            shows(browser, "#trouble", "does not answer")
        with Command(tmp_path, "again", "watch", root, "--port", port) as watch:
            watch.address()
            until(lambda: not text(browser, "#trouble"))
            browser.click('#tabs a[data-tab="overview"]')
            until(lambda: study.process.poll() is not None, 4 * PATIENCE)
            assert study.process.poll() == 0, study.text()
            shows(browser, "#driver", "finished")
            shows(browser, "#tiles", "2 / 2")
            assert not [line for line in browser.log() if "net::ERR" not in line]  # but for the dead server
    trained = {row["job_id"]: row["status"] for row in ResultStore(str(root)).rows(RETRAINS)}
    assert trained and set(trained.values()) == {"completed"} and job not in trained
