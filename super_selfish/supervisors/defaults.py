"""What an argument becomes that is left at None: every rule, with what speaks for it.

Papers train for days. Their numbers stay a word away (`momentum=0.999`); what is not said is what
this run needs, by its images, its backbone and its length. The page docs/defaults.md has the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from super_selfish.supervisors.refusals import as_numbers, require_counts

if TYPE_CHECKING:
    from super_selfish.supervisors.construction import Constructed

RATE = 1e-3  # Adam's own
# Twice the paper's 1e-4, for batches of 512. What 1e-3 costs was not shown: with it, 558 steps on
# Fashion-MNIST made a narrow network 10.8 points better by its linear probe and 3.0 by k-NN.
COUNTING_RATE = 2e-4
# The paper has 2e-4, for batches of 128. With 1e-3, 672 steps gave 10.9 and 5.1 points, of features
# that were closer together than before.
BIGAN_RATE = 3e-4

WARMED = "(1 + t) / (10 + t) after t updates"  # `warmed_momentum`, in words
# Keys of a queue are of the last 64 steps, and are told from one another by their age where their
# encoder follows too fast. MoCo's paper has it (section 4.1, ablation of the momentum): without
# momentum it fails, with 0.9 it is worse than with 0.99. Without this bound, 580 steps on CIFAR-10
# left a narrow network 2.3 points worse than untrained by its linear probe and 6.1 by k-NN,
# collapsed; with it 12.6 and 9.5 better. The authors' recipe for CIFAR has 0.99.
LEAST_OF_QUEUE = 0.99
# A teacher that follows too fast agrees with whatever its student says. In 45 seconds on a core, on
# CIFAR-10, DINO had features of 4 to 6 directions without this bound and with 0.96 (k-NN 1.7 and
# 1.9 points below the untrained network), of 55 to 78 with it (0.0 to 0.9 above).
LEAST_OF_TEACHER = 0.99
# Classes of DINO, for up to 100,000 images: with 4096 the same run gave 3.9 points of linear probe,
# with 512 it gave 7.0.
FEW_CLASSES = 512


def warmed_momentum(published: float, updates: int, least: float = 0.0) -> float:
    """Weight of an old momentum encoder in an update, where nobody says which.

    `min(m, (1 + t) / (10 + t))`: the average looks back over a tenth of what it has seen, until
    that is as long as in the paper (after 8,990 updates for MoCo's 0.999, 2,240 for BYOL's 0.996).
    Of a fixed 0.999 the first, random weights are more than half for 690 updates, where a minute on
    a core makes some hundred. The length of the run need not be known, and a run that goes on needs
    nothing but its place.

    Args:
        published: `m` of the paper, constant or by its schedule.
        updates: `t`, done before this one.
        least: Of which it is not less, where something needs that.
    """
    return min(published, max(least, (1 + updates) / (10 + updates)))


# Of algorithms that remember every image. A minute on a core shows a network some tens of thousands
# of images: of the 60,000 of Fashion-MNIST each is hardly seen once, when all that is remembered of
# it is random. So instance discrimination made a narrow network 12.2 points better by its linear
# probe and 2.0 by k-NN; with images that join, 13.3 and 11.1. Of 5,000 images, each seen 5 to 17
# times, all three had learned (benchmarks/results/comparison_learning.md).
VIEWS_PER_IMAGE = 10
FEWEST_REMEMBERED = 1024  # images from the start

# Of exemplars. The paper has 100 to 150 copies of a class at once, and an epoch here shows one. In
# the same minute 8000 classes made the network 3.4 points better by its linear probe and 9.7 worse
# by k-NN; classes that join, 14.4 and 15.1 better.
VIEWS_PER_CLASS = 100
FEWEST_CLASSES = 256  # from the start


# BiGAN of small images: latents and players of full connection, as in the paper for MNIST. In a
# minute on a core, on Fashion-MNIST, they made five times the steps of convolutions, and a narrow
# network 12.9 points better by its linear probe instead of 6.9 (k-NN: +3.0 instead of -4.3).
SMALL_SIDE = 32  # pixels; of larger images a full connection has too many weights
DENSE_LATENTS = 50
MAP_LATENTS, MAP_GRID = 32, 2


FEWEST_CHANNELS = 16  # of a layer, whatever the backbone
# What release 0.0.6 and checkpoints before these rules have.
FORMER_DECODER = (256, 256, 128, 64)
FORMER_DISCRIMINATOR = (64, 128, 256, 512)  # DCGAN's


def decoder_widths(features: int) -> tuple[int, int, int, int]:
    """Channels of the hidden layers of a decoder, the last one next to the image.

    Those of release 0.0.6 (256, 256, 128, 64) cost as much as an EfficientNet-B0 at 128 pixels, and
    twice as much as a narrow ResNet: a run of minutes lost half its steps, or more, to what it
    throws away. Half of them cost a third of the EfficientNet, and as much as the ResNet.

    Args:
        features: Channels of the backbone's map.
    """
    return _narrow(features, (128, 128, 64, 32), (2, 2, 4, 8))


def discriminator_widths(features: int) -> tuple[int, int, int, int]:
    """Channels of the layers of a context encoder's discriminator, the first one next to the image.

    Those of DCGAN (64, 128, 256, 512), on real and painted images, cost as much as an
    EfficientNet-B0 at 128 pixels, for a verdict that has a thousandth of the weight.

    Args:
        features: Channels of the backbone's map.
    """
    return _narrow(features, (32, 64, 128, 256), (8, 4, 2, 1))


# Of MAE's decoder. It works on all patches, and the network that is kept on a quarter of them.
WIDEST_OF_PATCHES = 512  # the paper's, of 1024 features
HEAD_WIDTH = 32  # numbers of a head of attention: the paper's 512 / 16
DEPTH_OF_PATCHES = 4  # half of the paper's


def patch_decoder_width(features: int) -> int:
    """Width of MAE's decoder: half of the features, as in the paper, in whole heads.

    Args:
        features: Of the transformer, whose tokens it gets.
    """
    heads = min(features // 2, WIDEST_OF_PATCHES) // HEAD_WIDTH
    return max(1, heads) * HEAD_WIDTH


def chosen_widths(
    supervisor: Constructed, name: str, given: Sequence[int] | None, features: int
) -> tuple[int, ...]:
    """Widths that the user gave, or those of the rule, which the checkpoint then names.

    Args:
        supervisor: Whose argument it is.
        name: Of the argument, and of the rule in this file.
        given: What it is.
        features: Channels of the backbone's map.

    Raises:
        ValueError: If they are no widths.
    """
    if given is None:
        widths: tuple[int, ...] = {
            "decoder_widths": decoder_widths,
            "discriminator_widths": discriminator_widths,
        }[name](features)
    else:
        widths = as_numbers(name, given)
        if not widths:
            raise ValueError(f"{name} must have at least one width, got none")
        for width in widths:
            require_counts(**{name: width})
    supervisor._choose(**{name: widths})
    return widths


def _narrow(
    features: int, most: tuple[int, int, int, int], shares: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    widths = [min(*pair) for pair in zip(most, [features // s for s in shares], strict=True)]
    first, second, third, fourth = (max(FEWEST_CHANNELS, width) for width in widths)
    return first, second, third, fourth
