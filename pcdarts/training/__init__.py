"""Shared by search and retraining: devices, checkpoints, schedules, evaluation, CUDA graphs."""
