"""What pbrec-mt-small has to beat: step 9 of run.sh.

See --help, and pbrec_hf/training/small/baselines.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.small.baselines")
