"""Scenes without pictures, for pbrec-mt-small: step 3 of run.sh.

See --help, and pbrec_hf/training/small/layouts.py.
"""

from pbrec_hf.training.small.layouts import main

if __name__ == "__main__":
    main()
