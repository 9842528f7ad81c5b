"""A trained pbrec-mt-small around another NanoDet: a step of run.sh.

See --help, and pbrec_hf/training/small/transplant.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.small.transplant")
