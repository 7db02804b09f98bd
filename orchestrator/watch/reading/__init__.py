"""What the folder of a study holds: read once, and again only where it has changed."""
