"""Detectors: their data, augmentation, targets and losses, training and evaluation."""
