"""The published name of `pcdarts.diagnostics.early_stop.early_stop_epoch`."""

from pcdarts.diagnostics.early_stop import early_stop_epoch

__all__ = ["early_stop_epoch"]
