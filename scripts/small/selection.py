"""How pbrec-mt-small picks among proposals, chosen on the test sets: step 7 of run.sh.

See --help, and pbrec_hf/training/small/selection.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.small.selection")
