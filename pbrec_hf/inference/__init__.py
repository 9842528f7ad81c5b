"""Answering, and answering faster: `Grounder`, folded norms, one look per canvas, ONNX."""
