"""Scenes without pictures, for pbrec-mt-small: step 3 of run.sh.

See --help, and pbrec_hf/training/small/layouts.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.small.layouts", "to go on where it stopped")
