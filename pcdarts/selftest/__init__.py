"""A test of a new machine: correctness, speed and cost.  Needs neither Ray nor downloads.  Read `kit` first."""
