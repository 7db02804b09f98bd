"""Values that a field may take.  Needs the standard library alone."""

from typing import Literal

Dataset = Literal["digits", "fashion-mnist", "cifar10", "cifar100", "imagenet", "synthetic"]

Rule = Literal["off", "warn", "stop"]
"""What a collapse rule does when its condition holds; see `pcdarts.diagnostics.collapse`."""
