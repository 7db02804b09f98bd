"""What a study may conclude about its settings and cells: pure functions on its tables, without any drawing."""

from analysis.conclusions.study import Conclusions, conclude

__all__ = ["Conclusions", "conclude"]
