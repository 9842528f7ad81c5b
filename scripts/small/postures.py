"""A trained pbrec-mt-small that also sees who sits and who stands: a step of run.sh.

See --help, and pbrec_hf/training/small/postures.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.small.postures")
