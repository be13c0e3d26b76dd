from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from super_selfish.models.standardize import Standardize
from super_selfish.supervisors import BYOLSupervisor, MomentumContrastSupervisor, Supervisor
from super_selfish.training import synchronised as module
from super_selfish.training.synchronised import require_synchronisable, synchronised
from tests.processes import free_port, run_together

GPU = [torch.device("cuda:0")]
Backbones = Callable[..., nn.Module]


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this were one of several processes."""
    monkeypatch.setattr(module, "is_distributed", lambda: True)


def byol(images: Tensor, backbone: nn.Module) -> BYOLSupervisor:
    return BYOLSupervisor(images, backbone, embedding_size=8, hidden_size=8)


def norms(network: nn.Module) -> list[Any]:
    return [part for part in network.modules() if isinstance(part, _BatchNorm)]


@pytest.mark.usefixtures("several")
def test_every_norm_is_torchs_own_for_a_while_and_nothing_else_changes(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = byol(images, tiny_backbone()).eval()
    before, state = norms(supervisor), supervisor.state_dict()
    tensors = [id(t) for t in (*supervisor.parameters(), *supervisor.buffers())]
    shown = torch.rand(4, 3, 32, 32)
    features = supervisor.model(shown)
    assert len(norms(supervisor.momentum_encoder)) == 3
    with synchronised(supervisor, True):
        during = norms(supervisor)
        assert [type(norm) for norm in during] == [nn.SyncBatchNorm] * len(before)
        assert list(supervisor.state_dict()) == list(state)
        assert [id(t) for t in (*supervisor.parameters(), *supervisor.buffers())] == tensors
        assert torch.equal(supervisor.model(shown), features)
        supervisor.train()
        with torch.no_grad():
            during[0].running_mean.add_(1.0)
    assert all(now is norm for now, norm in zip(norms(supervisor), before, strict=True))
    assert all(norm.training for norm in before)
    assert torch.equal(before[0].running_mean, during[0].running_mean)


@pytest.mark.usefixtures("several")
def test_a_norm_that_stands_at_two_places_stays_one_with_its_hooks() -> None:
    norm = nn.BatchNorm1d(3)
    calls: list[int] = []
    norm.register_forward_hook(lambda *_: calls.append(1))
    network = nn.Sequential(norm, nn.ReLU(), norm).eval()
    with pytest.raises(ZeroDivisionError), synchronised(network, True):
        assert type(network[0]) is nn.SyncBatchNorm
        assert network[0] is network[2]
        network(torch.rand(2, 3))
        raise ZeroDivisionError
    assert network[0] is norm and network[2] is norm
    assert len(calls) == 2


def test_with_one_process_norms_stay_as_they_are() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3))
    with synchronised(network, True):
        assert type(network[0]) is nn.BatchNorm1d


def test_what_torch_cannot_synchronise_is_refused_in_words() -> None:
    plain = nn.Sequential(nn.BatchNorm1d(3), nn.SyncBatchNorm(3), nn.InstanceNorm1d(3))
    require_synchronisable(plain, GPU)
    with pytest.raises(ValueError, match="between GPUs alone, and the networks are on the CPU: "):
        require_synchronisable(plain, [torch.device("cpu")])
    with pytest.raises(ValueError, match="this one has 2: start them by torchrun --nproc-per-node"):
        require_synchronisable(plain, GPU * 2)
    with pytest.raises(ValueError, match="0 is a Standardize, a batch norm with a forward of its"):
        require_synchronisable(nn.Sequential(Standardize(3)), GPU)


def test_supervise_refuses_it_on_a_cpu_before_anything_is_written(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = byol(images, tiny_backbone()).cpu()
    with pytest.raises(ValueError, match=r"^sync_batch_norm=True: torch synchronises"):
        supervisor.supervise(name=tmp_path / "run", sync_batch_norm=True)
    assert not list(tmp_path.iterdir())


def test_moco_wants_norms_apart(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = MomentumContrastSupervisor(images, tiny_backbone(), embedding_size=8).cpu()
    both = Supervisor(None, images).cpu()
    both.part = supervisor
    for each in (supervisor, both):
        with pytest.raises(ValueError, match=r"sync_batch_norm=True: MoCo v2 hides .*: leave it"):
            each.supervise(name=None, sync_batch_norm=True)


def _statistics(rank: int, port: int, folder: Path) -> None:
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to("cuda:0")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.5)
    part = torch.arange(12.0, device="cuda:0").view(4, 3)[rank::2]
    with synchronised(network, True):
        out = network(part)
    found: dict[str, Any] = {"out": out.detach().cpu(), **network.cpu().state_dict()}
    torch.save(found, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_two_processes_normalise_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    run_together(_statistics, 2, free_port(), tmp_path)
    whole = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.fill_(0.5)
    out = whole(torch.arange(12.0).view(4, 3))
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found.pop("out"), out[rank::2])
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(found[name], value)
