"""What is measured of a search while it runs: agreement, eigenvalue, collapse, memory."""
