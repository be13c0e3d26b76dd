"""What a constructor refuses at once: numbers that count nothing, and heads of another width.

A head of the wrong width would fail in the first step, in torch's words, or worse be broadcast.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import nn

from super_selfish.models import CombinedNet, feature_shape
from super_selfish.models.classifiers import classifier_warning
from super_selfish.models.wrappers import unwrapped
from super_selfish.training.telling import warn

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor


def require_counts(least: int = 1, /, **counts: int | None) -> None:
    """Refuses what is no number of things; None, which stands for a default, passes.

    Args:
        least: The smallest that is taken.
        counts: Arguments by name.

    Raises:
        ValueError: If one is not whole, or below the smallest.
    """
    for name, count in counts.items():
        if count is None:
            continue
        try:
            whole = operator.index(count)
        except TypeError:
            raise ValueError(f"{name} must be a whole number, got {count!r}") from None
        if whole < least:
            raise ValueError(f"{name} must be at least {least}, got {count}")


def require_functions(**functions: object) -> None:
    """Refuses what cannot be called; None, which stands for a default, passes.

    Args:
        functions: Arguments by name.

    Raises:
        TypeError: If one is neither a function nor a module.
    """
    for name, function in functions.items():
        if not (function is None or callable(function)):
            raise TypeError(f"{name} must be a function or a module, got {function!r}")


def warn_of_classifiers(*networks: object) -> None:
    """Says of networks that are to be backbones if their classifier is still on.

    Args:
        networks: Backbones, or `CombinedNet`s of one; anything else passes.
    """
    for network in networks:
        backbone = network.backbone if isinstance(network, CombinedNet) else network
        if isinstance(backbone, nn.Module):
            sentence = classifier_warning(unwrapped(backbone))
            if sentence is not None:
                warn(sentence)


def warn_of_frozen(supervisor: Supervisor) -> None:
    """Says of a backbone that pretraining is to train if nothing of it can be."""
    backbone = getattr(supervisor._bare_model, "backbone", None)
    parameters = list(backbone.parameters()) if isinstance(backbone, nn.Module) else []
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        warn(
            f"every parameter of the backbone is frozen (requires_grad is False), so "
            f"{type(supervisor).__name__} trains its head alone: if that is not meant, call "
            "supervisor.get_backbone().requires_grad_(True), or super_selfish.models.unfreeze() "
            "where freeze() or freeze_until() froze it",
        )


def as_numbers(name: str, values: Iterable[Any], length: int | None = None) -> tuple[Any, ...]:
    """The numbers of a sequence.

    Args:
        name: Of the argument.
        values: What the user gave.
        length: How many they must be; None for any number.

    Returns:
        A tuple.

    Raises:
        ValueError: If it is no sequence of that many numbers.
    """
    is_sequence = isinstance(values, Iterable) and not isinstance(values, str)
    numbers = tuple(values) if is_sequence else ()
    if not is_sequence or (length is not None and len(numbers) != length):
        wanted = "a sequence of numbers" if length is None else f"{length} numbers (low, high)"
        raise ValueError(f"{name} must be {wanted}, got {values!r}")
    return numbers


def require_embedding(
    supervisor: Supervisor, name: str, network: nn.Module, embedding_size: int
) -> None:
    """Refuses a head that gives embeddings of another width.

    Args:
        supervisor: Knows the images.
        name: Of the head's argument.
        network: From images to embeddings, through the head.
        embedding_size: The width that is wanted.

    Raises:
        ValueError: If it is another one.
    """
    width = feature_shape(network, supervisor.in_channels, supervisor.image_size).dim
    if width != embedding_size:
        raise ValueError(
            f"{name}= gives {width} numbers, embedding_size is {embedding_size}: "
            f"give embedding_size={width}"
        )


def require_logits(supervisor: Supervisor, num_classes: int, classes: str) -> None:
    """Refuses a predictor that has not one output a class.

    Args:
        supervisor: Its `model` goes from images to logits.
        num_classes: The outputs that are wanted.
        classes: What they stand for, in the plural.

    Raises:
        ValueError: If there are more or fewer.
    """
    width = feature_shape(supervisor.model, supervisor.in_channels, supervisor.image_size).dim
    if width != num_classes:
        raise ValueError(
            f"predictor= gives {width} numbers, but there are {num_classes} {classes} to tell "
            f"apart: give it {num_classes} outputs"
        )


def require_images(supervisor: Supervisor) -> None:
    """Refuses a predictor that gives no images like those of the dataset.

    Args:
        supervisor: Its `model` goes from images to images.

    Raises:
        ValueError: If channels, height or width differ.
    """
    wanted = (supervisor.in_channels, *supervisor.image_size)
    given = feature_shape(supervisor.model, wanted[0], supervisor.image_size, of_map=True)
    if given != wanted:
        raise ValueError(f"predictor= must give images {list(wanted)}, got {list(given)}")
