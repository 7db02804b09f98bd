"""Data sets: reading, splitting and augmenting images, and the batches that training takes."""
