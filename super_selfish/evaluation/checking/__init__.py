"""Look before training: copies, test images among the others, empty and broken images."""

from super_selfish.evaluation.checking.check import Check, check
from super_selfish.evaluation.checking.quick import quick_check

__all__ = ["Check", "check", "quick_check"]
