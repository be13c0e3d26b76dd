"""Exhibits of the algorithms that name something: a rotation, an order, an image, a patch.

Shapes: `B` images, `C, H, W` image, `n` tiles or patches a side, `p_h, p_w` patch, `E` embedding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from super_selfish.evaluation.exhibits.pictures import (
    Group,
    originals,
    picture,
    verdict,
)
from super_selfish.evaluation.views import seen_batch
from super_selfish.supervisors import (
    ContrastivePredictiveCodingSupervisor,
    ExemplarNetSupervisor,
    JigsawNetSupervisor,
    RotateNetSupervisor,
)
from super_selfish.supervisors.puzzles import put_together

COPIES = 3  # of each image, for exemplars
_FRAME = (0.82, 0.29, 0.36)  # red, about the accent of the sheets


def rotations(supervisor: RotateNetSupervisor, index: list[int], seed: int) -> list[Group]:
    """Every image in all orientations, with the angle that the network names."""
    data = seen_batch(supervisor, index[:3], seed)
    said = supervisor.model(data.views.flatten(0, 1)).argmax(dim=1).view(data.targets.shape)
    groups = []
    for views, targets, guesses in zip(data.views, data.targets, said, strict=True):
        group = []
        for view, target, guess in zip(views, targets.tolist(), guesses.tolist(), strict=True):
            turned, named = supervisor.rotations[target], supervisor.rotations[guess]
            is_right = target == guess
            caption = f"turned {_degrees(turned)}\nsays {_degrees(named)} {verdict(is_right)}"
            group.append(picture(view, caption, is_right))
        groups.append(group)
    return groups


def puzzles(supervisor: JigsawNetSupervisor, index: list[int], seed: int) -> list[Group]:
    """Shuffled tiles, the order that the network makes of them, and the true one."""
    data = seen_batch(supervisor, index, seed)
    shuffles = supervisor.permutations[data.targets]  # (B, n * n)
    shuffled = put_together(data.tiles, shuffles)  # (B, C, H, W)
    guesses = supervisor.permutations[supervisor.model(shuffled).argmax(dim=1)]  # (B, n * n)
    # Position i shows tile shuffles[i], and the network thinks that it is tile guesses[i].
    solved = put_together(data.tiles, shuffles.gather(1, guesses.argsort(dim=1)))
    true = put_together(data.tiles, torch.arange(shuffles.shape[1]).expand(shuffles.shape))
    groups = []
    for number, (shuffle, guess) in enumerate(zip(shuffles, guesses, strict=True)):
        is_right = bool((shuffle == guess).all())
        says = f"says {_order(guess)}{verdict(is_right)}"
        groups.append(
            [
                picture(shuffled[number], f"shuffled\n{_order(shuffle)}".strip()),
                picture(solved[number], f"put in order\n{says}", is_right),
                picture(true[number], "true order"),
            ]
        )
    return groups


def exemplars(supervisor: ExemplarNetSupervisor, index: list[int], seed: int) -> list[Group]:
    """Some images, and copies of each with the number of the image that the network names."""
    chosen = index[:3]
    images = originals(supervisor, chosen)
    repeated = [position for position in chosen for _ in range(COPIES)]
    data = seen_batch(supervisor, repeated, seed)
    logits = supervisor.model(data.views)  # (B, N)
    said = logits.argmax(dim=1).tolist()
    groups = []
    for number, position in enumerate(chosen):
        group = [picture(images[number], f"image\nno. {position}")]
        for copy in range(number * COPIES, (number + 1) * COPIES):
            is_right = said[copy] == position
            caption = f"copy, says\nno. {said[copy]} {verdict(is_right)}"
            group.append(picture(data.views[copy], caption, is_right))
        groups.append(group)
    return groups


def patches(
    supervisor: ContrastivePredictiveCodingSupervisor, index: list[int], seed: int
) -> list[Group]:
    """The rows that are seen, the patch that belongs into a frame below, and the one it puts there.

    It chooses among all patches of the images that are given.
    """
    data = seen_batch(supervisor, index, seed)
    n = supervisor.grid
    latents = supervisor.model.features(data.patches.flatten(0, 1))  # (B * n * n, D)
    latents = latents.view(-1, n, n, latents.shape[1]).permute(0, 3, 1, 2)
    predictions, targets = supervisor.model.predictor(latents)  # (4, B, K, E, n, n), (B, E, n, n)
    candidates = targets.permute(0, 2, 3, 1).flatten(0, 2)  # (B * n * n, E)
    column, below = n // 2, supervisor.offsets[0]
    row = n - 1 - below  # the last one that has something to foretell
    foretold = predictions[0, :, 0, :, row, column]  # (B, E), downwards
    best = (foretold @ candidates.T).argmax(dim=1).tolist()  # (B,)
    flat = data.patches.flatten(0, 1)
    groups = []
    for number in range(min(3, len(index))):
        cell = (row + below) * n + column
        wanted = number * n * n + cell
        is_right = best[number] == wanted
        groups.append(
            [
                picture(_patch_sheet(data.patches[number], row, cell), "pale rows are\nnot seen"),
                picture(flat[wanted], "belongs into\nthe frame"),
                picture(
                    flat[best[number]], f"its choice\nof {len(flat)} {verdict(is_right)}", is_right
                ),
            ]
        )
    return groups


def _patch_sheet(patches: Tensor, row: int, wanted: int) -> Tensor:
    """Patches with gaps between them, pale below a row, one of them framed.

    Args:
        patches: `[n * n, C, p_h, p_w]`.
        row: The last row that is seen.
        wanted: The patch to frame.

    Returns:
        `[3, H, W]`.
    """
    n = math.isqrt(len(patches))
    images = [picture(patch, "").image for patch in patches]
    height, width = images[0].shape[1:]
    gap = max(2, min(height, width) // 4)
    sheet = torch.ones(3, n * (height + gap) + gap, n * (width + gap) + gap)
    for number, image in enumerate(images):
        top, left = (
            place * (side + gap)
            for place, side in zip(divmod(number, n), (height, width), strict=True)
        )
        if number == wanted:
            frame = torch.tensor(_FRAME)[:, None, None]
            sheet[:, top : top + height + 2 * gap, left : left + width + 2 * gap] = frame
        shown = image if number < (row + 1) * n else 0.3 * image + 0.7
        sheet[:, top + gap : top + gap + height, left + gap : left + gap + width] = shown
    return sheet


def _degrees(angle: int) -> str:
    return f"{angle % 360}\N{DEGREE SIGN}"


def _order(permutation: Tensor) -> str:
    """The tiles by number, from 1 on; nothing where there are too many to read."""
    if len(permutation) > 4:
        return ""
    return "".join(str(tile + 1) for tile in permutation.tolist()) + " "
