"""Files of graphs, computed by onnxruntime or OpenVINO behind one call with arrays by name.

Both read ONNX; OpenVINO also its own format, in which quantised graphs are kept. Needs `pip install
'pbrec_hf[onnx]'` or `'pbrec_hf[openvino]'`. Knows nothing of pictures and expressions.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

Graph = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def open_graph(path: Path, runtime: str, precision: str = "fp32") -> Graph:
    """
    A graph that is ready to compute, with as many threads as torch has.

    Args:
        path: of an ONNX file, or of an XML file of OpenVINO.
        runtime, precision: see `PRECISIONS`.
    """
    return _in_onnxruntime(path) if runtime == "onnx" else _in_openvino(path, precision)


def _in_onnxruntime(path: Path) -> Graph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    inputs = {value.name for value in session.get_inputs()}

    def compute(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        given = {name: value for name, value in arrays.items() if name in inputs}
        return dict(zip(names, session.run(None, given), strict=True))

    return compute


def _in_openvino(path: Path, precision: str) -> Graph:
    import openvino

    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        # A compiled graph beside its file is loaded in a fraction of the time.
        "CACHE_DIR": str(path.parent / "compiled"),
    }
    network = openvino.Core().compile_model(path, "CPU", settings)
    inputs = {name for value in network.inputs for name in value.names}

    def compute(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        given = {name: value for name, value in arrays.items() if name in inputs}
        request = network.create_infer_request()  # of each call its own, for threads that ask at the same time
        found = request.infer(given, share_inputs=True)
        return {name: values for output, values in found.items() for name in output.names}

    return compute


__all__ = ["Graph", "open_graph"]
