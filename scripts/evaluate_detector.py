#!/usr/bin/env python
"""Box AP of a detector on a COCO annotation file and a folder of pictures (pycocotools' COCOeval).

    CPU      python scripts/evaluate_detector.py DETECTOR --annotations instances_val2017.json --images images/
    1 GPU    python scripts/evaluate_detector.py DETECTOR … --device cuda

`--help` explains the arguments.
"""

import sys

from pbrec_hf.training.detection.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
