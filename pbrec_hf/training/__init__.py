"""Training and evaluation: what `scripts/train.py` and `scripts/evaluate.py` are made of."""
