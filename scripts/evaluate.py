"""Evaluate a checkpoint on splits of a data set, or on a file of one's own; or score predictions again.

    1 GPU      python scripts/evaluate.py CHECKPOINT --dataset refcoco --refer_dir R --image_dir I --output_dir OUT
    N GPUs     accelerate launch --config_file hub_configs/accelerate/multi_gpu.yaml scripts/evaluate.py CHECKPOINT …
    CPU        python scripts/evaluate.py CHECKPOINT --cpu --data held_out.jsonl --output_dir OUT
    again      python scripts/evaluate.py --rescore OUT/predictions-val.jsonl --dataset refcoco --splits val …

As `pbrec-hf evaluate`. Writes OUT/predictions-SPLIT.jsonl (ids, box, run-length mask, score) and OUT/scores.json
(scores, SHA-256 of the predictions, what they were made with), and prints a table by split. box_oracle and mask_oracle
say what the best box, and the best of the 1,000 masks of the highest quality, would reach.
"""

from pbrec_hf.app.cli import run_script

if __name__ == "__main__":
    run_script("evaluate")
