from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.supervisors.provenance import describe_dataset, provenance_of
from super_selfish.training.checkpoint import checkpoint_path, read_checkpoint

Backbones = Callable[..., nn.Module]


def test_a_checkpoint_tells_how_it_was_trained(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = RotateNetSupervisor(images, backbone=tiny_backbone())
    supervisor.supervise(lr=0.02, epochs=1, batch_size=8, name=tmp_path / "run", progress=False)
    told = read_checkpoint(checkpoint_path(tmp_path / "run"))["provenance"]
    assert told["settings"]["optimizer"] == "Adam" and told["settings"]["lr"] == 0.02
    assert told["settings"]["name"] == str(tmp_path / "run")
    assert told["num_images"] == 22 and told["steps_per_epoch"] == 3
    assert told["device"] == "cpu" and told["versions"]["torch"] == torch.__version__
    further = {"averaging": "an average", "weight_decay": (0.04, 0.4), "lr_scaling": "linear"}
    assert not further.keys() & told["settings"].keys()  # of which there were none
    for name, value in further.items():
        setattr(supervisor.run, name, value)
    again = provenance_of(supervisor)
    assert again is not None and further.items() <= again["settings"].items()


def test_without_a_run_there_is_nothing_to_tell(images: Tensor, tiny_backbone: Backbones) -> None:
    assert provenance_of(RotateNetSupervisor(images, backbone=tiny_backbone())) is None


def test_datasets_are_told_by_what_they_are() -> None:
    class Digits(list[int]):
        root = "data/digits"

    assert describe_dataset(Path("photos")) == "photos"
    assert describe_dataset(torch.zeros(4, 3, 8, 8)) == "Tensor of shape [4, 3, 8, 8]"
    assert describe_dataset(Digits()) == "Digits in data/digits"
    assert describe_dataset(TensorDataset(torch.zeros(5))) == "TensorDataset of 5 items"
