"""Is anything learned at all? Measures of features that need no labels, and a watch on them."""

from super_selfish.evaluation.health.health import Health, health
from super_selfish.evaluation.health.monitor import Monitor

__all__ = ["Health", "Monitor", "health"]
