"""Did it help? Protocols, health, the comparison of algorithms, pictures and reports."""

from super_selfish.evaluation.checking import Check, check, quick_check
from super_selfish.evaluation.comparison.compare import compare
from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.comparison.figure import plot_leaderboard
from super_selfish.evaluation.embed import Embedding, embed
from super_selfish.evaluation.evaluate import Evaluation, evaluate
from super_selfish.evaluation.features import Features, extract_features
from super_selfish.evaluation.few_label import FewLabels
from super_selfish.evaluation.finetune import FinetuneResult, finetune
from super_selfish.evaluation.health.health import Health, health
from super_selfish.evaluation.health.monitor import Monitor
from super_selfish.evaluation.knn import default_neighbours, knn_accuracy, knn_predict, knn_scores
from super_selfish.evaluation.linear import LinearProbe, linear_probe
from super_selfish.evaluation.plots import (
    plot_confusion,
    plot_curves,
    plot_feature_map,
    plot_history,
    plot_neighbours,
    plot_reconstructions,
    plot_views,
    project_features,
)
from super_selfish.evaluation.protocols import PROTOCOLS
from super_selfish.evaluation.report import write_report
from super_selfish.evaluation.scoring import Score, Subject
from super_selfish.evaluation.showcase import Exhibit, plot_exhibits, show_algorithm
from super_selfish.supervisors.exhibits import seen_views

__all__ = [
    "PROTOCOLS",
    "Check",
    "Comparison",
    "Embedding",
    "Evaluation",
    "Exhibit",
    "Features",
    "FewLabels",
    "FinetuneResult",
    "Health",
    "LinearProbe",
    "Monitor",
    "Score",
    "Subject",
    "check",
    "compare",
    "default_neighbours",
    "embed",
    "evaluate",
    "extract_features",
    "finetune",
    "health",
    "knn_accuracy",
    "knn_predict",
    "knn_scores",
    "linear_probe",
    "plot_confusion",
    "plot_curves",
    "plot_exhibits",
    "plot_feature_map",
    "plot_history",
    "plot_leaderboard",
    "plot_neighbours",
    "plot_reconstructions",
    "plot_views",
    "project_features",
    "quick_check",
    "seen_views",
    "show_algorithm",
    "write_report",
]
