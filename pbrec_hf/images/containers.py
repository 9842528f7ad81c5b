"""What arrow, pandas and numpy hold texts, files and rows in → Python's own lists, dicts, strings and bytes.

None of these libraries is imported for it: whoever brings such an object has done so. Arrays of numbers are pictures,
boxes or masks, and stay as they are.
"""

from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """
    The same value in Python's own types; anything else than the following stays as it is.

    - numpy: strings and arrays of strings, bytes or objects;
    - pandas: columns and indices (lists), tables (lists of dicts) and their rows, which are columns with an entry
      "image" (dicts);
    - arrow: scalars, arrays and tables (lists of dicts), and buffers;
    - lists and tuples: lists of the above.
    """
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return value.tolist() if value.dtype.kind in "OSU" else value
    if isinstance(value, (np.str_, np.bytes_)):
        return value.item()
    if isinstance(value, memoryview):
        return value.tobytes()
    library = type(value).__module__.partition(".")[0]
    if library == "pandas":
        return _from_pandas(value)
    if library == "pyarrow":
        for method in ("as_py", "to_pylist", "to_pybytes"):
            if hasattr(value, method):
                return getattr(value, method)()
    return value


def _from_pandas(value: Any) -> Any:
    if hasattr(value, "iterrows"):
        return value.to_dict("records")
    if "image" in getattr(value, "index", ()):
        return value.to_dict()
    return value.tolist() if hasattr(value, "tolist") else value


__all__ = ["plain"]
