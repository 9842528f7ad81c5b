"""The comprehension stage, what is learned: fusion, positions, targets (eq. 1–4), loss (eq. 6)."""
