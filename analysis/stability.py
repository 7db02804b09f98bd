"""Rules that tell from its records whether a search collapsed."""

from pcdarts.early_stop import early_stop_epoch

__all__ = ["early_stop_epoch"]
