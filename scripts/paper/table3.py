"""Table 3 of the paper, measured. See --help, and pbrec_hf/training/paper/table3.py."""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.paper.table3", "to go on where it stopped")
