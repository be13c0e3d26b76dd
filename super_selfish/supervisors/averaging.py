"""The average of a backbone's weights: where it begins, ends, and how it is had."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from super_selfish.models.beginnings import network_with
from super_selfish.supervisors.footprint import untouched
from super_selfish.training import distributed
from super_selfish.training.averaging import Average, Rule, begun_average
from super_selfish.training.precision import autocast
from super_selfish.training.run import UNLIMITED, Run

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained

_log = logging.getLogger("super_selfish")


def check_averaging(supervisor: Pretrained, rule: Rule | None, epochs: int) -> None:
    """Refuses to average what has no backbone, or the last part of a run without a known end.

    Args:
        supervisor: About to train.
        rule: How to average, or None.
        epochs: Of the run.

    Raises:
        ValueError: If it is so.
    """
    if rule is None:
        return
    if not isinstance(getattr(supervisor.model, "backbone", None), nn.Module):
        raise ValueError(
            f"averaging= averages the backbone, and the model of this {type(supervisor).__name__} "
            "has none: give it a CombinedNet(backbone, predictor)"
        )
    if rule.estimates_statistics and epochs >= UNLIMITED:
        raise ValueError(
            'averaging="polyak" averages the last part of a run, and one that ends when its time '
            'is up has no end that is known: give epochs=, or averaging="ema"'
        )


def begin_averaging(supervisor: Pretrained, run: Run, *, is_resumed: bool) -> None:
    """Gives a run its average: that of its checkpoint, or one that begins here.

    Args:
        supervisor: With the weights that the run begins with, where they will stay.
        run: Its run.
        is_resumed: Whether it goes on from a checkpoint.
    """
    stored, rule = supervisor.averaged, run.averaging
    supervisor.averaged = run.average = None
    if is_resumed and stored is not None and stored.rule != rule:
        now = "no average" if rule is None else f"averaging={rule}, which begins here"
        _tell(f"the stored run has averaging={stored.rule}, this call has {now}")
    if rule is None:
        return
    backbone = supervisor._backbone_in_training()
    if is_resumed and stored is not None and stored.rule == rule:
        stored.follow(backbone)
        supervisor.averaged = run.average = stored
        return
    if is_resumed and stored is None and run.updates > rule.first_update(run.total_updates):
        _tell(f"the stored run has no average; averaging={rule} begins with its weights")
    supervisor.averaged = run.average = begun_average(rule, backbone)


def averaged_backbone(supervisor: Pretrained) -> nn.Module:
    """A copy of the backbone with its averaged weights.

    Args:
        supervisor: Was trained with `averaging=`, or has loaded what was.

    Raises:
        ValueError: If there are none.
    """
    average = supervisor.averaged
    kind = type(supervisor).__name__
    if average is None:
        raise ValueError(
            f'this {kind} has no averaged weights: supervise(averaging="ema") or '
            '"polyak" makes them, and checkpoints of such a run hold them'
        )
    if not average.is_begun:
        raise ValueError(
            f"the averaged weights of this {kind} have not begun: {average.rule} averages the last "
            "part of a run, which was not reached"
        )
    network = network_with(supervisor._backbone_in_training(), average.weights)
    if network is None:
        raise ValueError(
            "layers of the backbone were exchanged or added after its weights were averaged: take "
            f"them from a new {kind}().load(...)"
        )
    return network


def estimate_statistics(supervisor: Any, run: Run, batches: Iterable[Any]) -> None:
    """Gives the averaged weights batch norm's statistics of their own, by a pass over images.

    Statistics are the mean over batches, as in stochastic weight averaging, of the views that
    training shows. Nothing else of the supervisor changes.

    Args:
        supervisor: With an average that the run has come to the end of.
        run: Its run.
        batches: What `_forward` eats, as many in every process.
    """
    average: Average = supervisor.averaged
    norms = _norms_in(supervisor._backbone_in_training())
    if not norms:
        average.has_statistics = True
        return
    with untouched(supervisor), average.lent(), torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over batches
        for data in batches:
            with autocast(run.precision, run.device):
                supervisor(data)
        _agree([each for norm in norms for each in (norm.running_mean, norm.running_var)])
        average.take_statistics()


def take_those_of_first(average: Average) -> None:
    """Gives all processes the statistics of the first one, so that each evaluates the same network.

    Args:
        average: Its weights are the same everywhere, statistics of batch norm those of a process.
    """
    if distributed.is_distributed():
        for buffer in average.buffers:
            dist.broadcast(buffer, 0)


def _norms_in(network: nn.Module) -> list[Any]:
    """Norms that keep statistics of batches and move them in training."""
    found = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [norm for norm in found if norm.track_running_stats and norm.running_mean is not None]


def _agree(statistics: list[Any]) -> None:
    """Means over the processes, each of which has seen its part of the images."""
    if not distributed.is_distributed():
        return
    for each in statistics:
        dist.all_reduce(each)
        each /= distributed.world_size()


def _tell(text: str) -> None:
    if distributed.rank() == 0:
        _log.warning("%s", text)
