from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn

from super_selfish.training import distributed
from super_selfish.training.alone import alone, is_alone
from super_selfish.training.gradients import parallel


def test_who_works_alone_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: pytest.fail("it joined"))
    with alone():
        distributed.join_processes(torch.device("cpu"))
        assert distributed.is_one_of_several()  # devices are still shared out


def test_one_of_several_is_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda *_: 3)
    monkeypatch.setattr(dist, "get_rank", lambda *_: 2)
    assert (distributed.rank(), distributed.world_size()) == (2, 3)
    layer, part = nn.Linear(2, 2), torch.ones(2, 2)
    with pytest.raises(ZeroDivisionError), alone():
        with alone():
            assert is_alone()
        assert (distributed.rank(), distributed.world_size()) == (0, 1)
        assert distributed.gather(part) is part
        with parallel(layer) as step:
            assert step is layer
        raise ZeroDivisionError
    assert (distributed.rank(), distributed.world_size()) == (2, 3)
