"""Weight decay over a run: at each update what its place says, after a resumption too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, AdamW

from super_selfish.evaluation.report.record import find_record
from super_selfish.supervisors import BiGanSupervisor, RotateNetSupervisor
from super_selfish.supervisors.provenance import provenance_of
from super_selfish.training.optimizers import LARS
from super_selfish.training.weight_decay import decay_at
from tests.conftest import TinyBackbone

DECAY = (0.04, 0.4)


def noting(kind: type[Any], noted: list[set[float]]) -> type[Any]:
    """An optimizer that notes which decays weights had in each of its steps."""

    class Noting(kind):
        def step(self, closure: Any = None) -> Any:
            groups = self.param_groups
            noted.append({g["weight_decay"] for g in groups for p in g["params"] if p.ndim > 1})
            assert not any(g["weight_decay"] for g in groups for p in g["params"] if p.ndim <= 1)
            return super().step(closure)

    return Noting


class Stopping(RotateNetSupervisor):
    stop_at = 10**6

    def _forward(self, data: Any) -> Any:
        if self.run is not None and self.run.global_step == self.stop_at:
            raise KeyboardInterrupt
        return super()._forward(data)


class Still(RotateNetSupervisor):
    """Whatever it sees, its gradients are 0."""

    def _forward(self, data: Any) -> Any:
        return 0.0 * super()._forward(data)


def rotate(images: Tensor) -> Stopping:
    torch.manual_seed(0)
    return Stopping(images, TinyBackbone())


def options(**more: Any) -> dict[str, Any]:
    settings = {"lr": 0.1, "epochs": 3, "batch_size": 4, "accumulate": 2, "progress": False}
    return {**settings, "weight_decay": DECAY, "name": None, **more}


@pytest.mark.parametrize("kind", [AdamW, LARS])
def test_a_run_that_was_stopped_in_an_epoch_is_the_one_that_never_was(
    kind: Any, images: Tensor, tmp_path: Path
) -> None:
    noted: list[set[float]] = []
    whole = rotate(images).supervise(**options(optimizer=noting(kind, noted)))
    # 6 batches of 22 images are 3 updates an epoch.
    assert noted == [{decay_at(DECAY, update, 9)} for update in range(9)]
    assert noted[0] == {0.04}
    stopped, before = rotate(images), list[set[float]]()
    stopped.stop_at = 8  # in the second epoch, after 4 updates
    settings = options(name=tmp_path / "base", checkpoint_every=8)
    with pytest.raises(KeyboardInterrupt):
        stopped.supervise(**{**settings, "optimizer": noting(kind, before)})
    assert before == noted[:4]
    resumed, after = rotate(images), list[set[float]]()
    resumed.supervise(**{**settings, "optimizer": noting(kind, after), "resume": True})
    assert after == noted[4:]
    expected = whole.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())


def test_it_is_stretched_to_a_later_end(images: Tensor, tmp_path: Path) -> None:
    noted: list[set[float]] = []
    settings = options(name=tmp_path / "base", optimizer=noting(AdamW, noted))
    rotate(images).supervise(**{**settings, "epochs": 1})
    rotate(images).supervise(**{**settings, "epochs": 2, "resume": True})
    assert noted[3:] == [{decay_at(DECAY, update, 6)} for update in range(3, 6)]


def test_weights_decay_by_it(images: Tensor) -> None:
    """With gradients of nothing, `w <- w (1 - lr wd_t)`."""
    supervisor = Still(images, TinyBackbone())
    before = [p.detach().clone() for p in supervisor.parameters()]
    supervisor.supervise(**options(optimizer=SGD))
    left = 1.0
    for update in range(9):
        left *= 1 - 0.1 * decay_at(DECAY, update, 9)
    for old, new in zip(before, supervisor.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old * (left if old.ndim > 1 else 1.0))


def test_one_number_is_that_of_the_weights(images: Tensor) -> None:
    noted: list[set[float]] = []
    rotate(images).supervise(**options(weight_decay=0.3, epochs=1, optimizer=noting(AdamW, noted)))
    assert noted == [{0.3}] * 3


def test_every_player_has_it(images: Tensor) -> None:
    supervisor = BiGanSupervisor(images, TinyBackbone())
    supervisor.supervise(**options(epochs=1, lr=1e-4, optimizer=torch.optim.Adam, batch_size=11))
    assert supervisor.run is not None
    for player in supervisor.run.optimizer.values():
        found = {
            (p.ndim > 1, group["weight_decay"], group["betas"][0])
            for group in player.param_groups
            for p in group["params"]
        }
        assert found == {(True, 0.04, 0.5), (False, 0.0, 0.5)}  # the only update is the first


REFUSED: list[tuple[Any, Any, str]] = [
    (DECAY, (0.04, 0.5), r"has weight_decay=\(0.04, 0.4\), this call has \(0.04, 0.5\)\. "),
    (DECAY, None, r"has weight_decay=\(0.04, 0.4\), this call has 0.01"),
    (0.1, 0.2, r"has weight_decay=0.1, this call has 0.2\. "),
]


@pytest.mark.parametrize(("stored", "given", "message"), REFUSED)
def test_another_decay_is_refused_where_a_run_goes_on(
    stored: Any, given: Any, message: str, images: Tensor, tmp_path: Path
) -> None:
    settings = options(name=tmp_path / "base", optimizer="adamw", epochs=1)
    rotate(images).supervise(**{**settings, "weight_decay": stored})
    with pytest.raises(ValueError, match=message):
        rotate(images).supervise(**{**settings, "weight_decay": given, "resume": True})


def test_it_is_told_of_a_run(images: Tensor, tmp_path: Path) -> None:
    supervisor = rotate(images)
    supervisor.supervise(**options(name=tmp_path / "base", optimizer="adamw", epochs=1))
    told = provenance_of(supervisor)
    assert told is not None and told["settings"]["weight_decay"] == DECAY
    record = find_record(rotate(images).load(tmp_path / "base"), tmp_path / "base")
    assert record is not None and record.settings["weight_decay"] == DECAY
    # What the optimizer had in its last step is none of its settings.
    options_told = record.settings["optimizer options"].split(", ")
    assert options_told and not any(told.startswith("weight_decay ") for told in options_told)


def test_without_it_groups_are_as_ever(images: Tensor) -> None:
    supervisor = rotate(images)
    supervisor.supervise(**options(weight_decay=None, epochs=1, optimizer="adamw"))
    assert supervisor.run is not None
    (group,) = supervisor.run.optimizer.param_groups
    assert group["weight_decay"] == 0.01
    told = provenance_of(supervisor)
    assert told is not None and "weight_decay" not in told["settings"]
