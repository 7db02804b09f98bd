"""Retraining configurations: checks."""

import pytest

from pcdarts.config import RetrainConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 35}, "even"),
        ({"drop_path": 1.0}, "less than 1"),
        ({"learning_rate_warmup_epochs": 600}, "less than epochs"),
        ({"schedule": "step"}, "one of cosine, linear"),
        ({"validation_portion": 1.0}, "at least 0 and less than 1"),
    ],
)
def test_bad_retraining_settings_name_value_and_rule(values, message):
    with pytest.raises(ValueError, match=message):
        RetrainConfig(**values)
