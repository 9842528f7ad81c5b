"""The picture that each expression refers to, including the defaults for a missing `image_index`."""

import torch
from torch import Tensor


def image_of_each(image_index: Tensor | None, expressions: int, images: int) -> Tensor:
    """
    The picture of each expression.

    Args:
        image_index: (E,) int64; None = one expression per picture, or all expressions for a single picture.
        expressions: E, the number of expressions.
        images: I, the number of pictures.

    Returns:
        int64 (E,), indices into the pictures.

    Raises:
        ValueError: the default is ambiguous for these numbers, or `image_index` does not have shape (E,).
    """
    if image_index is None:
        if images not in (1, expressions):
            raise ValueError(
                f"There are {expressions} expressions for {images} images: pass `image_index`, the image of each "
                "expression."
            )
        return torch.arange(expressions) if images > 1 else torch.zeros(expressions, dtype=torch.long)
    if image_index.shape != (expressions,):
        raise ValueError(
            f"`image_index` has shape {tuple(image_index.shape)}: give ({expressions},), one entry per expression."
        )
    return image_index


__all__ = ["image_of_each"]
