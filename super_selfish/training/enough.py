"""From how many updates on a run is worth it."""

from __future__ import annotations

# Two and a half minutes on a core made algorithms worse than their first weights after 50 to 103
# steps (context, denoise on images of 225 pixels), and two minutes four of five by k-NN after 72 to
# 218 (128 pixels: recipes.md). Of 23 on small ones all gained after 205 to 2,419 steps
# (benchmarks/results/comparison.md, systems.md, two_lines.md).
ENOUGH_UPDATES = 1000
# Where that many do not fit, an image is to be seen often enough; few updates teach little anyhow.
ENOUGH_PASSES, LEAST_UPDATES = 10, 300


def is_enough(updates: int, passes: float) -> bool:
    """Whether a run is long enough to be worth it.

    Args:
        updates: Of the weights.
        passes: How often each image is seen.
    """
    return updates >= ENOUGH_UPDATES or (passes >= ENOUGH_PASSES and updates >= LEAST_UPDATES)
