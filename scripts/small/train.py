"""The fusion encoder of pbrec-mt-small, phase by phase: step 4 of run.sh.

See --help, and pbrec_hf/training/small/train.py.
"""

from pbrec_hf.training.small.train import main

if __name__ == "__main__":
    main()
