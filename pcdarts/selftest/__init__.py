"""A test of a new machine: is the product right and fast there?  Needs neither Ray nor downloads.  Read `kit` first."""
