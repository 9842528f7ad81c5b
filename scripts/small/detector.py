"""The box detector of pbrec-mt-small, NanoDet-m from ncnn's files: step 1 of run.sh.

See --help, and pbrec_hf/training/small/detector.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.small.detector")
