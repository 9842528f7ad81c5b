"""Compute the proposals of all pictures of a data set once, for training and evaluation with --proposals.

    1 GPU      python scripts/precompute_proposals.py CHECKPOINT --dataset refcoco --refer_dir R --image_dir I --out D
    N GPUs     accelerate launch --config_file hub_configs/accelerate/multi_gpu.yaml scripts/precompute_proposals.py …
    CPU        python scripts/precompute_proposals.py CHECKPOINT --cpu --data my.jsonl --out D

As `pbrec-hf precompute`. Run it again to resume after an interruption, or to add the pictures of another data set.
"""

from pbrec_hf.app.cli import run_script

if __name__ == "__main__":
    run_script("precompute")
