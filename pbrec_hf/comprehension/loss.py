"""The training loss (equation 6): binary cross-entropy between point logits and soft targets."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def point_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """
    Mean binary cross-entropy over expressions and points, computed in float32.

    The paper divides by n² where the released code takes the mean over n points; this is the mean, so that the value
    does not depend on the grid. Points in the padding count as negatives, as released.

    Args:
        logits: (E, P), before the sigmoid.
        targets: (E, P) in [0, 1], center-ness (eq. 2) or mass-ness (eq. 4).

    Raises:
        ValueError: if the shapes differ.
    """
    if logits.shape != targets.shape:
        raise ValueError(
            f"Targets of shape {tuple(targets.shape)} do not fit logits of shape {tuple(logits.shape)}: make them "
            "with the image size and stride of the model's config, one row per expression."
        )
    return binary_cross_entropy_with_logits(logits.float(), targets.to(logits.device).float())
