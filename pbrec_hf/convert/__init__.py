"""Checkpoints from elsewhere → models of this package. Every converter reports what became of every key."""
