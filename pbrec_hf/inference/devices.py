"""Whether a device can be used, told before anything is loaded onto it."""

import torch


def require_device(device: int | str | torch.device) -> None:
    """
    Try a device of torch.

    Raises:
        ValueError: this machine has no such device.
    """
    try:
        usable = torch.zeros(1, device=device).device.type != "meta"
        reason = "holds no numbers"
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device that is not there
        usable, reason = False, str(error).splitlines()[0]
    if not usable:
        raise ValueError(f"device={device!r} cannot be used ({reason}): give cpu, or a GPU of this machine as cuda:0.")


__all__ = ["require_device"]
