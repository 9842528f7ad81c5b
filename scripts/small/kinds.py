"""Which kinds of expressions pbrec-mt-small answers: the last step of run.sh.

See --help, and pbrec_hf/training/small/kinds.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.small.kinds")
