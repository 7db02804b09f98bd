"""The published name of `pcdarts.early_stop.early_stop_epoch`."""

from pcdarts.early_stop import early_stop_epoch

__all__ = ["early_stop_epoch"]
