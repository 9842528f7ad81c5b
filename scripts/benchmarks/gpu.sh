#!/usr/bin/env bash
# Speed of the full-size model on a GPU: one run of under eight minutes, without a network. See gpu.py for the rows.
#   bash scripts/benchmarks/gpu.sh [--wheels FOLDER] [--out FOLDER] [--seconds N] [--rows NAME …]
#   bash scripts/benchmarks/gpu.sh --cpu --tiny       # the same code on a CPU with small networks, in a minute
# --wheels: a folder of wheels with what the machine's own packages lack or have too old; they are unpacked into a
#   temporary folder and come first. All other options go to gpu.py.
# PYTHON names the interpreter (python3 by default).
set -euo pipefail

python=${PYTHON:-python3}
wheels=
options=()
while [ $# -gt 0 ]; do
    case $1 in
    --wheels)
        [ $# -ge 2 ] || { echo "--wheels: give a folder of wheels." >&2; exit 2; }
        wheels=$(cd "$2" && pwd)
        shift 2
        ;;
    --out) # of the caller's folder, which is left below
        [ $# -ge 2 ] || { echo "--out: give a folder." >&2; exit 2; }
        mkdir -p "$2"
        options+=(--out "$(cd "$2" && pwd)")
        shift 2
        ;;
    *)
        options+=("$1")
        shift
        ;;
    esac
done

cd "$(dirname "$0")/../.."
if [ -n "$wheels" ]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" \
        "$wheels"/*.whl
    PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
"$python" -m scripts.benchmarks.gpu "${options[@]}"
