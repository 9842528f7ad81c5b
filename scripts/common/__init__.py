"""Adapters between transformers' common tests and the classes of this package; see `scripts/common_tests.py`."""
