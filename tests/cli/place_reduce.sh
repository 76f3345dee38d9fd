#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# --place reduce=csim (the FPGA kernel in this process), where this build has the software card reduce=fpga, and where an
# OpenCL device is preprocess=opencl,reduce=opencl train to the same bytes as reduce=cpu: weights, optimizer and loss state,
# metrics. An objective the kernels do not have trains too, with one warning that names it.
set -euo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t"
[ -w "${XDG_CACHE_HOME:-$HOME/.cache}" ] || export XDG_CACHE_HOME="$t/cache" POCL_CACHE_DIR="$t/pocl"
opencl=
if "$LEANPO" devices | grep -q '^opencl '; then opencl=opencl; fi

"$LEANPO" world --out w --videos 3 --seed 5 >/dev/null
"$LEANPO" init --out m --size tiny --tokenizer w/tokenizer.json --seed 1 >/dev/null
sed 's/"question"/"prompt"/; s/"answer": "\([^"]*\)"/"chosen": "\1", "rejected": "it is not known", "grounding": 0.05/' \
    w/qa.train.jsonl > w/pairs.jsonl

train() { # RUN PLACE OBJECTIVE, more options
    local run=$1 place=$2 objective=$3
    shift 3
    [ "$place" != opencl ] || place=opencl,preprocess=opencl
    "$LEANPO" train --model m --data w/pairs.jsonl --objective "$objective" --out "$run" --lr 1e-3 --batch-size 2 \
        --accumulation 2 --max-steps 2 --limit 6 --eval-data w/pairs.jsonl --eval-steps 2 --place "reduce=$place" "$@" \
        >/dev/null 2>"$run.log" || { cat "$run.log"; exit 1; }
}

same() { # two runs
    for f in checkpoints/step-2/{model.safetensors,optimizer.safetensors,state.json} metrics.jsonl; do
        cmp "$1/$f" "$2/$f" || { echo "FAIL: $f of $2 differs"; exit 1; }
    done
}

i=0
while read -r objective options; do
    i=$((i + 1))
    # shellcheck disable=SC2086
    train "cpu$i" cpu "$objective" $options
    places=csim
    # Through OpenCL, and through XRT and the card's process: without and with weights of tokens, and two terms at once.
    case $objective in dpo | leanpo+*)
        places="csim $opencl"
        [ ! -e "${BUILD_DIR:-}/sim/leanpo-kernels.xclbin" ] || places="$places fpga"
        ;;
    esac
    for p in $places; do
        # shellcheck disable=SC2086
        train "$p$i" "$p" "$objective" $options
        same "cpu$i" "$p$i"
        if grep -qE "reduced on cpu|in process|warning" "$p$i.log"; then
            echo "FAIL: $objective did not stay on $p"
            cat "$p$i.log"
            exit 1
        fi
    done
done <<'END'
leanpo --smoothing margin
leanpo --smoothing fixed
leanpo --smoothing batch
leanpo --smoothing grounding
dpo --set ld_alpha=.3
simpo --label-smoothing .1
rpo
leanpo+1.0*sft
END

# The comparison can fail: another rule is another run.
if cmp -s cpu1/metrics.jsonl cpu2/metrics.jsonl; then echo "FAIL: the rule of smoothing changes nothing"; exit 1; fi

train cpu0 cpu aot
for p in csim $opencl; do
    train "${p}0" "$p" aot
    same cpu0 "${p}0"
    [ "$(grep -c "objective aot is reduced on cpu, not on $p.*none is done before the last" "${p}0.log")" = 1 ] ||
        { echo "FAIL: no single warning for aot"; cat "${p}0.log"; exit 1; }
done
echo "ok: csim${opencl:+ and opencl}"
