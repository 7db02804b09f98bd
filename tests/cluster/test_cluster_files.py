"""The cluster files are valid for the installed Ray."""

from pathlib import Path

import pytest
import yaml

FILES = sorted((Path(__file__).parents[2] / "cluster").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_ray_accepts_the_file(path):
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load(path.read_text())))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_dashboard_listens_on_loopback_alone(path):
    config = yaml.safe_load(path.read_text())
    (start,) = (command for command in config["head_start_ray_commands"] if "ray start" in command)
    assert "--dashboard-host=127.0.0.1" in start
