"""Eight-bit integers in the convolutions of the image part, after training: faster, and a little less exact.

Ranges are measured on a few photographs, by default those of the package. Quantised are the convolutions where time is
spent and errors are small: those of several taps across channels, and those of what a ReLU has let through, as in
ResNet and in towers of detectors. All others stay in float32: depthwise ones and the pointwise ones around them, of
which each moves a box or a score; the first, which sees colours; and what is computed of the results (boxes,
suppression, colours, positions).
"""

import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..hub.bundled import bundled_photographs
from ..hub.writing import flush, one_line_errors, replaced_file

_NO_OPERATIONS = {"Constant", "Parameter", "Result"}
_PICTURE_CHANNELS = 3


def quantized(path: Path, runtime: str, processor: Any, photographs: Sequence[str | Path] | None = None) -> Path:
    """
    The quantised form of the graph of an image part; it is made if it is not there, or older than the graph.

    Args:
        path: of the ONNX file.
        runtime: "onnx" or "openvino".
        processor: makes the canvases.
        photographs: to measure on; default: those of the package.

    Returns:
        The path of the graph, beside the other.

    Raises:
        ImportError: nncf is not installed (openvino).
        ValueError: there are no photographs.
    """
    target = path.with_name(f"{path.stem}_int8.{'onnx' if runtime == 'onnx' else 'xml'}")
    if photographs is None and target.is_file() and target.stat().st_mtime_ns >= path.stat().st_mtime_ns:
        return target
    chosen = sorted(bundled_photographs().glob("images/*.jpg")) if photographs is None else list(photographs)
    if not chosen:
        raise ValueError("There are no photographs to measure the ranges of eight bits on: give at least one.")
    canvases = [processor.image_processor(str(name)) for name in chosen]
    rows = [{name: canvas[name].numpy() for name in ("pixel_values", "pixel_mask")} for canvas in canvases]
    (_by_onnxruntime if runtime == "onnx" else _by_nncf)(path, target, rows)
    return target


def _by_onnxruntime(path: Path, target: Path, rows: list[dict[str, np.ndarray]]) -> None:
    from onnxruntime import quantization

    class Rows(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._rows = iter(rows)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._rows, None)

    with replaced_file(target) as partial:
        quantization.quantize_static(
            path,
            partial,
            Rows(),
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=_exact(path),
            per_channel=True,
            reduce_range=False,
        )


def _exact(path: Path) -> list[str]:
    """Names of the convolutions of an ONNX file that stay in float32."""
    import onnx

    graph = onnx.load(path).graph
    shapes = {value.name: value.dims for value in graph.initializer}
    rectified = {node.output[0] for node in graph.node if node.op_type == "Relu"}

    def exact(node: Any) -> bool:
        if any(each.name == "group" and each.i > 1 for each in node.attribute):
            return True
        channels, *kernel = shapes[node.input[1]][1:]
        wide = max(kernel) > 1 and channels > _PICTURE_CHANNELS
        return not wide and node.input[0] not in rectified

    return [node.name for node in graph.node if node.op_type == "Conv" and exact(node)]


def _by_nncf(path: Path, target: Path, rows: list[dict[str, np.ndarray]]) -> None:
    import openvino

    with redirect_stdout(StringIO()):  # nncf writes what it does to the output of the program
        try:
            import nncf
        except ImportError as error:
            raise ImportError(f"{error.name} is not installed: pip install 'pbrec_hf[openvino]'.") from error
        network = openvino.Core().read_model(path)
        operations = [(each.get_type_name(), each.get_friendly_name()) for each in network.get_ordered_ops()]
        others = {kind for kind, _ in operations} - _NO_OPERATIONS
        exact = set(_exact(path))
        # OpenVINO names a convolution with a bias NAME/WithoutBiases.
        names = [name for kind, name in operations if kind == "Convolution" and name.split("/")[0] in exact]
        network = nncf.quantize(
            network,
            nncf.Dataset(rows),
            subset_size=len(rows),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=names, types=sorted(others - {"Convolution"})),
        )
    with one_line_errors(target.parent), TemporaryDirectory(dir=target.parent) as folder:
        openvino.save_model(network, Path(folder) / target.name, compress_to_fp16=False)
        made = [Path(folder) / target.with_suffix(ending).name for ending in (".bin", ".xml")]
        for path in made:
            flush(path)
        # The .xml stands for both: it goes first and comes last, so that it is never there without its .bin.
        target.unlink(missing_ok=True)
        for path in made:
            os.replace(path, target.with_name(path.name))


__all__ = ["quantized"]
