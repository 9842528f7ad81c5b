"""The training loss (equation 6): binary cross-entropy between point logits and soft targets."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def point_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """
    Mean binary cross-entropy over expressions and points, computed in float32.

    The paper divides by n², the released code by the number of points n. This does the latter, so that the value does
    not depend on the size of the grid. Points in the padding count as negatives, as released.

    Args:
        logits: (E, P), before the sigmoid.
        targets: (E, P) in [0, 1], center-ness (eq. 2) or mass-ness (eq. 4).

    Returns:
        float32 scalar.

    Raises:
        ValueError: the shapes differ.
    """
    if logits.shape != targets.shape:
        raise ValueError(
            f"Targets of shape {tuple(targets.shape)} do not match logits of shape {tuple(logits.shape)}: compute "
            "them with the image size and stride of the model's config, one row per expression."
        )
    return binary_cross_entropy_with_logits(logits.float(), targets.to(logits.device).float())


__all__ = ["point_loss"]
