"""The algorithms, one a file, and the recipe that they share."""

from typing import Any

from super_selfish.supervisors.adversarial import AdversarialSupervisor
from super_selfish.supervisors.aet import AETSupervisor
from super_selfish.supervisors.barlow_twins import BarlowTwinsSupervisor
from super_selfish.supervisors.base import Supervisor
from super_selfish.supervisors.bigan import BiGanSupervisor
from super_selfish.supervisors.byol import BYOLSupervisor
from super_selfish.supervisors.colorization import ColorizationSupervisor
from super_selfish.supervisors.context_net import ContextNetSupervisor
from super_selfish.supervisors.context_prediction import ContextPredictionSupervisor
from super_selfish.supervisors.contrastive_multiview_coding import (
    ContrastiveMultiviewCodingSupervisor,
)
from super_selfish.supervisors.contrastive_predictive_coding import (
    ContrastivePredictiveCodingSupervisor,
)
from super_selfish.supervisors.deep_cluster import DeepClusterV2Supervisor
from super_selfish.supervisors.denoise_net import DenoiseNetSupervisor
from super_selfish.supervisors.diagnostics import HealthWarning
from super_selfish.supervisors.distillation import DistillationSupervisor
from super_selfish.supervisors.exemplar_net import ExemplarNetSupervisor
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.instance_discrimination import InstanceDiscriminationSupervisor
from super_selfish.supervisors.jigsaw_net import JigsawNetSupervisor
from super_selfish.supervisors.label import LabelSupervisor
from super_selfish.supervisors.lejepa import LeJEPASupervisor
from super_selfish.supervisors.mae import MAESupervisor
from super_selfish.supervisors.momentum_contrast import MomentumContrastSupervisor
from super_selfish.supervisors.motion_segmentation import MotionSegmentationSupervisor
from super_selfish.supervisors.multi_task import MultiTaskSupervisor
from super_selfish.supervisors.nnclr import NNCLRSupervisor
from super_selfish.supervisors.pirl import PIRLSupervisor
from super_selfish.supervisors.rotate_net import RotateNetSupervisor
from super_selfish.supervisors.self_distillation import DINOSupervisor
from super_selfish.supervisors.simclr import SimCLRSupervisor
from super_selfish.supervisors.simsiam import SimSiamSupervisor
from super_selfish.supervisors.split_brain_net import SplitBrainNetSupervisor
from super_selfish.supervisors.swav import SwAVSupervisor
from super_selfish.supervisors.two_views import TwoViewCollator
from super_selfish.supervisors.vicreg import VICRegSupervisor
from super_selfish.supervisors.visual_counting import VisualCountingSupervisor
from super_selfish.training.finite import NonFiniteLossError

SUPERVISORS: dict[str, type[Any]] = {
    "aet": AETSupervisor,
    "byol": BYOLSupervisor,
    "bigan": BiGanSupervisor,
    "cmc": ContrastiveMultiviewCodingSupervisor,
    "colorization": ColorizationSupervisor,
    "context": ContextNetSupervisor,
    "context_prediction": ContextPredictionSupervisor,
    "counting": VisualCountingSupervisor,
    "cpc": ContrastivePredictiveCodingSupervisor,
    "deep_cluster": DeepClusterV2Supervisor,
    "denoise": DenoiseNetSupervisor,
    "distillation": DistillationSupervisor,
    "exemplar": ExemplarNetSupervisor,
    "instance": InstanceDiscriminationSupervisor,
    "jigsaw": JigsawNetSupervisor,
    "mae": MAESupervisor,
    "moco": MomentumContrastSupervisor,
    "motion": MotionSegmentationSupervisor,
    "multi_task": MultiTaskSupervisor,
    "nnclr": NNCLRSupervisor,
    "pirl": PIRLSupervisor,
    "rotate": RotateNetSupervisor,
    "barlow_twins": BarlowTwinsSupervisor,
    "vicreg": VICRegSupervisor,
    "lejepa": LeJEPASupervisor,
    "simclr": SimCLRSupervisor,
    "simsiam": SimSiamSupervisor,
    "swav": SwAVSupervisor,
    "dino": DINOSupervisor,
    "split_brain": SplitBrainNetSupervisor,
}
"""Every algorithm by its short name."""

__all__ = [
    "SUPERVISORS",
    "AETSupervisor",
    "AdversarialSupervisor",
    "BYOLSupervisor",
    "BarlowTwinsSupervisor",
    "BiGanSupervisor",
    "ColorizationSupervisor",
    "ContextNetSupervisor",
    "ContextPredictionSupervisor",
    "ContrastiveMultiviewCodingSupervisor",
    "ContrastivePredictiveCodingSupervisor",
    "DINOSupervisor",
    "DeepClusterV2Supervisor",
    "DenoiseNetSupervisor",
    "DistillationSupervisor",
    "ExemplarNetSupervisor",
    "HealthWarning",
    "InstanceDiscriminationSupervisor",
    "JigsawNetSupervisor",
    "LabelSupervisor",
    "LeJEPASupervisor",
    "MAESupervisor",
    "MomentumContrastSupervisor",
    "MotionSegmentationSupervisor",
    "MultiTaskSupervisor",
    "NNCLRSupervisor",
    "NonFiniteLossError",
    "PIRLSupervisor",
    "RotateNetSupervisor",
    "SimCLRSupervisor",
    "SimSiamSupervisor",
    "SplitBrainNetSupervisor",
    "Supervisor",
    "SwAVSupervisor",
    "TwoViewCollator",
    "VICRegSupervisor",
    "VisualCountingSupervisor",
    "seen_batch",
]
