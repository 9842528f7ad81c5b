"""The fault campaign: seeded damage to everything that users hand in, and oracles that do not trust the package.

A family (`families/`) draws cases from a seed, runs one at a time and judges it: refused clearly, answered rightly, or
wrong. Cases run in a worker process with limits of memory and time. `undo/` takes the mend of a known fault away, to
see whether its family would find the fault again. Run it by `scripts/faults.py`; a small slice is part of the tests.

To add a family, write a module with a class of `Family` as `FAMILY`, and name it in `command.FAMILIES`. A case is
plain values with steps that can be left out one by one, so that the smallest case of a fault can be found.
"""
