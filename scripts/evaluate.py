"""Evaluate a checkpoint on splits of a data set, or on a file of one's own; or score predictions again.

    1 GPU      python scripts/evaluate.py CHECKPOINT --dataset refcoco --refer_dir R --image_dir I --output_dir OUT
    N GPUs     accelerate launch --config_file hub_configs/accelerate/multi_gpu.yaml scripts/evaluate.py CHECKPOINT …
    CPU        python scripts/evaluate.py CHECKPOINT --cpu --data held_out.jsonl --output_dir OUT
    again      python scripts/evaluate.py --rescore OUT/predictions-val.jsonl --dataset refcoco --splits val …

As `pbrec-hf evaluate`. Writes OUT/predictions-SPLIT.jsonl (ids, boxes, run-length masks, scores), the diagram
OUT/reliability-SPLIT.svg and OUT/scores.json (scores, SHA-256 of the predictions, what they were made with), and
prints a table by split. docs/calibration.md says what each score is.
"""

from pbrec_hf.app.cli import run_script

if __name__ == "__main__":
    run_script("evaluate")
