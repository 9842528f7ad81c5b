"""Which picture each expression is about, and which expression each referent belongs to, with the defaults."""

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


def expression_of_each(referent_index: Tensor | None, boxes: Tensor, expressions: int) -> Tensor:
    """
    The expression of each referent.

    Args:
        referent_index: (R,) int64; None = one referent per expression.
        boxes: (R, 4) of the referents.
        expressions: E, the number of expressions.

    Returns:
        int64 (R,), indices into the expressions.

    Raises:
        ValueError: the default does not fit, or `referent_index` has another shape or names other expressions.
    """
    if referent_index is None:
        if len(boxes) != expressions:
            raise ValueError(
                f"There are {len(boxes)} boxes for {expressions} expressions: pass `referent_index`, the expression "
                "of each box."
            )
        return torch.arange(expressions, device=boxes.device)
    if referent_index.shape != (len(boxes),):
        raise ValueError(
            f"`referent_index` has shape {tuple(referent_index.shape)}: give ({len(boxes)},), one entry per box."
        )
    if len(boxes) and not (referent_index.min() >= 0 and referent_index.max() < expressions):
        raise ValueError(
            f"`referent_index` has entries from {int(referent_index.min())} to {int(referent_index.max())}: there are "
            f"{expressions} expressions, numbered from 0."
        )
    return referent_index


__all__ = ["expression_of_each", "image_of_each"]
