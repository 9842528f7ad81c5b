"""Checkpoints from elsewhere -> this package's models. Every converter reports what it did with every key."""
