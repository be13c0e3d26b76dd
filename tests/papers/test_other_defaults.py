"""Defaults that no paper has, or that are a formula's neutral value: what a call without them does.

Users and recipes rely on them, so one that changes is changed here too, on purpose.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.papers.test_defaults import defaults, found

DEFAULTS: dict[str, dict[str, Any]] = {
    "memory.bank.MemoryBank": {"seed": 0},
    "memory.queue.KeyQueue": {"seed": 0},
    "models.bottlenecks.bottleneck_grid": {"largest": 8},
    "models.context.GridPredictor": {
        "embedding_size": 64,
        "num_offsets": 1,
        "context_size": 128,
        "context": "plain",
    },
    "models.context.ResidualContextNetwork": {"hidden": 256, "num_blocks": 5},
    "models.decoders.ImageDecoder": {"start": 0.0},
    "models.discriminators.ImageDiscriminator": {"channels": (64, 128, 256, 512)},
    "models.efficientnet.EfficientFeatures": {"in_channels": 3, "stem_stride": 2},
    "models.freezing.parameter_groups": {"backbone_lr_factor": 0.1, "layer_decay": 1.0},
    "models.narrow_resnet.NarrowResNet": {"in_channels": 3, "width": 32},
    "models.torchvision_features.TorchvisionFeatures": {"in_channels": 3, "image_size": (224, 224)},
    "augmentations.color_jitter.ColorJitter": {
        "brightness": 0.0,
        "contrast": 0.0,
        "saturation": 0.0,
        "hue": 0.0,
        "p": 1.0,
        "p_grayscale": 0.0,
    },
    "augmentations.crops.RandomCrop": {"padding": 0},
    "augmentations.crops.RandomHorizontalFlip": {"p": 0.5},
    "augmentations.elastic.elastic_deform_reference": {"order": 1},
    "augmentations.erasing.RandomErasing": {
        "scale": (0.02, 0.33),
        "ratio": (0.3, 3.3),
        "value": 0.0,
    },
    "augmentations.erasing.erase": {"value": 0.0},
    "augmentations.filters.RandomGaussianBlur": {"sigma": (0.1, 2.0)},
    "augmentations.geometry.RandomAffine": {
        "degrees": 0.0,
        "translate": 0.0,
        "scale": 0.0,
        "shear": 0.0,
        "shear_y": 0.0,
        "elastic_sigma": 0.0,
        "elastic_points": 3,
        "p_elastic": 1.0,
    },
    "augmentations.geometry.RandomShear": {"degrees_y": 0.0},
    "augmentations.noise.PixelDropout": {"fill": 0.0},
    "augmentations.noise.drop_pixels": {"fill": 0.0},
    "augmentations.patches.RandomTileCrop": {"fraction": 64 / 75},
    "augmentations.permutations.maximal_hamming_permutations": {"seed": 0},
    "augmentations.resampling.RandomResizedCrop": {"p_flip": 0.0},
    "augmentations.tone.RandomSolarize": {"low": 128 / 255, "high": 128 / 255},
    "augmentations.warping.warp": {"fill": 0.0},
    "training.schedules.Cosine": {"end_lr": 0.0},
    "evaluation.checking.check.Check.plot": {"pairs": 4},
    "evaluation.comparison.compare.compare": {"seeds": 3},
    "evaluation.embed.embed": {"batch_size": 256, "num_workers": 0},
    "evaluation.evaluate.evaluate": {"batch_size": 256, "num_workers": 0, "seed": 0},
    "evaluation.features.extract": {"batch_size": 256, "num_workers": 0},
    "evaluation.features.extract_features": {"batch_size": 256, "num_workers": 0},
    "evaluation.few_label.FewLabels": {"draws": 5},
    "evaluation.finetune.finetune": {
        "lrs": (0.001, 0.005, 0.025),
        "batch_size": 32,
        "max_updates": 400,
        "backbone_lr_factor": 0.3,
        "layer_decay": 1.0,
        "weight_decay": 0.01,
        "num_workers": 0,
        "seed": 0,
    },
    "evaluation.health.health.extract_with_views": {"num_workers": 0, "seed": 0},
    "evaluation.health.health.health": {
        "num_images": 2048,
        "batch_size": 256,
        "num_workers": 0,
        "seed": 0,
    },
    "evaluation.health.measures.directions_carrying": {"part": 0.99},
    "evaluation.health.measures.rankme": {"eps": 1e-07},
    "evaluation.health.monitor.Monitor": {"num_images": 512, "batch_size": 128, "seed": 0},
    "evaluation.knn.knn_accuracy": {"temperature": 0.07},
    "evaluation.knn.knn_predict": {"temperature": 0.07},
    "evaluation.knn.knn_scores": {"temperature": 0.07},
    "evaluation.linear.fit_linear_probe": {
        "regularizations": (1.0, 0.1, 0.01, 0.001, 0.0001, 1e-05),
        "validation": 0.2,
        "seed": 0,
    },
    "evaluation.linear.linear_probe": {
        "regularizations": (1.0, 0.1, 0.01, 0.001, 0.0001, 1e-05),
        "validation": 0.2,
        "seed": 0,
    },
    "evaluation.metrics.top_k_accuracy": {"k": 5},
    "evaluation.plots.feature_map.plot_feature_map": {"seed": 0},
    "evaluation.plots.neighbours.plot_neighbours": {"queries": 8, "neighbours": 7},
    "evaluation.plots.projection.principal_components": {"count": 2},
    "evaluation.plots.projection.project_features": {"seed": 0},
    "evaluation.plots.reconstructions.plot_reconstructions": {"seed": 0},
    "evaluation.protocols.rate_finetune": {
        "lrs": (0.001, 0.005, 0.025),
        "max_updates": 400,
        "backbone_lr_factor": 0.3,
        "layer_decay": 1.0,
    },
    "evaluation.report.page.write_report": {"most_images": 1000, "seed": 0},
    "evaluation.showcase.show_algorithm": {"seed": 0},
    "supervisors.adversarial.Player": {"lr_factor": 1.0},
    "supervisors.puzzles.TileCutter": {"fraction": 64 / 75, "channel_shift": 0.0},
}


@pytest.mark.parametrize("address", DEFAULTS)
def test_a_default_stays_what_it_was(address: str) -> None:
    given = defaults(found(address))
    for name, value in DEFAULTS[address].items():
        assert type(given[name]) is type(value), name
        assert given[name] == value, name
