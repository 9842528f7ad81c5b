"""What reproduce.sh --dry-run runs on: a generated data set and tiny networks.

See --help, and pbrec_hf/training/paper/dry_run.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.paper.dry_run")
