"""Mirrors of a study in MLflow, TensorBoard or Weights & Biases: a process of their own reads the tables."""
