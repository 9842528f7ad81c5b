"""Layouts in which persons differ by who sits and who stands: a step of run.sh.

See --help, and pbrec_hf/training/small/posed_layouts.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.small.posed_layouts")
