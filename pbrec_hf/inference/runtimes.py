"""The runtimes that can compute the networks, and the precisions of each. `graph_files.py` knows how."""

# What each runtime computes in, on a processor.
PRECISIONS = {"torch": ("fp32", "bf16"), "onnx": ("fp32", "int8"), "openvino": ("fp32", "bf16", "int8")}


def require_runtime(runtime: object, precision: object, device: object = "cpu", compile: bool = False) -> None:
    """
    Check the names of a runtime and a precision, that the runtime is installed, and that it runs on this device.

    Raises:
        ValueError: there is no such runtime, it does not compute in that precision or on that device, or it is to
            `compile` and is not torch.
        ImportError: it is not installed.
    """
    if runtime not in PRECISIONS:
        raise ValueError(f"runtime={runtime!r}: give one of {', '.join(map(repr, PRECISIONS))}.")
    legal = PRECISIONS[str(runtime)]
    if precision not in legal:
        raise ValueError(
            f"precision={precision!r} with runtime={runtime!r}: give one of {', '.join(map(repr, legal))}, or another "
            "runtime."
        )
    if runtime != "torch" and str(device) != "cpu":
        raise ValueError(f"runtime={runtime!r} runs on the CPU: leave out device={str(device)!r}, or take torch.")
    if compile and runtime != "torch":
        raise ValueError(f"compile=True with runtime={runtime!r}: leave it out, or take runtime='torch'.")
    try:
        if runtime == "onnx":
            import onnxruntime  # noqa: F401
        elif runtime == "openvino":
            import openvino  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: pip install 'pbrec_hf[{runtime}]'.") from error


__all__ = ["PRECISIONS", "require_runtime"]
