"""What arguments become that nobody has given, and that it is said."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.supervisors import SUPERVISORS, MultiTaskSupervisor, Supervisor
from super_selfish.supervisors.defaults import warmed_momentum

NO_STEPS: dict[str, Any] = {"epochs": 0, "name": None, "progress": False}


@pytest.mark.parametrize(
    ("published", "updates", "momentum"),
    [
        (0.999, 0, 0.1),
        (0.999, 1, 2 / 11),
        (0.999, 90, 0.91),
        (0.999, 8_989, 8_990 / 8_999),
        (0.999, 8_990, 0.999),  # 8,991 / 9,000
        (0.999, 1_000_000, 0.999),
        (0.996, 2_239, 2_240 / 2_249),
        (0.996, 2_240, 0.996),
        (0.0, 5, 0.0),
    ],
)
def test_a_momentum_looks_back_over_a_tenth_of_what_was_seen(
    published: float, updates: int, momentum: float
) -> None:
    assert warmed_momentum(published, updates) == pytest.approx(momentum, abs=1e-12)


RATES = {"counting": 2e-4, "bigan": 3e-4}


@pytest.mark.parametrize("algorithm", ["counting", "bigan", "rotate"])
def test_the_rate_is_the_algorithm_s_own(
    algorithm: str, images: Tensor, tiny_backbone: Any
) -> None:
    supervisor = SUPERVISORS[algorithm](images, tiny_backbone())
    rate = RATES.get(algorithm, 1e-3)
    supervisor.supervise(**NO_STEPS)
    assert supervisor.run is not None and supervisor.run.learning_rate == rate
    assert f"chosen for this run: lr={rate}" in supervisor.run.remarks[0]
    supervisor.supervise(lr=0.5, **NO_STEPS)
    assert supervisor.run.learning_rate == 0.5
    assert not any("chosen" in remark for remark in supervisor.run.remarks)


def test_every_other_algorithm_has_adam_s_rate() -> None:
    own = {name: kind.default_lr for name, kind in SUPERVISORS.items() if kind.default_lr != 1e-3}
    assert own == RATES


def test_several_tasks_train_at_the_lowest_of_their_rates(
    images: Tensor, tiny_backbone: Any
) -> None:
    tasks = [("rotate", 1e-3), ("counting", 2e-4)]
    for number, rate in ((1, 1e-3), (2, 2e-4)):
        names = [name for name, _ in tasks[:number]]
        supervisor = MultiTaskSupervisor(images, tiny_backbone(), tasks=names)
        supervisor.supervise(**NO_STEPS)
        assert supervisor.run is not None and supervisor.run.learning_rate == rate


@pytest.mark.parametrize("algorithm", ["moco", "byol"])
def test_a_momentum_that_nobody_gives_warms_up_and_goes_on_as_it_was(
    algorithm: str, images: Tensor, tiny_backbone: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    def trained(name: str, *, stops: bool, **options: Any) -> list[float]:
        used: list[float] = []
        for epochs in (2, 4) if stops else (4,):
            torch.manual_seed(0)
            supervisor = SUPERVISORS[algorithm](images, tiny_backbone(), **options)
            monkeypatch.setattr(
                supervisor.momentum_encoder, "update", lambda _, momentum: used.append(momentum)
            )
            supervisor.supervise(
                epochs=epochs,
                batch_size=len(images) // 2,
                name=tmp_path / name,
                resume=True,
                progress=False,
            )
        assert supervisor.run is not None
        said = supervisor.run.remarks[0]
        assert ("momentum=(1 + t) / (10 + t) after t updates, at most 0.99" in said) == (
            not options
        )
        return used

    expected = [(1 + t) / (10 + t) for t in range(8)]
    assert trained("whole", stops=False) == pytest.approx(expected)
    assert trained("stopped", stops=True) == pytest.approx(expected)
    assert min(trained("given", stops=False, momentum=0.9)) >= 0.9


class Fitted(Supervisor):
    """Decides something by the length of its run."""

    def _forward(self, data: Any) -> Tensor:
        return self.model(data[0]).mean()

    def _fit_to_run(self, run: Any) -> dict[str, Any]:
        return {"parts": run.epochs * 3}


class Two(Fitted):
    """Has another one within."""

    def __init__(self, dataset: Any, model: nn.Module) -> None:
        super().__init__(model, dataset)
        self.inner = Fitted(model, dataset)


def test_what_parts_decide_is_told_by_their_names(images: Tensor, tiny_backbone: Any) -> None:
    both = Two(images, tiny_backbone())
    both.supervise(lr=0.1, **NO_STEPS)
    assert both.run is not None
    assert both.run.remarks == ["chosen for this run: parts=0, inner.parts=0"]
