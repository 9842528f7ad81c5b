#!/usr/bin/env python
"""Box AP of a detector on a COCO annotation file and a folder of pictures (pycocotools' COCOeval).

    CPU      python scripts/evaluate_detector.py DETECTOR --annotations instances_val2017.json --images images/
    1 GPU    python scripts/evaluate_detector.py DETECTOR … --device cuda

`--help` explains the arguments.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.detection.evaluate")
