"""What makes two configurations the same: the basis of search ids, job ids and checkpoints.

A configuration is identified by the fields that differ from their defaults, so a new field whose default changes
nothing leaves every existing id as it is.  In return, a released default never changes: add a field or a preset.
"""

import dataclasses
import hashlib
import json
from typing import Any

from pcdarts.config.choices import FROM_IMAGES, OWN_IMAGES

NOT_IDENTITY = frozenset({"data_dir", "checkpoint_every", "keep_freed_memory", "cuda_graphs"})
"""Fields that never change a result: where data sets are stored, how often a run is saved, what happens to memory, how
kernels are launched.  Their defaults may change."""
IMAGE_SHAPE = frozenset(FROM_IMAGES) - {"data_fingerprint"}
"""Fields that follow from data_fingerprint and image_size."""
NOT_PROTOCOL = NOT_IDENTITY | {"seed", "threads", "device"} | IMAGE_SHAPE
"""Fields in which searches or jobs of one protocol may differ: they do not change what is measured, or only as others
do."""


def outcome_fields(config: Any) -> dict[str, Any]:
    """The fields of a configuration that decide its outcome, with their values.

    The name of a built-in data set stands for its images; own images are identified by their fingerprint.
    """
    fields = dataclasses.asdict(config)
    known = {"data_fingerprint"} if fields.get("dataset") not in OWN_IMAGES else set()
    return {name: value for name, value in fields.items() if name not in NOT_IDENTITY | known}


def identity(config: Any) -> dict[str, Any]:
    """The fields that decide the outcome and differ from their defaults; `type(config)(**identity)` restores them."""
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    return {name: value for name, value in outcome_fields(config).items() if value != defaults[name]}


def digest(*parts: Any) -> str:
    """8 hex digits of configurations and JSON values: equal parts have equal digests on every machine."""
    plain = [identity(part) if dataclasses.is_dataclass(part) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]
