"""Figures, a file for each subject.

matplotlib is an extra (`pip install super-selfish[plots]`) and imported when a figure is made. Only
its object-oriented interface is used: no window, no global state, safe in a notebook and on a
server.
"""

from super_selfish.evaluation.plots.confusion import plot_confusion
from super_selfish.evaluation.plots.curves import plot_curves, plot_history
from super_selfish.evaluation.plots.feature_map import plot_feature_map
from super_selfish.evaluation.plots.neighbours import plot_neighbours
from super_selfish.evaluation.plots.projection import PROJECTIONS, project_features
from super_selfish.evaluation.plots.reconstructions import plot_reconstructions
from super_selfish.evaluation.plots.view_sheet import plot_views

__all__ = [
    "PROJECTIONS",
    "plot_confusion",
    "plot_curves",
    "plot_feature_map",
    "plot_history",
    "plot_neighbours",
    "plot_reconstructions",
    "plot_views",
    "project_features",
]
