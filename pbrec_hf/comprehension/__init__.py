"""The comprehension stage, which is trained: fusion, position codes, targets (eq. 1–4), loss (eq. 6)."""
