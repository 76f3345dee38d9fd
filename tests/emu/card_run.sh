#!/usr/bin/env bash
# Programs a customer would write run on the software card under Debian's own XRT: `leanpo xclbin build` makes the container, `leanpo
# devices --xrt-env` the environment, nothing else is special. Afterwards no process, temporary file or container is left.
# $LEANPO: the program. $EMU: the folder of the host programs, empty when there is no XRT.
set -uo pipefail
cd "$(dirname "$0")" || exit 2
[ -n "${LEANPO:-}" ] && [ -x "${EMU:-}/emu_card_native" ] || { echo "SKIP: no XRT in this build (scripts/packages install card)"; exit 77; }
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
export TMPDIR=$tmp/tmp; mkdir "$TMPDIR"
xrt=$("$LEANPO" devices --xrt-env) && eval "$xrt" || exit 1
failed=0 passed=0
result() { if [ "$1" = 0 ]; then passed=$((passed + 1)); echo "ok   $2"; else failed=$((failed + 1)); echo "FAIL $2"; sed 's/^/     /' "$tmp/log"; fi; }

"$LEANPO" xclbin build kernels/vadd.cpp kernels/plain.c kernels/timed.c --cus 2 --bank sum.a=1 --bank-mib 512 -o "$tmp/t.xclbin" \
    --kernel 'extern "C" void vadd(const int *a, const int *b, int *out, int n)' \
    --kernel 'void sum(const int *a, const int *b, int *out, int n)' \
    --kernel 'void scalars(double *out, float f, double d, uint64_t u, int64_t i, uint8_t small, int16_t minus, bool yes, unsigned n)' \
    --kernel 'void counter(int *out)' --kernel 'void mood(int what)' \
    --kernel 'void timed(const int *a, int *out, int n)' >"$tmp/log" 2>&1
result $? "build"
[ -z "$(ls -A "$TMPDIR")" ]; result $? "the build leaves nothing in TMPDIR"
"$LEANPO" xclbin check "$tmp/t.xclbin" >"$tmp/log" 2>&1; result $? "check"

native() { # case [NAME=VALUE]
    (cd "$tmp" && env ${2:+"$2"} timeout 60 "$EMU/emu_card_native" "$tmp/t.xclbin" "$1") >"$tmp/log" 2>&1
    result $? "native: $1${2:+ with $2}"
}
for c in stream large many scalars stale statics buffers banks registers hang sound; do native $c; done
native stale LEANPO_CARD_SHARED=1
for c in abort exit fault; do
    native $c
    grep -q 'leanpo-card: .*mood_1' "$tmp/log"; result $? "stderr names the compute unit after $c"
done
native flipped LEANPO_CARD_FAULTS=flip:sum_1@2
native late LEANPO_CARD_FAULTS=late:sum_1@1
native late LEANPO_CARD_FAULTS=hang:sum_1@1
native aborted LEANPO_CARD_FAULTS=abort:sum_1@1
native short LEANPO_CARD_FAULTS=short@1
native no_memory LEANPO_CARD_FAULTS=alloc@1
native refused LEANPO_CARD_FAULTS=load@1

# The trace: two runs with the clocks and bytes the kernel states, one transfer, nothing else; without a model, null.
native timed LEANPO_CARD_TRACE="$tmp/card.json"
native stream LEANPO_CARD_TRACE="$tmp/null.json"
python3 - "$tmp/card.json" "$tmp/null.json" >"$tmp/log" 2>&1 <<'P'
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1])]
runs = [l for l in lines if "kernel" in l]
assert len(runs) == 2 and len(lines) == 3, lines
for r in runs:
    assert (r["card"], r["kernel"], r["cu"], r["cycles"], r["clock_hz"], r["bytes"], r["banks"]) == \
        (0, "timed", "timed_1", 1009, 300000000, 8000, {"bank0": 8192}), r
    assert r["start_s"] > 0 and 0 < r["seconds"] < 10
assert lines[2]["dma"] == "d2h" and lines[2]["bytes"] == 4096 and lines[2]["bank"] == "bank0" and lines[2]["start_s"] >= runs[1]["start_s"]
assert all(l["cycles"] is None and l["bytes"] is None for l in map(json.loads, open(sys.argv[2])) if "kernel" in l)
P
result $? "the trace tells runs, transfers, clocks, bytes"

# A container whose shared object lacks the kernel it promises is refused, not crashed on.
python3 - "$tmp/t.xclbin" "$tmp/renamed.xclbin" <<'P' 2>"$tmp/log"
import sys
b = open(sys.argv[1], "rb").read()
open(sys.argv[2], "wb").write(b.replace(b"counter:counter_", b"sum:counter_\0\0\0\0").replace(b'"counter"', b'"counted"'))
P
(cd "$tmp" && timeout 60 "$EMU/emu_card_native" "$tmp/renamed.xclbin" stream) >"$tmp/log" 2>&1; [ $? -lt 124 ]; result $? "a tampered container does not kill the host by a signal"

if [ -x "$EMU/emu_card_opencl" ]; then
    for c in stream large many scalars buffers; do
        (cd "$tmp" && timeout 60 "$EMU/emu_card_opencl" "$tmp/t.xclbin" $c) >"$tmp/log" 2>&1; result $? "opencl: $c"
    done
else
    echo "SKIP opencl: no OpenCL headers or loader"
fi

# The host is killed while a kernel hangs: the card goes with it.
(cd "$tmp" && exec env LEANPO_CARD_FAULTS=hang:sum_1@1 "$EMU/emu_card_native" "$tmp/t.xclbin" sound) >"$tmp/log" 2>&1 & host=$!
for _ in $(seq 50); do card=$(pgrep -P $host -x leanpo-card) && break; sleep .1; done
kill -9 $host; wait $host 2>/dev/null
for _ in $(seq 50); do [ -n "${card:-}" ] && ! kill -0 "$card" 2>/dev/null && break; sleep .1; done
[ -n "${card:-}" ] && ! kill -0 "$card" 2>/dev/null; result $? "the card ends with a killed host"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
