"""Photographs and composed scenes as stored feature maps, for pbrec-mt-small: step 2 of run.sh.

See --help, and pbrec_hf/training/small/pool.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.small.pool", "to go on where it stopped")
