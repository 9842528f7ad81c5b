"""Fit what the scores of a checkpoint mean, on held-out data with single, plural and absent expressions.

    python scripts/calibrate.py CHECKPOINT --data held_out.jsonl                    # writes into CHECKPOINT
    python scripts/calibrate.py CHECKPOINT --data held_out.jsonl --out calibrated   # writes a calibrated copy
    python scripts/calibrate.py CHECKPOINT --dataset grefcoco --split val --refer_dir R --image_dir I

As `pbrec-hf calibrate`. Afterwards, of answers with score s about a share s is right, and threshold="auto" is the
score from which an answer of `referents="any"` counts. Prints what each half of the pictures reaches with the
calibration of the other half.
"""

from pbrec_hf.app.cli import run_script

if __name__ == "__main__":
    run_script("calibrate")
