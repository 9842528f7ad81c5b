"""Train the comprehension stage: the published recipes, or a checkpoint on data of one's own; as `pbrec-hf train`.

    1 GPU      python scripts/train.py --config pbrec-mt-refcoco --refer_dir R --image_dir I
    N GPUs     accelerate launch --config_file hub_configs/accelerate/multi_gpu.yaml scripts/train.py --config …
    CPU        python scripts/train.py --cpu --init CHECKPOINT --data my.jsonl --validation_data held_out.jsonl \
                   --output_dir runs/mine --batch_size 8
    N CPUs     ACCELERATE_USE_CPU=1 torchrun --nproc_per_node N scripts/train.py --cpu …

Every field of `TrainingConfig` is a flag (`--help`) and may be set in a YAML file; flags win. To resume after an
interruption, run the same command again. OUTPUT_DIR/last and OUTPUT_DIR/best are folders for `from_pretrained`.
"""

from pbrec_hf.app.cli import run_script

if __name__ == "__main__":
    run_script("train")
