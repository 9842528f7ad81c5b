"""Photographs and composed scenes as stored feature maps, for pbrec-mt-small: step 2 of run.sh.

See --help, and pbrec_hf/training/small/pool.py.
"""

from pbrec_hf.training.small.pool import main

if __name__ == "__main__":
    main()
