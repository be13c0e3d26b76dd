"""Batched augmentation: draw per-sample parameters, then apply them on any device."""
