#!/usr/bin/env bash
# The paper's figures of one data set, from nothing: data, detectors, proposals, training, evaluation, tables.
#   bash scripts/paper/reproduce.sh [--dry-run] DATASET GPUS [RUN]
# DATASET: refcoco, refcoco+, refcocog or referit. GPUS: processes, one GPU each. RUN: working folder, by default
#   runs/paper-DATASET.
# --dry-run: the same steps on a generated data set with tiny networks, on CPUs, in a minute or two; GPUS processes.
#
# Run the same command again after an interruption: steps that are done are left out (RUN/done/STEP; delete the file to
# have a step again), and the one that was interrupted goes on where it stopped.
#
# Disk (computed): 28 GB at the most while COCO's photographs are unpacked, 21 GB at the end: 13.5 of photographs, 0.1 of
#   annotations, below 0.1 of box proposals, 7 of the model's parts, checkpoints and results. The download checks sums and
#   free space first. Several data sets share the photographs: DATA=folder.
# Memory of a GPU (computed): 2.5 GB of weights, gradients and AdamW's moments, and the activations of the GPU's share of
#   64 pictures of 640 × 640, which grow with the share. If they do not fit: BATCH_PARTS=2, 4 …, with the same result.
# Hours: training passes 15 times over all expressions, a picture each: 1.8 million pictures of RefCOCO or RefCOCO+, 1.2
#   of RefCOCOg, 0.8 of ReferItGame. A million pictures are 2.8 hours at 100 pictures per second, of all GPUs together;
#   the log says how many it is and what is left. The rest is minutes, but for the download.
#
# For what the recipe leaves open: BOX_DETECTOR and MASK_DETECTOR (folders or Hub ids, such as converted FCOS and SOLO),
#   DATA (a folder that `pbrec-hf data` wrote), KINDS ("boxes masks" stores masks, too: megabytes per picture).
set -euo pipefail

# One function, which bash reads to its end before it starts: the file may change during a run of days.
main() {
    usage() { sed -n '2,5p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2; }
    dry=
    if [ "${1:-}" = --dry-run ]; then dry=yes; shift; fi
    [ $# -ge 2 ] && [ $# -le 3 ] || usage
    dataset=$1 gpus=$2
    run=${3:-runs/paper-$dataset${dry:+-dry}}
    case $dataset in
    refcoco) key=refcoco/unc config=pbrec-mt-refcoco splits="val testA testB" ;;
    refcoco+) key=refcoco+/unc config=pbrec-mt-refcocoplus splits="val testA testB" ;;
    refcocog) key=refcocog/umd config=pbrec-mt-refcocog-umd splits="val test" ;;
    referit) key=referit/berkeley config=pbrec-mt-referit splits="val test" ;;
    *) echo "DATASET=$dataset: give refcoco, refcoco+, refcocog or referit." >&2; exit 2 ;;
    esac
    case $gpus in
    '' | *[!0-9]* | 0) echo "GPUS=$gpus: give the number of processes, 1 or more." >&2; exit 2 ;;
    esac

    here=$(cd "$(dirname "$0")" && pwd)
    root=$(cd "$here/../.." && pwd)
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
    mkdir -p "$run/done"
    run=$(cd "$run" && pwd)
    data=${DATA:-$run/data}

    # step NAME COMMAND…: the command, unless it is done.
    step() {
        local name=$1; shift
        if [ -e "$run/done/$name" ]; then echo "$name: done" >&2; return; fi
        echo "$name: $*" >&2
        "$@"
        touch "$run/done/$name"
    }

    launched=()
    cpu=()
    if [ -n "$dry" ]; then
        step generated python "$here/dry_run.py" "$key" "$run/dry"
        data=$run/dry/data config=$run/dry/training.yaml images=$data/images
        one=(python) cpu=(--cpu) counts=(--no_check_counts) workers=(--num_workers 0)
        export HF_HUB_OFFLINE=1
        launched=(accelerate launch --config_file "$root/hub_configs/accelerate/multi_cpu.yaml" --num_processes "$gpus")
    else
        step data python -m pbrec_hf data "$dataset" --to "$data"
        images=$data/images/train2014
        [ "$dataset" != referit ] || images=$data/images/saiapr_tc-12
        counts=() workers=(--num_workers 8)
        launched=(accelerate launch --num_processes "$gpus" --num_machines 1 --mixed_precision no --dynamo_backend no)
        [ "$gpus" = 1 ] || launched+=(--multi_gpu)
        one=("${launched[@]}")
    fi
    where=(--refer_dir "$data" --image_dir "$images")
    asked=(--dataset "${key%/*}" --split_by "${key#*/}" "${where[@]}" "${counts[@]}" "${cpu[@]}")
    named=()
    [ -z "${BOX_DETECTOR:-}" ] || named+=(--box_detector "$BOX_DETECTOR")
    [ -z "${MASK_DETECTOR:-}" ] || named+=(--mask_detector "$MASK_DETECTOR")
    start=$run/start model=$run/model
    detectors=(--box_detector "$start/box_detector" --mask_detector "$start/mask_detector")

    # The untrained model with its parts and detectors in one folder: fetched once, and at hand for every process.
    step detectors python "$here/train.py" --config "$config" "${where[@]}" "${named[@]}" --start "$start"
    step proposals "${launched[@]}" -m pbrec_hf precompute "$start" "${asked[@]}" --splits $splits \
        --kinds ${KINDS:-boxes} "${workers[@]}" --out "$run/proposals"
    step training "${launched[@]}" "$here/train.py" --config "$config" "${where[@]}" "${detectors[@]}" \
        --proposals "$run/proposals" --gradient_accumulation_steps "${BATCH_PARTS:-1}" --output_dir "$model"
    step evaluation "${launched[@]}" -m pbrec_hf evaluate "$model/best" "${asked[@]}" --splits $splits \
        --proposals "$run/proposals" "${workers[@]}" --output_dir "$run/evaluation"
    echo "figures: $run/evaluation/scores.json" >&2

    # ReferItGame is in none of the paper's tables. Table 4 is of eight trainings: see train.py --variant and table4.py.
    [ "$dataset" != referit ] || return 0
    tables=("${where[@]}" "${counts[@]}" "${cpu[@]}" --out "$run/tables")
    step table1 "${one[@]}" "$here/table1.py" --detector "boxes" "$start/box_detector" all \
        --detector "masks" "$start/mask_detector" all --datasets "$key" "${tables[@]}"
    for table in 2 3; do
        step "table$table" "${one[@]}" "$here/table$table.py" --row PBREC-MT "$key=$model/best" "${tables[@]}" \
            "${workers[@]}"
    done
    step table5 "${one[@]}" "$here/table5.py" "$model/best" --dataset "$key" "${tables[@]}" "${workers[@]}"
    echo "tables: $run/tables/table*.md" >&2
}

main "$@"; exit
