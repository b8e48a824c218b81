#!/bin/bash
# All that needs a GPU, in under eight minutes: the parity tests, and how fast g4 is beside mlx-lm and
# mlx-vlm on the same device.
#
#     benchmarks/gpu.sh                      # takes the environment it runs in, or makes one
#     PYTHON=~/env/bin/python benchmarks/gpu.sh
#     G4_GPU_DRY=1 benchmarks/gpu.sh         # on a CPU, with the small checkpoints of the tests
#
# PYTHON   has g4's dependencies, MLX for the device, and pytest; without one that has, an environment is
#          made in FOLDER, which needs a package index. Default: python3
# VLM      the Python that has mlx-vlm. Default: PYTHON
# FOLDER   where checkpoints and results go: 40 GB. Default: ~/.cache/g4-gpu. What is there is kept.
# SECONDS_IN_ALL   460
# SHAPES   default: E2B-4bit 12B-4bit E2B-bf16 31B-4bit; those that the disk has no room for are left out
#
# Each step has a time limit and may fail without the rest. A table and a line of JSON at the end; the
# status is 0 if the tests passed and g4 was measured on every checkpoint.
set -u
cd "$(dirname "$0")/.." || exit 2
DRY=${G4_GPU_DRY:-}
FOLDER=${FOLDER:-${XDG_CACHE_HOME:-$HOME/.cache}/g4-gpu}
END=$((SECONDS + ${SECONDS_IN_ALL:-460}))
SHAPES=${SHAPES:-E2B-4bit 12B-4bit E2B-bf16 31B-4bit}
RESULTS=$FOLDER/results
export PYTHONPATH="$PWD" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
mkdir -p "$FOLDER" && rm -rf "$RESULTS" && mkdir -p "$RESULTS" || exit 2

say() { echo "[$SECONDS s] $*" >&2; }

# limited SECONDS COMMAND...: at most so long, and not beyond the end of all. macOS has no timeout(1).
limited() {
    local limit=$1 left=$((END - SECONDS))
    shift
    [ "$left" -lt "$limit" ] && limit=$left
    if [ "$limit" -lt 5 ]; then
        say "no time left for: $*"
        return 124
    fi
    python3 - "$limit" "$@" <<'PYTHON'
import os, signal, subprocess, sys
limit, command = float(sys.argv[1]), sys.argv[2:]
process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=os.setpgrp)
try:
    sys.exit(process.wait(limit))
except subprocess.TimeoutExpired:
    os.killpg(process.pid, signal.SIGKILL)
    print(f"ended after {limit:g} s: {' '.join(command)}", file=sys.stderr)
    sys.exit(124)
PYTHON
}

has() { "$1" -c "import $2" 2>/dev/null; }

# The environment.
PYTHON=${PYTHON:-python3}
if ! has "$PYTHON" "mlx.core, mlx_lm, tokenizers, typer, pytest"; then
    say "making an environment in $FOLDER/env"
    extra=test,cuda
    [ "$(uname)" = Darwin ] && extra="test"
    [ -n "$DRY" ] && extra=test,cpu
    python3 -m venv "$FOLDER/env" &&
        limited 180 "$FOLDER/env/bin/python" -m pip install -q -e ".[$extra]" mlx-vlm
    PYTHON=$FOLDER/env/bin/python
fi
VLM=${VLM:-$PYTHON}
has "$PYTHON" mlx.core || { say "$PYTHON cannot import MLX, and none could be installed"; exit 2; }
device=$("$PYTHON" -c "import mlx.core as mx; print(mx.default_device().type.name)")
if [ "$device" != gpu ] && [ -z "$DRY" ]; then
    say "MLX computes on the CPU here; G4_GPU_DRY=1 tries the script on it"
    exit 2
fi
[ "$(uname)" = Linux ] && [ -z "$DRY" ] && nvidia-smi -L >&2
say "$("$PYTHON" -c "import mlx.core as mx; print(mx.__version__, mx.device_info())")"

# Checkpoints of random numbers, written while the tests run.
list_of() {
    case $1 in
        E2B-bf16) echo E2B.google-hf-bf16 11 ;;
        E2B-4bit) echo E2B.mlx-community-4bit 4 ;;
        12B-4bit) echo 12B.mlx-community-4bit 7 ;;
        31B-4bit) echo 31B.mlx-community-4bit 19 ;;
        *) echo unknown 0 ;;
    esac
}
write_checkpoints() {
    local shape list size free
    for shape in $SHAPES; do
        [ -e "$FOLDER/$shape/.done" ] && continue
        if [ -n "$DRY" ]; then
            name=$(echo "${shape%-*}" | tr '[:upper:]' '[:lower:]')
            cp -R "fixtures/parity/checkpoints/$name" "$FOLDER/$shape" && touch "$FOLDER/$shape/.done"
            continue
        fi
        read -r list size <<< "$(list_of "$shape")"
        free=$(df -Pk "$FOLDER" | awk 'NR == 2 {print int($4 / 1000000)}')
        if [ "$free" -lt $((size + 3)) ]; then
            say "$shape: $size GB of disk needed, $free free"
            continue
        fi
        limited 150 "$PYTHON" benchmarks/random_checkpoint.py "$list" "$FOLDER/$shape" --repeat-noise \
            >&2 && touch "$FOLDER/$shape/.done"
    done
}
write_checkpoints &
writing=$!

say "parity tests"
limited 150 "$PYTHON" -m pytest -q -p no:cacheprovider -n "${JOBS:-4}" \
    tests/test_parity.py tests/engine/test_drafting.py > "$RESULTS/parity.txt" 2>&1
tests=$?
tail -n 3 "$RESULTS/parity.txt" >&2
wait "$writing"

# Each engine in turn on each checkpoint, in a process of its own.
status=$tests
prompts=(--prompts 512 2048)
[ -n "$DRY" ] && prompts=(--prompts 16 64 --out 8 --repeat 1)
for shape in $SHAPES; do
    [ -e "$FOLDER/$shape/.done" ] || continue
    for engine in g4 mlx-lm mlx-vlm; do
        python=$PYTHON
        [ "$engine" = mlx-vlm ] && python=$VLM
        out=$RESULTS/$shape.$engine
        say "$shape $engine"
        if ! limited 60 "$python" benchmarks/peers/device_rates.py "$engine" "$FOLDER/$shape" \
            "${prompts[@]}" > "$out.json" 2> "$out.err"; then
            : > "$out.json"
            tail -n 1 "$out.err" >&2
            [ "$engine" = g4 ] && status=1
        fi
    done
done

"$PYTHON" benchmarks/peers/device_table.py "$RESULTS" | tee "$RESULTS/table.md"
say "done; what failed said why in $RESULTS/*.err"
exit "$status"
