#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# scripts/gpu-check, which is written for machines that are rarely at hand, runs through on any device: a step whole and by adapters, equal
# bits in two processes, the FLOP of its formula those of the tape, a table and JSON. A device that does not exist is status 77, in words.
set -euo pipefail
export OMP_WAIT_POLICY=passive
[ -x "$BUILD_DIR/bench_gpu_step" ] || { echo "skipped: bench_gpu_step is not built (LEANPO_BENCH)"; exit 77; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
check() { "$root/scripts/gpu-check" --no-build --build "$BUILD_DIR" --out "$t/out.json" --rounds 2 --skip tests,ceilings,peer "$@" > "$t/log" 2>&1; }
root=$1
rc=0; check --device nowhere --shapes tiny || rc=$?
[ $rc = 77 ] && grep -q 'no device "nowhere" here' "$t/log" || { cat "$t/log"; echo "expected 77, got $rc"; exit 1; }
check --device cpu --cases tiny:full,tiny:lora:keep --rank 4 --dtype f32 || { cat "$t/log"; exit 1; }
grep -q '^tiny:lora:keep ' "$t/log" || { cat "$t/log"; exit 1; }
python3 - "$t/out.json" <<'P'
import json, sys
r = json.load(open(sys.argv[1]))
assert r["sections"]["bits"]["status"].startswith("ok") and r["sections"]["steps"]["status"] == "ok, 2 cases", r["sections"]
for s in r["steps"]:
    assert s["ours_seconds"]["n"] == 2 and s["ours_peak_bytes"] > 0, s["case"]
    assert abs(s["useful_flops"] / s["profile"]["useful_flops"] - 1) < 0.1, s["case"]
    assert s["ours_steps"][0]["loss"] < 0.7072 and s["ours_steps"][0]["grad_norm"] > 0.1, s["ours_steps"][0]
P
