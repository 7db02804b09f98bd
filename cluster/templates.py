"""Cluster files from the templates in this folder: list their placeholders, fill them in, check the result.

A comment `# EDIT name: explanation` in a template belongs to the value on the next line.  A value that still has the
word EDIT in it must be given, others have a default.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
TEMPLATES = {
    "aws": "aws.yaml",
    "gcp": "gcp.yaml",
    "onprem": "onprem.yaml",
    "kuberay": "kuberay.yaml",
    "slurm": "slurm.sh",
    "skypilot": "skypilot.yaml",
}
PLACEHOLDER = "EDIT"
_MARK = re.compile(r"\s*# EDIT (?P<name>[a-z-]+): (?P<help>.+)")
# `key: value`, `- key: value`, `- key: &anchor value`; else `NAME=value`, as shells have it.
_YAML = re.compile(r"(?P<before>\s*(?:- )?[\w.]+: (?:&\w+ )?)(?P<value>\S.*)(?P<after>)")
_SHELL = re.compile(r"(?P<before>[^=]*=)(?P<value>[^\s'\"]+)(?P<after>.*)")
_TEXT = re.compile(r"[\w.:/@%+,=~ -]+")
_SKYPILOT_KEYS = {"name", "num_nodes", "resources", "workdir", "envs", "secrets", "file_mounts", "setup", "run"}


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A value that a template asks for."""

    name: str
    """Its name, as on the command line."""
    help: str
    """What it is."""
    default: str
    """What the template has there."""

    @property
    def required(self) -> bool:
        """Whether the template has no value that could work."""
        return PLACEHOLDER in self.default


def template(kind: str) -> str:
    """Text of a template."""
    return (FOLDER / TEMPLATES[kind]).read_text()


def edits(kind: str) -> list[Edit]:
    """What the template asks for, in its order."""
    lines = template(kind).splitlines()
    found = []
    for line, following in zip(lines, lines[1:], strict=False):
        if mark := _MARK.fullmatch(line):
            value = _value(following)["value"].strip("[]")
            found.append(Edit(name=mark["name"], help=mark["help"], default=value))
    return found


def next_steps(kind: str) -> list[str]:
    """The commands to give once the file is written, as the head of the template has them."""
    commands = re.findall(r"^#   (.+)$", template(kind), re.MULTILINE)
    return [command for command in commands if not command.startswith("pcdarts cluster init")]


def fill(kind: str, values: Mapping[str, str]) -> str:
    """The template with these values, and its defaults for others.

    Raises ValueError for a value that is missing, unknown, or has signs that could end or quote it.
    """
    asked = {edit.name: edit for edit in edits(kind)}
    if missing := [f"--{name}" for name, edit in asked.items() if edit.required and not values.get(name)]:
        raise ValueError(f"{kind} has no default for {', '.join(missing)}; give them, or answer the questions")
    for name, value in values.items():
        if name not in asked:
            raise ValueError(f"{kind} has no value {name!r}, but {', '.join(asked)}")
        if not _TEXT.fullmatch(value):
            raise ValueError(f"{name} is {value!r}, but must be letters, digits, spaces and . : / @ % + , = ~ _ -")
    lines = template(kind).splitlines()
    for index, line in enumerate(lines[:-1]):
        if (mark := _MARK.fullmatch(line)) and values.get(mark["name"]):
            lines[index + 1] = _with_value(lines[index + 1], values[mark["name"]])
    return "\n".join(lines) + "\n"


def _value(line: str) -> re.Match[str]:
    match = _YAML.fullmatch(line) or _SHELL.fullmatch(line)
    assert match, f"no value in {line!r}"
    return match


def _with_value(line: str, value: str) -> str:
    match = _value(line)
    if match.re is _SHELL and " " in value:
        raise ValueError(f"{value!r} must not have spaces: a shell reads it")
    if match["value"].startswith("["):
        value = f"[{', '.join(part.strip() for part in value.split(','))}]"
    return f"{match['before']}{value}{match['after']}"


def check(kind: str, text: str) -> None:
    """Raise ValueError if a cluster file cannot work, by Ray's own validation or by what its reader needs."""
    if kind == "slurm":
        _check_shell(text)
        return
    try:
        config = yaml.safe_load(text)
        _CHECKS.get(kind, _check_ray)(config)
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(f"the {kind} file is broken: {type(error).__name__}: {error}") from None


def _check_ray(config: dict[str, Any]) -> None:
    from cluster.ray_private import validate_cluster_file  # loads Ray

    validate_cluster_file(config)


def _check_kuberay(config: dict[str, Any]) -> None:
    cluster = config["spec"]["rayClusterSpec"]
    if (config["apiVersion"], config["kind"]) != ("ray.io/v1", "RayJob"):
        raise ValueError(f"the file is a {config['apiVersion']} {config['kind']}, but must be a ray.io/v1 RayJob")
    if cluster["authOptions"]["mode"] != "token":
        raise ValueError("authOptions.mode must be token: without it whoever reaches the cluster runs code there")
    for group in cluster["workerGroupSpecs"]:
        if not 0 <= group["minReplicas"] <= group["maxReplicas"]:
            raise ValueError(
                f"group {group['groupName']} wants {group['minReplicas']} to {group['maxReplicas']} workers"
            )


def _check_skypilot(config: dict[str, Any]) -> None:
    if unknown := set(config) - _SKYPILOT_KEYS:
        raise ValueError(f"a SkyPilot task has no {', '.join(sorted(unknown))}")
    if config["num_nodes"] < 1:
        raise ValueError(f"num_nodes is {config['num_nodes']}, but must be at least 1")
    for part in ("setup", "run"):
        _check_shell(config[part])


def _check_shell(text: str) -> None:
    if bash := shutil.which("bash"):
        done = subprocess.run([bash, "-n"], input=text, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"bash cannot read the file: {done.stderr.strip()}")


_CHECKS = {"kuberay": _check_kuberay, "skypilot": _check_skypilot}
