"""Objects for tests of generated expressions: boxes of one colour in a picture of 400×300 pixels."""

import numpy as np

from pbrec_hf.data.scenes.objects import SceneObject
from pbrec_hf.small.colors import COLOR_NAMES

SIZE = (300, 400)


def thing(category, left, top, right, bottom, color=None, vague=False):
    colors = {}
    if color is not None:
        shares = np.zeros(len(COLOR_NAMES), dtype=np.float32)
        shares[COLOR_NAMES.index(color)] = 1
        colors = {"whole": shares, "upper": shares, "lower": shares}
    return SceneObject(category, (left, top, right, bottom), colors=colors, vague=vague)
