"""Losses as pure functions of tensors, computed in float32; modules where a value is named once."""

from super_selfish.losses.clusters import (
    ClusterPredictionLoss,
    SwappedPredictionLoss,
    cluster_prediction,
    prototype_scores,
    sinkhorn_codes,
    swapped_prediction,
)
from super_selfish.losses.contrastive import InfoNCELoss, NTXentLoss, info_nce, nt_xent
from super_selfish.losses.distillation import (
    FeatureMatchLoss,
    PseudoClassLoss,
    feature_match,
    pseudo_classes,
)
from super_selfish.losses.gaussian import LeJEPALoss, lejepa, sigreg
from super_selfish.losses.masks import masked_binary_cross_entropy
from super_selfish.losses.nce import NCELoss, noise_contrastive
from super_selfish.losses.predictive import (
    CandidateInfoNCELoss,
    NeighborLoss,
    candidate_info_nce,
)
from super_selfish.losses.redundancy import BarlowTwinsLoss, VICRegLoss, barlow_twins, vicreg
from super_selfish.losses.regression import (
    cosine_regression,
    masked_mean_squared_error,
    mean_squared_error,
    negative_cosine,
)

__all__ = [
    "BarlowTwinsLoss",
    "CandidateInfoNCELoss",
    "ClusterPredictionLoss",
    "FeatureMatchLoss",
    "InfoNCELoss",
    "LeJEPALoss",
    "NCELoss",
    "NTXentLoss",
    "NeighborLoss",
    "PseudoClassLoss",
    "SwappedPredictionLoss",
    "VICRegLoss",
    "barlow_twins",
    "candidate_info_nce",
    "cluster_prediction",
    "cosine_regression",
    "feature_match",
    "info_nce",
    "lejepa",
    "masked_binary_cross_entropy",
    "masked_mean_squared_error",
    "mean_squared_error",
    "negative_cosine",
    "noise_contrastive",
    "nt_xent",
    "prototype_scores",
    "pseudo_classes",
    "sigreg",
    "sinkhorn_codes",
    "swapped_prediction",
    "vicreg",
]
