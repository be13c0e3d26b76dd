"""Public names and addresses stay."""

from __future__ import annotations

import importlib

import pytest

PUBLIC = {
    "super_selfish.supervisors": [
        "AETSupervisor",
        "BYOLSupervisor",
        "BarlowTwinsSupervisor",
        "SimCLRSupervisor",
        "SwAVSupervisor",
        "SimSiamSupervisor",
        "BiGanSupervisor",
        "ColorizationSupervisor",
        "ContextNetSupervisor",
        "ContextPredictionSupervisor",
        "ContrastiveMultiviewCodingSupervisor",
        "ContrastivePredictiveCodingSupervisor",
        "DeepClusterV2Supervisor",
        "DenoiseNetSupervisor",
        "ExemplarNetSupervisor",
        "InstanceDiscriminationSupervisor",
        "JigsawNetSupervisor",
        "LabelSupervisor",
        "LeJEPASupervisor",
        "MAESupervisor",
        "MomentumContrastSupervisor",
        "NNCLRSupervisor",
        "DistillationSupervisor",
        "PIRLSupervisor",
        "RotateNetSupervisor",
        "SplitBrainNetSupervisor",
        "Supervisor",
        "VICRegSupervisor",
        "VisualCountingSupervisor",
    ],
    "super_selfish.models": ["Classification", "CombinedNet", "EfficientFeatures"],
    "super_selfish.data": ["Collator", "ImageSource", "StreamSource", "photographs"],
    "super_selfish.augmentations": [
        "RECIPES",
        "Augmentation",
        "ColorJitter",
        "Compose",
        "FromFunction",
        "FromTorchvision",
        "RandomApply",
        "RandomHorizontalFlip",
        "RandomResizedCrop",
        "byol",
        "cpc_v2",
        "moco_v2",
        "recipe",
        "simclr",
    ],
    "super_selfish.memory": ["KeyQueue", "MemoryBank", "spherical_kmeans"],
    "super_selfish.evaluation": [
        "check",
        "evaluate",
        "extract_features",
        "knn_accuracy",
        "linear_probe",
    ],
    "super_selfish": [
        "CombinedNet",
        "RotateNetSupervisor",
        "Supervisor",
        "check",
        "choose",
        "pretrain",
    ],
}


@pytest.mark.parametrize("address", sorted(PUBLIC))
def test_no_public_name_disappears(address: str) -> None:
    module = importlib.import_module(address)
    for name in PUBLIC[address]:
        assert hasattr(module, name)
        assert name in module.__all__
