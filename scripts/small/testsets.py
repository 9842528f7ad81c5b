"""Generated test sets for pbrec-mt-small: step 6 of run.sh.

See --help, and pbrec_hf/training/small/testsets.py.
"""

from pbrec_hf.training.small.testsets import main

if __name__ == "__main__":
    main()
