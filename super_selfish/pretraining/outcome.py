"""What `pretrain` gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from super_selfish.evaluation.evaluation import Evaluation
from super_selfish.evaluation.health.health import Health
from super_selfish.pretraining.choices import Choices
from super_selfish.supervisors.base import Supervisor


@dataclass(frozen=True, eq=False)
class Outcome:
    """A backbone that was pretrained, and what is known of it; prints as an answer.

    Attributes:
        supervisor: The algorithm with its networks, as it stands at the end.
        choices: What was chosen, and why.
        evaluation: Beside an untrained network (and what training began from), with intervals;
            None where there are no labels.
        health: What features say without labels; None where labels have said more.
        paths: The files by name: "checkpoint", "backbone", "history", "report", "choices".
        remarks: What is to be known besides, a sentence each.
    """

    supervisor: Supervisor
    choices: Choices
    evaluation: Evaluation | None
    health: Health | None
    paths: dict[str, Path]
    remarks: tuple[str, ...] = ()

    @property
    def backbone(self) -> nn.Module:
        """The network to keep."""
        return self.supervisor.get_backbone()

    @property
    def helped(self) -> list[str] | None:
        """Whether it helped, in sentences; None where nobody knows without labels."""
        return None if self.evaluation is None else self.evaluation.verdict

    def as_dict(self) -> dict[str, Any]:
        """Everything but the networks as plain values."""
        return {
            "choices": vars(self.choices) | {"why": list(self.choices.why)},
            "evaluation": None if self.evaluation is None else self.evaluation.as_dict(),
            "health": None if self.health is None else self.health.as_dict(),
            "paths": {name: str(path) for name, path in self.paths.items()},
            "remarks": list(self.remarks),
        }

    def __str__(self) -> str:
        """What was chosen, whether it helped, and where the files are."""
        return f"{self.choices}\n\n{self.answer}"

    @property
    def answer(self) -> str:
        """The same without what was chosen, which was said before training."""
        parts = []
        if self.evaluation is not None:
            parts.append(f"Did it help?\n{self.evaluation}")
        if self.health is not None:
            parts.append(f"Without labels, what the features say: {self.health}")
        parts += ["\n".join(self.remarks)] if self.remarks else []
        width = max(len(name) for name in self.paths)
        parts.append("\n".join(f"{name:<{width}}  {path}" for name, path in self.paths.items()))
        return "\n\n".join(parts)
