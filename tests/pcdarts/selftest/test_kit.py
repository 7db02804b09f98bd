"""The self-test as a whole, on a CPU; and what is left of a part that raises, crashes, hangs or is never reached."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pcdarts.selftest import kit
from pcdarts.selftest.kit import Options, Part, all_parts, options_of, run_apart, selftest
from pcdarts.selftest.results import PartResult, from_dict

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ray", "jsonschema", "moto", "orchestrator", "analysis", "cluster"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
from pcdarts.selftest.kit import main
sys.exit(main(sys.argv[1:]))
"""


def silent(line):
    pass


def passing(bench):
    bench.add("numbers", what="one", value=1.0)
    return "pass", "all is well"


def raising(bench):
    bench.add("numbers", what="before the error", value=float("nan"))
    raise RuntimeError("no kernel\nfor this <device>")


def part(run):
    return Part(title=run.__name__, minutes=1, run=run)


def read(folder):
    return json.loads((folder / "selftest.json").read_text())


@pytest.mark.slow
def test_the_whole_self_test_passes_on_a_cpu_without_ray(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BLOCKED, "--device", "cpu", "--out", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    found = read(tmp_path)
    assert found["format"] == 1 and found["finished"] and found["verdict"] == "pass"
    assert {"Python", "torch", "processor", "device", "minutes"} <= found["machine"].keys()
    assert [part["name"] for part in found["parts"]] == list(all_parts())
    for values in found["parts"]:
        one = from_dict(values)  # refuses unknown fields and verdicts
        assert one.verdict in ("pass", "not run") and one.reason
        assert one.verdict == "not run" or (one.tables and all(one.tables.values()) and one.seconds > 0)
    assert len(found["costs"]) >= 3 and all(hours > 0 for hours in found["costs"].values())
    page = (tmp_path / "selftest.html").read_text()
    assert all(f"<h2>{part.title}</h2>" in page for part in all_parts().values())
    assert "http" not in page  # opens offline
    assert "has not finished" not in page


def test_a_part_that_raises_has_failed_and_the_others_run(tmp_path: Path) -> None:
    parts = {"bad": part(raising), "good": part(passing)}
    assert selftest(Options(device="cpu", out=tmp_path), parts, silent) == 1
    found = read(tmp_path)
    bad, good = found["parts"]
    assert bad["verdict"] == "fail" and bad["reason"] == "RuntimeError: no kernel for this <device>"
    assert bad["tables"]["numbers"] == [{"what": "before the error", "value": "nan"}]
    lines = [row["line"] for row in bad["tables"]["Traceback"]]
    assert lines[0].startswith("Traceback") and lines[-2:] == ["RuntimeError: no kernel", "for this <device>"]
    assert good["verdict"] == "pass" and found["verdict"] == "fail" and found["finished"]
    assert "no kernel for this &lt;device&gt;" in (tmp_path / "selftest.html").read_text()


def test_a_run_that_is_cut_off_leaves_what_it_found(tmp_path: Path) -> None:
    def cut_off(bench):
        raise KeyboardInterrupt

    parts = {"good": part(passing), "cut": part(cut_off), "never": part(passing)}
    with pytest.raises(KeyboardInterrupt):
        selftest(Options(device="cpu", out=tmp_path), parts, silent)
    found = read(tmp_path)
    assert [p["verdict"] for p in found["parts"]] == ["pass", "not run", "not run"]
    assert found["finished"] is False and "cut off" in found["parts"][2]["reason"]
    assert "has not finished" in (tmp_path / "selftest.html").read_text()


def test_parts_without_time_are_not_run(tmp_path: Path) -> None:
    lines: list[str] = []
    assert selftest(Options(device="cpu", out=tmp_path, minutes=1e-9), {"late": part(passing)}, lines.append) == 0
    (late,) = read(tmp_path)["parts"]
    assert late["verdict"] == "not run" and "give more --minutes" in late["reason"]
    assert lines[0].startswith("not run")


def test_on_a_gpu_every_part_runs_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = []

    def note(name, part, options, deadline):
        apart.append((name, options.device))
        return PartResult(name=name, title=part.title, verdict="pass", reason="noted")

    monkeypatch.setattr("pcdarts.training.device.resolve_device", lambda name: torch.device("cuda:0"))
    monkeypatch.setattr(kit, "run_apart", note)
    monkeypatch.setattr(kit, "run_here", None)
    assert selftest(Options(out=tmp_path), {"one": part(passing), "two": part(passing)}, silent) == 0
    assert apart == [("one", "cuda:0"), ("two", "cuda:0")]


def test_a_part_in_a_process_of_its_own_returns_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    result = run_apart("machine", all_parts()["machine"], Options(device="cpu"), deadline=1e9)
    assert result.verdict == "pass" and len(result.tables["Ceilings"]) == 2


@pytest.mark.parametrize(
    ("script", "minutes", "verdict", "reason"),
    [
        ("import os, sys; print('no such kernel', file=sys.stderr); os._exit(7)", 1, "fail", "code 7;"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 1, "fail", "code -11;"),
        ("input_is_awaited = __import__('threading').Event().wait()", 0.001, "fail", "had not ended after"),
    ],
    ids=["exits", "crashes", "hangs"],
)
def test_a_process_that_dies_keeps_its_rows(
    tmp_path: Path, script: str, minutes: float, verdict: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit.tempfile, "TemporaryDirectory", lambda: Kept(tmp_path))
    (tmp_path / "rows").write_text('["numbers", {"value": 1}]\n["numbers", {"val')
    dying = Part(title="dying", minutes=minutes, run=passing)
    command = [sys.executable, "-c", script]
    result = run_apart("dying", dying, Options(device="cpu"), deadline=1e9, command=command)
    assert result.verdict == verdict and reason in result.reason
    assert result.tables["numbers"] == [{"value": 1}]
    printed = [row["line"] for row in result.tables.get("What its process printed", [])]
    assert printed == (["no such kernel"] if "no such kernel" in script else [])


class Kept:
    """In place of a temporary directory, one that the test can fill."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return str(self.path)

    def __exit__(self, *error):
        pass


def test_options_that_cannot_work_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="minutes is 0, but must be above 0"):
        Options(minutes=0)
    with pytest.raises(ValueError, match="official is .*, but must be a checkout"):
        Options(official=tmp_path)
    assert kit.main(["--device", "tpu", "--out", str(tmp_path)]) == 2
    assert "device is 'tpu'" in capsys.readouterr().err


def test_the_command_line_has_all_options() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    kit.add_flags(parser)
    assert options_of(parser.parse_args([])) == Options()
    given = ["--device", "cpu", "--out", "here", "--minutes", "3"]
    assert options_of(parser.parse_args(given)) == Options(device="cpu", out=Path("here"), minutes=3)
