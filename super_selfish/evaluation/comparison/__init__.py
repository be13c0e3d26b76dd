"""Which algorithm is best for these images? All of them under the same conditions."""

from super_selfish.evaluation.comparison.compare import compare
from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.comparison.figure import plot_leaderboard

__all__ = ["Comparison", "compare", "plot_leaderboard"]
