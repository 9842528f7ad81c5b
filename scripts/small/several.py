"""How pbrec-mt-small picks several answers, chosen on half of the test sets: step 8 of run.sh.

See --help, and pbrec_hf/training/small/several.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.small.several")
