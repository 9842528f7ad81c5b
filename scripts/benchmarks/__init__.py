"""Measurements of speed and memory; see ../benchmark.py."""
