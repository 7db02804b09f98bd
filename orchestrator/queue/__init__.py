"""The durable retraining queue: which cells are retrained, and what became of every job."""
