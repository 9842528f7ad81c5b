"""The paper's trainings at full size, every row of Table 4 included, and what they start from.

See --help, and pbrec_hf/training/paper/train.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.paper.train", "to resume from the last checkpoint")
