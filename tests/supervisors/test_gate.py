"""What may be stored: finite numbers, and extra states that can be loaded."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.supervisors import Supervisor
from super_selfish.supervisors.gate import require_extra_state_taken, require_finite
from super_selfish.training.finite import NonFiniteLossError
from tests.conftest import TinyBackbone
from tests.training.test_run import bare


@pytest.fixture
def supervisor(images: Tensor) -> Any:
    return Supervisor(TinyBackbone(), images)


def spoil(tensor: Tensor, value: float = math.nan) -> None:
    with torch.no_grad():
        tensor.view(-1)[0] = value


def weight(supervisor: Any) -> Tensor:
    return next(iter(supervisor.parameters()))


def running(supervisor: Any, step: int = 0, *, advanced: bool = False, skips: bool = False) -> Any:
    run: Any = bare()
    run.step, run.has_advanced, run.guard.skips = step, advanced, skips
    supervisor.run = run
    return run


def test_weights_are_finite_before_the_first_step(supervisor: Any) -> None:
    require_finite(supervisor)
    running(supervisor)
    require_finite(supervisor)
    spoil(weight(supervisor))
    for run in (supervisor.run, None):
        supervisor.run = run
        with pytest.raises(NonFiniteLossError) as caught:
            require_finite(supervisor)
        assert str(caught.value) == (
            "the model.layers.0.weight before the first step is not finite. Such numbers are not "
            "stored: replace them first"
        )


@pytest.mark.parametrize(("skips", "advice"), [(True, "Lower lr, or use"), (False, "leave such")])
def test_weights_that_are_spoilt_while_training_name_the_step(
    supervisor: Any, skips: bool, advice: str
) -> None:
    running(supervisor, 3, advanced=True, skips=skips)
    spoil(weight(supervisor), math.inf)
    with pytest.raises(NonFiniteLossError, match=r"weight of step 2 \(in epoch 1\)") as caught:
        require_finite(supervisor)
    assert caught.value.step == 2 and advice in str(caught.value)


def test_a_buffer_keeps_the_infinities_that_it_had(supervisor: Any) -> None:
    supervisor.register_buffer("mask", torch.tensor([-math.inf, 0.0, 0.0]))
    require_finite(supervisor)  # nothing is known of it without a run
    run = running(supervisor)
    require_finite(supervisor)
    run.has_advanced, run.step = True, 1
    require_finite(supervisor)
    supervisor.mask[0] = 0.0
    require_finite(supervisor)
    supervisor.mask[1] = math.nan
    with pytest.raises(NonFiniteLossError, match="the mask of step 0"):
        require_finite(supervisor)


def test_averages_of_an_optimizer_are_looked_at(supervisor: Any) -> None:
    run = running(supervisor, 1, advanced=True)
    parameter = run.optimizer.param_groups[0]["params"][0]
    run.optimizer.state[parameter]["momentum_buffer"] = torch.tensor([math.nan])
    with pytest.raises(NonFiniteLossError, match=r"the optimizer\['state'\].*momentum_buffer"):
        require_finite(supervisor)


class Half(nn.Module):
    def get_extra_state(self) -> int:
        return 1


class Whole(Half):
    def set_extra_state(self, state: Any) -> None:
        pass


def test_an_extra_state_is_taken_back_or_refused(supervisor: Any) -> None:
    require_extra_state_taken(supervisor)
    supervisor.extra = Whole()
    require_extra_state_taken(supervisor)
    supervisor.extra = Half()
    with pytest.raises(TypeError, match=r"extra \(Half\) has get_extra_state\(\) and no set_extra"):
        require_extra_state_taken(supervisor)
