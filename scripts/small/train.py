"""The fusion encoder of pbrec-mt-small, phase by phase: step 4 of run.sh.

See --help, and pbrec_hf/training/small/train.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.small.train", "to go on where it stopped")
