"""Answers from the folder that `pbrec-hf export` writes, with numpy, tokenizers, onnxruntime and Pillow alone.

python scripts/answer_without_torch.py exported photo.jpg "the dog on the left" "red car"
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from tokenizers import Tokenizer


class Graph:
    """A graph that takes what it needs from arrays by name, and adds what it finds."""

    def __init__(self, path: Path):
        self.session = onnxruntime.InferenceSession(path)
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = [value.name for value in self.session.get_outputs()]

    def __call__(self, arrays: dict) -> dict:
        found = self.session.run(None, {name: arrays[name] for name in self.inputs})
        return arrays | dict(zip(self.outputs, found, strict=True))


folder, photograph, *expressions = sys.argv[1:]
letterbox, image_encoder, expression_scorer, answers = (
    Graph(Path(folder, f"{name}.onnx")) for name in ("letterbox", "image_encoder", "expression_scorer", "answers")
)
tokenizer = Tokenizer.from_file(str(Path(folder, "tokenizer.json")))

picture = np.asarray(ImageOps.exif_transpose(Image.open(photograph)).convert("RGB"))
seen = image_encoder(letterbox({"picture": picture}))  # once for a picture, however often it is asked
words = tokenizer.encode_batch(expressions)
seen |= {"input_ids": np.array([word.ids for word in words])}
seen |= {"attention_mask": np.array([word.attention_mask for word in words])}
seen |= {"image_index": np.zeros(len(words), dtype=np.int64)}
found = answers(expression_scorer(seen))
scores = found.get("scores", found["raw_scores"])  # of a checkpoint without a calibration
for expression, score, box in zip(expressions, scores, found["boxes"], strict=True):
    print(f"{expression}: score {score:.2f}, box {np.round(box).astype(int).tolist()}")
