"""The box detector of pbrec-mt-small, NanoDet-m from ncnn's files: step 1 of run.sh.

See --help, and pbrec_hf/training/small/detector.py.
"""

from pbrec_hf.training.small.detector import main

if __name__ == "__main__":
    main()
