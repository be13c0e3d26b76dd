"""Arguments that have got another name are understood by the former one, in calls and in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.supervisors import SUPERVISORS, DenoiseNetSupervisor, JigsawNetSupervisor
from super_selfish.supervisors.persistence import record_of, write_record

RENAMED = [
    (name, old, new) for name, k in SUPERVISORS.items() for old, new in k.former_names.items()
]
VALUES: dict[str, Any] = {"probability": 0.3, "num_blocks": 3}


@pytest.mark.parametrize(("algorithm", "old", "new"), RENAMED)
def test_a_former_name_is_taken_with_a_warning(algorithm: str, old: str, new: str) -> None:
    value = VALUES.get(new, 5)
    with pytest.warns(FutureWarning, match=f"^{old}= of .* is called {new}= now"):
        former = SUPERVISORS[algorithm](image_size=32, **{old: value})
    assert former.arguments[new] == value
    assert old not in former.arguments


def test_both_names_at_once_are_refused() -> None:
    with pytest.raises(TypeError, match="probability= and p=, its former name"):
        DenoiseNetSupervisor(p=0.2, probability=0.3)  # type: ignore[call-arg]


def test_a_file_with_former_names_is_loaded(
    images: Tensor, tiny_backbone: Callable[..., nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    supervisor = JigsawNetSupervisor(images, tiny_backbone(), num_permutations=5)
    record = record_of(supervisor)
    former = {new: old for old, new in JigsawNetSupervisor.former_names.items()}
    record["arguments"] = {former.get(k, k): v for k, v in record["arguments"].items()}
    assert "total_perms" in record["arguments"]
    write_record(supervisor, tmp_path / "run", record, 1)
    loaded = JigsawNetSupervisor(backbone=tiny_backbone()).load(tmp_path / "run")
    assert loaded.arguments["num_permutations"] == 5
    assert len(loaded.permutations) == 5
