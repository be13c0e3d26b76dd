"""Training with labels: what a pretrained backbone is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from super_selfish.data.collate import LabelCollator, Labelled
from super_selfish.data.sources import labels_of
from super_selfish.supervisors.base import Size, Supervisor


class LabelSupervisor(Supervisor):
    """Trains a head on the dataset's labels, on a frozen backbone or with it.

    Frozen means frozen: neither the weights of the backbone nor the statistics of its batch norms
    move, and it computes as in evaluation.
    """

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        num_classes: int | None = None,
        finetune: bool = False,
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images with labels, as anything that `ImageSource` takes.
            backbone: A pretrained network, such as `supervisor.get_backbone()`.
            predictor: Head on the features. Default: one linear layer.
            loss: Function of logits and labels; default: cross-entropy.
            num_classes: Outputs of the default head. Default: the dataset's largest label and one.
            finetune: Whether the backbone trains as well.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.

        Raises:
            ValueError: If neither labels nor `num_classes` nor a head say how many classes there
                are.
        """
        super().__init__(
            None,
            dataset,
            nn.CrossEntropyLoss() if loss is None else loss,
            LabelCollator(),
            image_size=image_size,
            in_channels=in_channels,
        )
        if num_classes is None and predictor is None:
            labels = None if self.source is None else labels_of(self.source)
            if labels is None:
                raise ValueError("give num_classes=, a predictor=, or a dataset that has labels")
            num_classes = int(labels.max()) + 1
        self._resolve(num_classes=num_classes)
        self.finetune = finetune
        self.model = self._combine(
            backbone,
            predictor,
            lambda features: nn.Linear(features.dim, num_classes or 1),
            normalize,
        )
        self.get_backbone().requires_grad_(finetune)

    def train(self, mode: bool = True) -> LabelSupervisor:
        """Sets training mode, in which a frozen backbone stays in evaluation."""
        super().train(mode)
        if self.model is not None and not self.finetune:
            self.get_backbone().eval()
        return self

    def _forward(self, data: Labelled) -> Tensor:
        logits = self.model(data.images)  # (B, classes)
        self._log(accuracy=(logits.argmax(dim=1) == data.targets).float().mean())
        return self.loss(logits.float(), data.targets)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Logits of images, computed as in evaluation.

        Args:
            images: `[B, C, H, W]`, float in [0, 1].

        Returns:
            `[B, classes]`.
        """
        training = self.training
        self.eval()
        logits: Tensor = self.model(images.to(self.device))
        self.train(training)
        return logits
