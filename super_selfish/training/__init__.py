"""Checkpoints, history, randomness, precision, schedules: what every run needs."""
