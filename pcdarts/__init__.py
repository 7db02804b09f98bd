"""One search, one network: PC-DARTS in plain PyTorch.

Read `pcdarts.search` first. `pcdarts.genotype`, `pcdarts.config` and `pcdarts.results` need the standard library
alone, so that tables and reports can be made without PyTorch.
"""
