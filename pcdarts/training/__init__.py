"""What search and retraining share: devices, checkpoints, schedules, evaluation, CUDA graphs."""
