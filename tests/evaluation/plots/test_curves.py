from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

pytest.importorskip("matplotlib")

from super_selfish.evaluation.plots import plot_curves, plot_history
from super_selfish.supervisors import RotateNetSupervisor

Backbones = Callable[..., nn.Module]

ROWS = [{"epoch": epoch, "loss": 1 / epoch, "lr": 0.1} for epoch in range(1, 6)]
MONITORED = [
    {"epoch": 1, "loss": 1.0, "rankme": 3.0},
    {"epoch": 2, "loss": 0.9},
    {"epoch": 3, "loss": 0.8, "rankme": math.nan},
    {"epoch": 4, "loss": 0.7, "rankme": 5.0},
]


def test_losses_share_a_panel_and_others_get_their_own(tmp_path: Path) -> None:
    rows = [{**row, "loss_parts": 0.5} for row in ROWS]
    figure = plot_history(rows, tmp_path / "history.png", panels=["lr"])
    assert [len(axes.lines) for axes in figure.axes] == [2, 1]
    assert np.asarray(figure.axes[0].lines[0].get_ydata()).tolist() == [row["loss"] for row in ROWS]
    assert (tmp_path / "history.png").exists()


def test_an_epoch_without_a_loss_is_a_gap() -> None:
    figure = plot_history([{"epoch": 1, "loss": 1.0}, {"epoch": 2}, {"epoch": 3, "loss": 0.5}])
    assert np.isnan(np.asarray(figure.axes[0].lines[0].get_ydata())).tolist() == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("panel", [True, False])
def test_what_a_monitor_measured_now_and_then_is_joined_over_the_gaps(panel: bool) -> None:
    if panel:
        line = plot_history(MONITORED, panels=["rankme"]).axes[1].lines[0]
    else:
        line = plot_curves(MONITORED, ["rankme"]).axes[0].lines[0]
    assert np.asarray(line.get_xdata()).tolist() == [1, 4]
    assert np.asarray(line.get_ydata()).tolist() == [3, 5]
    assert line.get_marker() == "o"


def test_columns_share_a_panel_with_a_legend() -> None:
    figure = plot_curves(ROWS, ["loss", "lr"])
    assert len(figure.axes) == 1 and len(figure.axes[0].lines) == 2
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["loss", "lr"]


def test_one_epoch_is_a_point(tmp_path: Path) -> None:
    figure = plot_history(ROWS[:1], tmp_path / "history.png")
    assert figure.axes[0].lines[0].get_marker() == "o"


def test_folders_are_made(tmp_path: Path) -> None:
    plot_history(ROWS, tmp_path / "some" / "folder" / "history.png")
    assert (tmp_path / "some" / "folder" / "history.png").exists()


def test_nothing_global_is_touched() -> None:
    plot_history(ROWS)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_without_matplotlib_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install super-selfish\[plots\]"):
        plot_history(ROWS)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rows must have \['loss'\]"):
        plot_history([{"epoch": 1}])
    with pytest.raises(ValueError, match=r"rows must have \['rankme'\]"):
        plot_curves(ROWS, ["rankme"])
    with pytest.raises(ValueError, match="at least one column"):
        plot_curves(ROWS, [])


def test_a_small_fall_of_the_loss_looks_small() -> None:
    rows = [{"epoch": 1, "loss": 6.05}, {"epoch": 2, "loss": 5.92}]
    low, high = plot_history(rows).axes[0].get_ylim()
    assert high - low > 0.25 * 6.05
    assert low <= 5.92 and high >= 6.05
    assert plot_history(rows, panels=["loss"]).axes[1].get_ylim() != (low, high)


def test_a_large_fall_fills_the_panel_and_ends_at_zero() -> None:
    low, high = (
        plot_history([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 0.01}]).axes[0].get_ylim()
    )
    assert low == 0 and 2.0 < high < 2.2


def test_chance_is_marked_and_in_sight() -> None:
    axes = plot_history(ROWS, chance=math.log(8)).axes[0]
    assert np.asarray(axes.lines[-1].get_ydata()).tolist() == [math.log(8)] * 2
    legend = axes.get_legend()
    assert legend is not None and legend.get_texts()[-1].get_text() == "chance"
    assert axes.get_ylim()[1] > math.log(8)


def test_a_supervisor_tells_its_chance(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = RotateNetSupervisor(images, backbone=tiny_backbone())
    supervisor.supervise(epochs=2, batch_size=11, name=None, progress=False)
    assert (
        np.asarray(plot_history(supervisor).axes[0].lines[-1].get_ydata()).tolist()
        == [math.log(4)] * 2
    )


def test_a_panel_says_what_it_shows_and_the_last_one_tells_the_epochs() -> None:
    rows = [{**row, "top_variance": 0.5} for row in ROWS]
    top, bottom = plot_history(rows, panels=["top_variance"]).axes
    assert (top.get_ylabel(), bottom.get_ylabel()) == ("loss", "top variance")
    assert (top.get_xlabel(), bottom.get_xlabel()) == ("", "epoch")
    for axes in (top, bottom):
        axes.figure.canvas.draw()
        shown = [label.get_visible() for label in axes.get_xticklabels()]
        assert shown == [axes is bottom] * len(shown)
        assert axes.get_legend() is None
        visible = {side for side, spine in axes.spines.items() if spine.get_visible()}
        assert visible == {"left", "bottom"}


def test_epochs_are_whole_numbers_and_one_stands_in_the_middle() -> None:
    axes = plot_history(ROWS[:2]).axes[0]
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks == [1, 2]
    assert plot_history(ROWS[:1]).axes[0].get_xlim() == (0, 2)


def test_chance_that_nobody_knows_or_is_not_finite_is_not_drawn() -> None:
    for chance in (None, math.inf, math.nan):
        axes = plot_history(ROWS, chance=chance).axes[0]
        assert len(axes.lines) == 1 and axes.get_legend() is None
    rows = [{"epoch": 1, "loss": math.nan}, {"epoch": 2, "loss": math.nan}]
    assert plot_history(rows).axes[0].get_ylim()  # nothing to widen


def test_a_loss_below_zero_has_room_below_it() -> None:
    low, _ = (
        plot_history([{"epoch": 1, "loss": -1.0}, {"epoch": 2, "loss": 1.0}]).axes[0].get_ylim()
    )
    assert low < -1


def test_few_values_are_points_and_many_a_line() -> None:
    for count, marker in ((30, "o"), (31, "None")):
        rows = [{"epoch": n, "loss": 1.0} for n in range(count)]
        assert plot_history(rows).axes[0].lines[0].get_marker() == marker


def test_more_columns_than_colours_are_all_drawn() -> None:
    rows = [{"epoch": n, **{f"loss_{k}": 1.0 * k for k in range(14)}} for n in (1, 2)]
    assert len(plot_curves(rows, [f"loss_{k}" for k in range(14)]).axes[0].lines) == 14
