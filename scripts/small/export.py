"""The folder of pbrec-mt-small: step 5 of run.sh.

See --help, and pbrec_hf/training/small/export.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.small.export")
