#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# leanpo profile as its user meets it: every stage of the flow is there once, every line with a figure says where it comes from,
# files are whole JSON, nothing but what was asked for stays, and tracing changes no result.
set -euo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t"
mkdir tmp
export TMPDIR=$t/tmp
fail() { echo "FAIL: $*"; exit 1; }

"$LEANPO" world --out w --videos 4 --seed 5 >/dev/null
"$LEANPO" init --out m --size tiny --tokenizer w/tokenizer.json --seed 1 >/dev/null
sed 's/"question"/"prompt"/; s/"answer": "\([^"]*\)"/"chosen": "\1", "rejected": "it is not known"/' w/qa.train.jsonl > w/pairs.jsonl
common=(--model m --data w/pairs.jsonl --batch-size 1 --accumulation 2 --cache 0)

"$LEANPO" profile "${common[@]}" --steps 3 --out p >text 2>log || { cat log; fail "profile"; }
for stage in patchify tokenize wait:data record forward reduce backward optimizer; do
    n=$(grep -cE "^\[measured\] $stage +cpu " text) || true
    [ "$n" = 1 ] || { cat text; fail "$stage is there $n times"; }
done
grep -q "3 steps, 3 before them left out" text || fail "not the steps asked for"
# All but the head of the table.
if grep -v '^ ' text | grep '[0-9]' | grep -vE '^\[(measured|modelled|emulated)\] '; then fail "figures of unknown origin"; fi
grep -qE '^\[modelled\] .*on a card' text || fail "no advice"
grep -q '^\[modelled\] never send logits' text || fail "no word about logits"
[ "$(ls p | tr '\n' ' ')" = "profile.json trace.json " ] || { ls p; fail "p holds something else"; }
[ -z "$(ls tmp)" ] || { ls tmp; fail "temporary files stay"; }

python3 - <<'P' || fail "the files are not what they should be"
import json
stages = {e["cat"] for e in json.load(open("p/trace.json"))["traceEvents"] if e["ph"] == "X"}
assert {"decode", "preprocess", "forward", "step"} <= stages, stages
profile = json.load(open("p/profile.json"))
assert len(profile["stages"]) > 7
def check(v):
    if isinstance(v, dict):
        assert "tag" in v or not any(type(x) in (int, float) for x in v.values()), v
        v = list(v.values())
    if isinstance(v, list):
        for x in v: check(x)
check(profile)
P

# The kept trace says the same again; as JSON too; without a step to look at it is taken whole.
"$LEANPO" profile --run p --steps 3 --no-roofline >again
grep -qE '^\[measured\] forward +cpu .*GFLOP/s' again && grep -q "3 steps, 7 before them" again || { cat again; fail "the kept trace"; }
"$LEANPO" profile --run p/trace.json --no-roofline --json >json
python3 -c 'import json; assert json.load(open("json"))["bound"]' || fail "--json"
"$LEANPO" profile --no-roofline -- prep w/videos/*.mp4 --out x.safetensors >text 2>log || { cat log; fail "profile -- prep"; }
grep -qE '^\[measured\] decode +cpu' text || { cat text; fail "prep has no decode"; }
"$LEANPO" profile "${common[@]}" --steps 1 --ops --no-roofline >text 2>/dev/null
grep -qE '^\[measured\] linear +cpu' text || fail "--ops"

# Kernels without hardware: their clock is emulation's, their model a line of its own; a software card's own trace is merged.
place=csim
if "$LEANPO" devices | grep '^fpga:0.*sw_emu' >/dev/null; then place=fpga; else echo "no software card: csim alone"; fi
"$LEANPO" profile "${common[@]}" --steps 2 --place preprocess=$place,reduce=$place --no-roofline --out card >text 2>log || { cat log; fail "--place"; }
grep -qE "^\[emulated\] reduce +$place" text || { cat text; fail "no emulated stage"; }
grep -qE "^\[modelled\] [a-z]+ +$place" text || { cat text; fail "no modelled stage"; }
grep -q '"preprocess_1"' card/trace.json && grep -q "modelled: $place" card/trace.json || fail "no modelled track"
[ $place = csim ] || grep -q '"emulated:fpga:0 (not hardware)"' card/trace.json || fail "the card's trace is not merged"

# The same bytes with and without a trace; a run without one has no file.
"$LEANPO" train "${common[@]}" --max-steps 3 --out r0 >/dev/null 2>&1
"$LEANPO" train "${common[@]}" --max-steps 3 --out r1 --trace stages >/dev/null 2>&1
cmp r0/checkpoints/step-3/model.safetensors r1/checkpoints/step-3/model.safetensors || fail "tracing changed the weights"
cmp r0/metrics.jsonl r1/metrics.jsonl || fail "tracing changed the metrics"
[ ! -e r0/trace.json ] && [ -s r1/trace.json ] || fail "trace.json where it does not belong"
"$LEANPO" profile --run r1 --no-roofline >/dev/null || fail "--run of a traced run"

# A run that was not traced still knows the parts of its steps.
"$LEANPO" profile --run r0 --no-roofline >text
grep -qE '^\[measured\] forward +cpu' text && grep -q '2 steps, 1 before' text || { cat text; fail "timing.jsonl"; }

# Mistakes are named.
expect() { # code, words, arguments...
    local code=$1 words=$2 rc=0
    shift 2
    "$LEANPO" profile "$@" >/dev/null 2>err || rc=$?
    [ $rc = "$code" ] || { cat err; fail "profile $*: exit $rc, not $code"; }
    grep -q -- "$words" err || { cat err; fail "profile $*: does not say \"$words\""; }
}
expect 1 "--trace stages" --run w
expect 1 "no model folder" --data w/pairs.jsonl
expect 2 "unknown option" --runn r0
expect 2 "no such command" -- nothing
expect 2 "unexpected argument" r1
echo '{"traceEvents":[{"ph":"X"}]}' > broken.json
expect 1 "event 0" --run broken.json
echo ok
