"""Figure 4 of the paper for given cases. See --help, and pbrec_hf/app/figure4.py."""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("app.figure4")
