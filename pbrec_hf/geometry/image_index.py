"""Which picture each expression is about, where that need not be said."""

import torch
from torch import Tensor


def image_of_each(image_index: Tensor | None, expressions: int, images: int) -> Tensor:
    """
    The picture of each expression.

    Args:
        image_index: (E,), or None: one expression for each picture, or all for a single one.
        expressions: E.
        images: number of pictures.

    Raises:
        ValueError: the numbers do not fit.
    """
    if image_index is None:
        if images not in (1, expressions):
            raise ValueError(
                f"{expressions} expressions for {images} images: say with `image_index` which image each belongs to."
            )
        return torch.arange(expressions) if images > 1 else torch.zeros(expressions, dtype=torch.long)
    if image_index.shape != (expressions,):
        raise ValueError(
            f"`image_index` has shape {tuple(image_index.shape)}: give ({expressions},), one entry per expression."
        )
    return image_index


__all__ = ["image_of_each"]
