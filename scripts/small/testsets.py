"""Generated test sets for pbrec-mt-small: step 6 of run.sh.

See --help, and pbrec_hf/training/small/testsets.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.small.testsets")
