"""Targets and losses of the detectors."""
