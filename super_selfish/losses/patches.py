"""Square patches of images as rows of numbers, plain or standardised.

He et al., 2021, "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377.

Shapes: `B` images, `C, H, W` image, `p` side of a patch, `h, w` patches from top to bottom and from
left to right, `L = h w` patches, `E = p p C` numbers of a patch.
"""

from __future__ import annotations

from torch import Tensor

EPSILON = 1e-6  # of the variance: authors' code, norm_pix_loss


def into_patches(images: Tensor, patch: int) -> Tensor:
    """Cuts images into patches, row by row; a border that is no whole patch is left out.

    Args:
        images: `[B, C, H, W]`.
        patch: `p`, pixels.

    Returns:
        `[B, L, E]`; the channels of a pixel stand next to each other, as in the authors' code.

    Raises:
        ValueError: If the images are smaller than a patch.
    """
    height, width = images.shape[2] // patch, images.shape[3] // patch
    if height < 1 or width < 1:
        raise ValueError(f"a patch of {patch} pixels is larger than {list(images.shape)}")
    whole = images[:, :, : height * patch, : width * patch]
    cut = whole.unflatten(3, (width, patch)).unflatten(2, (height, patch))  # (B, C, h, p, w, p)
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def with_patches(images: Tensor, patches: Tensor, patch: int) -> Tensor:
    """Images that show other patches; a border that is no whole patch stays as it is.

    Args:
        images: `[B, C, H, W]`, left as they are.
        patches: `[B, L, E]`, in the order of `into_patches`.
        patch: `p`, pixels.

    Returns:
        `[B, C, H, W]`.
    """
    channels, height, width = images.shape[1], images.shape[2] // patch, images.shape[3] // patch
    cut = patches.unflatten(2, (patch, patch, channels)).unflatten(1, (height, width))
    whole = cut.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)  # (B, C, h p, w p)
    changed = images.clone()
    changed[:, :, : height * patch, : width * patch] = whole.to(images.dtype)
    return changed


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the numbers of each patch, of all channels together.

    Args:
        patches: `[B, L, E]`, of at least two numbers each.

    Returns:
        Twice `[B, L, 1]`; the deviation of one colour is 1e-3, so that it can be divided by.
    """
    mean = patches.mean(dim=2, keepdim=True)
    deviation = (patches.var(dim=2, keepdim=True) + EPSILON).sqrt()  # unbiased, as the authors'
    return mean, deviation


def standardised_patches(patches: Tensor) -> Tensor:
    """Patches less their mean, by their deviation (section 3, "Reconstruction target").

    Args:
        patches: `[B, L, E]`.

    Returns:
        `[B, L, E]`; of a patch of one colour zeros.
    """
    mean, deviation = patch_statistics(patches)
    return (patches - mean) / deviation
