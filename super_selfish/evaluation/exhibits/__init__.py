"""What each algorithm shows of itself: what its network saw, and what it had to say.

A function an algorithm, in a file a kind: `guesses` name something, `restorations` paint something,
`likenesses` find something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from super_selfish import supervisors
from super_selfish.evaluation.exhibits import guesses, likenesses, restorations
from super_selfish.evaluation.exhibits.pictures import Group, Picture
from super_selfish.supervisors import Supervisor

__all__ = ["EXHIBITS", "Group", "Label", "Picture"]

Show = Callable[[Any, list[int], int], list[Group]]  # supervisor, positions, seed


class Label(NamedTuple):
    """The name of an algorithm, what it has to say, and what shows it."""

    title: str
    question: str  # one plain sentence
    show: Show


EXHIBITS: dict[type[Supervisor], Label] = {
    supervisors.RotateNetSupervisor: Label(
        "RotateNet", "By how many degrees was this image turned?", guesses.rotations
    ),
    supervisors.JigsawNetSupervisor: Label(
        "Jigsaw", "In which order do these tiles make an image?", guesses.puzzles
    ),
    supervisors.ExemplarNetSupervisor: Label(
        "ExemplarNet", "Of which image of the dataset is this a copy?", guesses.exemplars
    ),
    supervisors.ContrastivePredictiveCodingSupervisor: Label(
        "CPC v2",
        "Which of all patches belongs into the frame, below rows that it has seen?",
        guesses.patches,
    ),
    supervisors.DenoiseNetSupervisor: Label(
        "Denoising autoencoder",
        "What did the image look like before most pixels were erased?",
        restorations.denoised,
    ),
    supervisors.ContextNetSupervisor: Label(
        "Context encoder", "What was there before the holes were cut?", restorations.painted
    ),
    supervisors.SplitBrainNetSupervisor: Label(
        "Split-brain autoencoder",
        "Which colours belong to this lightness, and which lightness to these colours?",
        restorations.halves,
    ),
    supervisors.BiGanSupervisor: Label(
        "BiGAN",
        "Which numbers would make the generator draw this image?",
        restorations.generated,
    ),
    supervisors.InstanceDiscriminationSupervisor: Label(
        "Instance discrimination",
        "Which of all remembered images is this a view of?",
        likenesses.remembered_images,
    ),
    supervisors.PIRLSupervisor: Label(
        "PIRL",
        "Which of all remembered images is this the puzzle of?",
        likenesses.remembered_puzzles,
    ),
    supervisors.ContrastiveMultiviewCodingSupervisor: Label(
        "CMC",
        "Which of all remembered colours belong to this lightness?",
        likenesses.remembered_colors,
    ),
    supervisors.MomentumContrastSupervisor: Label(
        "MoCo v2", "Which of many views shows the same image as this one?", likenesses.contrasted
    ),
    supervisors.BYOLSupervisor: Label(
        "BYOL", "How does my slower copy see another view of this image?", likenesses.foretold
    ),
}
"""What every algorithm shows, by its class, in the order of a sheet."""
