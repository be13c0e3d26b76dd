"""What a backbone has learned: features, protocols, an untrained twin to compare, plots."""

from super_selfish.evaluation.evaluate import Evaluation, evaluate
from super_selfish.evaluation.features import Features, extract_features
from super_selfish.evaluation.knn import default_neighbours, knn_accuracy, knn_predict
from super_selfish.evaluation.linear import LinearProbe, linear_probe
from super_selfish.evaluation.plots import plot_history, plot_neighbours, plot_views
from super_selfish.evaluation.protocols import PROTOCOLS
from super_selfish.evaluation.showcase import Exhibit, plot_exhibits, show_algorithm
from super_selfish.evaluation.subject import Score, Subject
from super_selfish.evaluation.views import seen_views

__all__ = [
    "PROTOCOLS",
    "Evaluation",
    "Exhibit",
    "Features",
    "LinearProbe",
    "Score",
    "Subject",
    "default_neighbours",
    "evaluate",
    "extract_features",
    "knn_accuracy",
    "knn_predict",
    "linear_probe",
    "plot_exhibits",
    "plot_history",
    "plot_neighbours",
    "plot_views",
    "seen_views",
    "show_algorithm",
]
