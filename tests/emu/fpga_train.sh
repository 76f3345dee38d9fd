#!/usr/bin/env bash
# The two stages a card takes, as a user places them: prep and train on csim and on the software card under Debian's XRT, in an ordinary
# shell without any of XRT's variables, give the files that the CPU gives; also when the card fails on the way. Bad containers are refused
# with a reason. Nothing is left running. $LEANPO: the program.
set -uo pipefail
[ -n "${LEANPO:-}" ] || { echo "SKIP: no leanpo in this build"; exit 77; }
unset XILINX_XRT XCL_EMULATION_MODE EMCONFIG_PATH XRT_INI_PATH LEANPO_XCLBIN LEANPO_CARD_FAULTS LEANPO_FPGA_TIMEOUT_MS
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 2
failed=0 passed=0
result() { if [ "$1" = 0 ]; then passed=$((passed + 1)); echo "ok   $2"; else failed=$((failed + 1)); echo "FAIL $2"; sed 's/^/     /' log; fi; }
card=fpga
"$LEANPO" devices >log 2>&1; result $? "devices"
grep -q '^csim ' log; result $? "devices lists csim"
if ! grep -q '^fpga:0 ' log; then
    grep -q ' fpga: ' log; result $? "devices says why there is no card"
    echo "SKIP the card: $(grep ' fpga: ' log)"
    card=
fi

"$LEANPO" world --out w --videos 6 --seed 2 --size 112 >log 2>&1 && "$LEANPO" init m --size tiny --tokenizer w/tokenizer.json >>log 2>&1
result $? "world and model"
video=$(ls w/videos/* | head -1)

prep() { "$LEANPO" prep "$video" --augment crop=.5..8,flip,blur=1.5,noise=8,seed=3 --place "$1" --out "$1.safetensors" >log 2>&1; }
for place in cpu csim $card; do prep $place; result $? "prep on $place"; done
for place in csim $card; do cmp cpu.safetensors $place.safetensors >log 2>&1; result $? "prep on $place: the CPU's bytes"; done
"$LEANPO" prep "$video" --place gpu7 >log 2>&1; [ $? = 2 ] && grep -q 'csim, fpga' log; result $? "an unknown place is bad usage, and the known ones are named"

# Pairs: the held-out questions with the answer of another question as the rejected one.
python3 - <<'P' >log 2>&1
import json
rows = [json.loads(l) for l in open("w/qa.train.jsonl")][:12]
key = "answer" if "answer" in rows[0] else "chosen"
with open("pairs.jsonl", "w") as f:
    for i, r in enumerate(rows):
        other = rows[(i + 5) % len(rows)][key]
        f.write(json.dumps({**{k: v for k, v in r.items() if k != key}, "chosen": r[key], "rejected": other + " no"}) + "\n")
P
result $? "pairs"
sed -i 's#"video": "\([^/]\)#"video": "w/\1#' pairs.jsonl
train() { # name place
    "$LEANPO" train --model m --data pairs.jsonl --objective simpo --max-steps 3 --batch-size 4 --seed 1 --place "$2" --out "$1" >log 2>&1
}
train cpu cpu; result $? "train on the CPU"
same() { cmp cpu/metrics.jsonl "$1/metrics.jsonl" >>log 2>&1 && cmp cpu/checkpoints/step-3/model.safetensors "$1/checkpoints/step-3/model.safetensors" >>log 2>&1; }
for place in csim $card; do
    train $place "preprocess=$place,reduce=$place"; result $? "train with both stages on $place"
    same $place; result $? "train with both stages on $place: the same weights and metrics"
done
if [ -n "$card" ]; then
    train mixed preprocess=csim,reduce=fpga; result $? "each stage on a device of its own"
    same mixed; result $? "each stage on a device of its own: the same weights and metrics"
fi
train nowhere preprocess=ref; [ $? != 0 ] && grep -q 'csim, fpga' log; result $? "preprocess on ref is refused"

if [ -n "$card" ]; then
    i=0
    for faults in 'abort:preprocess_1@*' 'hang:reward_reduce_1@2' 'abort:reward_reduce_1@1,load@2' 'alloc@20'; do
        i=$((i + 1))
        LEANPO_FPGA_TIMEOUT_MS=1000 LEANPO_CARD_FAULTS=$faults train "f$i" preprocess=fpga,reduce=fpga; result $? "train with $faults"
        same "f$i"; result $? "train with $faults: the same weights and metrics"
        grep -q 'card 0' log && [ "$(grep -c '^warning:' log)" -le 1 ]; result $? "train with $faults: it is told, with one warning at most"
        tail -1 "f$i/timing.jsonl" | grep -q '"fpga/\(retries\|fallbacks\)": *[1-9]'; result $? "train with $faults: it is counted"
    done
    LEANPO_CARD_FAULTS=load@1 train load preprocess=fpga; [ $? = 1 ] && grep -q 'does not load' log; result $? "a container that never loads is a stated error"
    container=$("$LEANPO" devices --xrt-env | sed -n "s#^export EMCONFIG_PATH='\(.*\)/env'#\1/leanpo-kernels.xclbin#p")
    head -c 5000 "$container" >cut.xclbin
    "$LEANPO" prep "$video" --place fpga --xclbin cut.xclbin >log 2>&1; [ $? = 1 ] && grep -q 'cut.xclbin' log; result $? "a truncated container is refused by name"
    sed 's/horz_stride/horz_strode/' "$container" >other.xclbin
    "$LEANPO" prep "$video" --place fpga --xclbin other.xclbin >log 2>&1; [ $? = 1 ] && grep -q 'horz_strode' log; result $? "a container of other sources is refused"
    (eval "$("$LEANPO" devices --xrt-env)"; "$LEANPO" prep "$video" --place fpga --out e.safetensors) >log 2>&1; result $? "with the environment set by hand"
    LEANPO_CARD_COUNT=2 "$LEANPO" prep "$video" --place fpga >log 2>&1; result $? "two cards"
    XCL_EMULATION_MODE=hw_emu "$LEANPO" prep "$video" --place fpga >log 2>&1; [ $? = 1 ] && grep -q 'XCL_EMULATION_MODE' log; result $? "hw_emu is refused"
    [ -z "$(ls | grep -v -e safetensors -e xclbin -e jsonl -e log -e '^[wmf]' -e cpu -e csim -e fpga -e load -e nowhere -e mixed)" ]; result $? "XRT leaves no files where it ran"
    ! pgrep -f "$container" >/dev/null; result $? "no process is left"
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
