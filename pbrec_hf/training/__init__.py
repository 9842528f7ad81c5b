"""Training and evaluation: the loop, its data and checkpoints, predictions, scores and caches of proposals."""
