"""Deterministic weights from (seed, state_dict key, shape).  Needs only NumPy.

Every tensor of the original PBREC-MT state_dict (except the text position table `position_embedding.pe`,
which is a fixed formula) is drawn from NumPy's *legacy* RandomState (its stream is frozen by NumPy's
compatibility policy) seeded by crc32 of "<seed>:<key>".  So the full 600 MB state_dict can be rebuilt
anywhere from the key/shape list without shipping it.
"""

import zlib

import numpy as np


def _rs(seed, key):
    return np.random.RandomState(zlib.crc32(f"{seed}:{key}".encode()) & 0xFFFFFFFF)


def seeded_array(key, shape, seed):
    """float32 array for one state_dict entry."""
    rs = _rs(seed, key)
    shape = tuple(int(s) for s in shape)
    last = key.split(".")[-1]
    if last == "running_var":
        a = 0.5 + rs.random_sample(shape)
    elif last == "running_mean" or ("embeddings" in key and len(shape) == 2):
        a = 0.1 * rs.standard_normal(shape)
    elif len(shape) == 4:  # conv weight: He, fan-in
        a = rs.standard_normal(shape) * np.sqrt(2.0 / (shape[1] * shape[2] * shape[3]))
    elif len(shape) == 2:  # linear weight: 1/sqrt(fan-in)
        a = rs.standard_normal(shape) * np.sqrt(1.0 / shape[1])
    elif len(shape) == 1 and (last == "bias" or last.endswith("_bias")):
        a = 0.1 * rs.standard_normal(shape)
    elif len(shape) == 1 and last == "weight":  # affine of a norm layer
        a = 1.0 + 0.1 * rs.standard_normal(shape)
        if key.endswith("bn3.weight"):  # keep the residual sum of a deep ResNet bounded
            a = 0.25 * a
    else:
        raise ValueError(f"no rule for {key} {shape}")
    return a.astype(np.float32)


def is_formula_key(key):
    return key.endswith("position_embedding.pe") or key == "position_embedding.pe"


def text_pe(max_len, d_model):
    """The value the original keeps in the buffer position_embedding.pe (float32 steps as in torch)."""
    import torch

    pos = torch.arange(0.0, max_len).unsqueeze(1)
    div = torch.exp(torch.arange(0.0, d_model, 2) * (-(np.log(10000.0)) / d_model))
    pe = torch.zeros(max_len, d_model)
    pe[:, 0::2] = torch.sin(pos * div)
    pe[:, 1::2] = torch.cos(pos * div)
    return pe.unsqueeze(0).numpy()


def seeded_state_dict(key_shapes, seed):
    """{key: float32 ndarray} for an iterable of (key, shape); `position_embedding.pe` by its formula."""
    out = {}
    for k, s in key_shapes:
        out[k] = text_pe(s[1], s[2]) if is_formula_key(k) else seeded_array(k, s, seed)
    return out


def lowres_image(seed, batch, lowres=80):
    """[B,3,lowres,lowres] float32 ~ N(0,1); the network input is this repeated by 640//lowres along both axes
    (exact, no arithmetic), then set to 0 where the pixel padding mask is 1."""
    rs = _rs(seed, "image")
    return rs.standard_normal((batch, 3, lowres, lowres)).astype(np.float32)


def expand_image(low, pix_mask):
    rep = pix_mask.shape[-1] // low.shape[-1]
    img = low.repeat(rep, axis=2).repeat(rep, axis=3).copy()
    img[np.broadcast_to(pix_mask[:, None] != 0, img.shape)] = 0.0
    return img


def tokens(seed, lengths, max_len, vocab):
    """ids [B,L] int64, mask [B,L] int16 (1 = real token), CLS=101 SEP=102 when the vocabulary is large enough."""
    rs = _rs(seed, "tokens")
    cls_, sep = (101, 102) if vocab > 1000 else (1, 2)
    ids = np.zeros((len(lengths), max_len), np.int64)
    msk = np.zeros((len(lengths), max_len), np.int16)
    for b, n in enumerate(lengths):
        ids[b, :n] = rs.randint(3 if vocab <= 1000 else 1000, vocab, size=n)
        ids[b, 0], ids[b, n - 1] = cls_, sep
        msk[b, :n] = 1
    return ids, msk


def pad_mask(rects, size=640):
    """[B,size,size] int16, 1 = padding; rects = (top, left, h, w) of the valid picture."""
    m = np.ones((len(rects), size, size), np.int16)
    for b, (t, left, h, w) in enumerate(rects):
        m[b, t : t + h, left : left + w] = 0
    return m
