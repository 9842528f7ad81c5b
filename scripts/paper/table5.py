"""Table 5 of the paper, measured. See --help, and pbrec_hf/training/paper/table5.py."""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.paper.table5", "to go on where it stopped")
