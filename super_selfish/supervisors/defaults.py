"""What an argument becomes that is left at None: every rule, with what speaks for it.

Papers train for days. Their numbers stay a word away (`momentum=0.999`); what is not said is what
this run needs, by its images, its backbone and its length. The page docs/defaults.md has the table.
"""

from __future__ import annotations

RATE = 1e-3  # Adam's own
# At 1e-3 all counts of visual counting became 0 in minutes; the paper has 1e-4, for batches of 512.
COUNTING_RATE = 2e-4
# At 1e-3 the discriminator of BiGAN wins; the paper has 2e-4, for batches of 128.
BIGAN_RATE = 3e-4

WARMED = "(1 + t) / (10 + t) after t updates, at most"  # `warmed_momentum`, in words


def warmed_momentum(published: float, updates: int) -> float:
    """Weight of an old momentum encoder in an update, where nobody says which.

    `min(m, (1 + t) / (10 + t))`: the average looks back over a tenth of what it has seen, until
    that is as long as in the paper (after 8,990 updates for MoCo's 0.999, 2,240 for BYOL's 0.996).
    Of a fixed 0.999 the first, random weights are more than half for 690 updates, where a minute on
    a core makes some hundred. The length of the run need not be known, and a run that goes on needs
    nothing but its place.

    Args:
        published: `m` of the paper, constant or by its schedule.
        updates: `t`, done before this one.
    """
    return min(published, (1 + updates) / (10 + updates))


# Of algorithms that remember every image. Two minutes on a core show a network some tens of
# thousands of images: of 60,000 each would be seen once, when all that is remembered of it is
# random. Of 5,000, 5 to 17 times, all three learned (benchmarks/results/comparison_learning.md).
VIEWS_PER_IMAGE = 10
FEWEST_REMEMBERED = 1024  # images from the start

# Of exemplars. The paper has 100 to 150 copies of a class at once, and an epoch here shows one: of
# 8000 classes two minutes show 8, of 500, which learned in the same benchmark, 135.
VIEWS_PER_CLASS = 100
FEWEST_CLASSES = 256  # from the start
