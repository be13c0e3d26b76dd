"""An algorithm as a user writes it, outside of the package: fifteen lines, and no hook but one."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.augmentations.recipes import simclr
from super_selfish.models import ProjectionHead
from super_selfish.supervisors import Supervisor, TwoViewCollator


class SimilaritySupervisor(Supervisor):
    """The other view of the same image, among all images of the batch (SimCLR's idea)."""

    title, question = "Similarity", "Which of these is another view of the same image?"

    def __init__(
        self, dataset: Any = None, backbone: Any = None, *, temperature: float = 0.5, **options: Any
    ) -> None:
        super().__init__(None, dataset, **options)
        self.temperature = temperature
        self.model = self._combine(backbone, None, lambda features: ProjectionHead(features.dim, 8))
        self.collate_fn = TwoViewCollator(simclr(self.image_size), simclr(self.image_size))

    def _forward(self, data: Any) -> Tensor:
        first = F.normalize(self.model(data.first).float(), dim=1)  # (B, E)
        second = F.normalize(self.model(data.second).float(), dim=1)  # (B, E)
        logits = first @ second.T / self.temperature  # (B, B)
        targets = torch.arange(len(logits), device=logits.device)
        self._log(accuracy=(logits.argmax(dim=1) == targets).float().mean())
        return F.cross_entropy(logits, targets)
