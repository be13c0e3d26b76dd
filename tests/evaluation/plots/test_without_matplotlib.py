from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.evaluation import (
    plot_confusion,
    plot_curves,
    plot_exhibits,
    plot_feature_map,
    plot_history,
    plot_neighbours,
    plot_reconstructions,
    plot_views,
    seen_views,
    show_algorithm,
)
from super_selfish.evaluation.evaluation_figure import plot_scores
from super_selfish.evaluation.scoring import Score
from super_selfish.supervisors import DenoiseNetSupervisor

ROWS = [{"epoch": 1, "loss": 2.0}]
FIGURES: dict[str, Callable[[Any, Tensor], Any]] = {
    "confusion": lambda supervisor, images: plot_confusion(torch.eye(3)),
    "curves": lambda supervisor, images: plot_curves(ROWS, ["loss"]),
    "exhibits": lambda supervisor, images: plot_exhibits([show_algorithm(supervisor)]),
    "history": lambda supervisor, images: plot_history(ROWS),
    "map": lambda supervisor, images: plot_feature_map(torch.rand(22, 4), images),
    "coloured map": lambda supervisor, images: plot_feature_map(
        torch.rand(22, 4), labels=torch.arange(22) % 3
    ),
    "neighbours": lambda supervisor, images: plot_neighbours(torch.rand(22, 4), images),
    "reconstructions": lambda supervisor, images: plot_reconstructions(supervisor),
    "report": lambda supervisor, images: supervisor.report("never-written", most_images=4),
    "scores": lambda supervisor, images: plot_scores({"pretrained": {"knn": Score(0.5, {})}}),
    "views": lambda supervisor, images: plot_views(seen_views(supervisor)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_to_install(
    name: str,
    images: Tensor,
    tiny_backbone: Callable[..., nn.Module],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    supervisor = DenoiseNetSupervisor(images, backbone=tiny_backbone())
    for module in [module for module in sys.modules if module.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"plots need matplotlib: pip install super-selfish\[plo"):
        FIGURES[name](supervisor, images)
    assert not list(tmp_path.iterdir())
