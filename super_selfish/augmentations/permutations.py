"""Sets of permutations that lie far from one another, for puzzles.

Noroozi, Favaro, 2016, arXiv 1603.09246, section 4: permutations that resemble each other make
the task ambiguous. Generated from a seed at first use: no file to ship.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def maximal_hamming_permutations(count: int, tiles: int, seed: int = 0) -> Tensor:
    """Greedy set: each permutation has the largest summed Hamming distance to those before it.

    The summed distance of a permutation p to k chosen ones is k * tiles - sum_i seen[i, p(i)],
    where seen[i, t] counts the chosen ones with tile t at position i. So the best candidate among
    all of them is the solution of a linear assignment problem, found without listing them; small
    random costs break ties. Where the solution has been chosen before, the costs grow until another
    comes out, near the best if not always the best of the rest.

    Args:
        count: Number of permutations, at most tiles!.
        tiles: Number of tiles, 4 for a 2x2 and 9 for a 3x3 grid.
        seed: Equal seeds give equal sets.

    Returns:
        `[count, tiles]`, int64, all different.

    Raises:
        ValueError: If there are not that many permutations.
    """
    if tiles < 1 or not 1 <= count <= math.factorial(tiles):
        raise ValueError(
            f"{tiles} tiles have {math.factorial(max(tiles, 0))} permutations, asked for {count}"
        )
    # Costs a noticeable part of a second to import: only whoever plays puzzles pays.
    from scipy.optimize import linear_sum_assignment

    generator = torch.Generator().manual_seed(seed)
    seen = torch.zeros(tiles, tiles, dtype=torch.float64)
    positions = torch.arange(tiles)
    chosen: dict[tuple[int, ...], None] = {}  # in order, and quick to ask
    while len(chosen) < count:
        noise = 0.5 / tiles  # sums to less than one: only ties are broken
        while True:
            draw = torch.rand(tiles, tiles, dtype=torch.float64, generator=generator)
            best = linear_sum_assignment((seen + noise * draw).numpy())[1]
            key = tuple(best.tolist())
            if key not in chosen:
                break
            noise = min(2.0 * noise, 2.0 * count)  # in the end a random permutation
        chosen[key] = None
        seen[positions, torch.as_tensor(best)] += 1.0
    return torch.tensor(list(chosen), dtype=torch.int64)
