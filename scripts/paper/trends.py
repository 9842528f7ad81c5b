"""Tables 4 and 5 of the paper at small scale, with several seeds, as a page.

See --help, and pbrec_hf/training/paper/trends.py.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.paper.trends", "to go on from the last run that is done")
