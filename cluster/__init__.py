"""The Ray cluster: connecting to it, and checking that it can hold the work."""
