#!/usr/bin/env bash
# What a card can do to a host, and what is left afterwards: timeouts, aborts, resets, poisoned outputs, two cards, buffers shared between
# processes, damaged containers, and 200 faults in a row in one process. $LEANPO: the program. $EMU: the folder of the host programs.
set -uo pipefail
cd "$(dirname "$0")" || exit 2
[ -n "${LEANPO:-}" ] && [ -x "${EMU:-}/emu_card_faults" ] || { echo "SKIP: no XRT in this build (scripts/packages install card)"; exit 77; }
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
export TMPDIR=$tmp/tmp; mkdir "$TMPDIR"
xrt=$("$LEANPO" devices --xrt-env) && eval "$xrt" || exit 1
failed=0 passed=0
result() { if [ "$1" = 0 ]; then passed=$((passed + 1)); echo "ok   $2"; else failed=$((failed + 1)); echo "FAIL $2"; tail -20 "$tmp/log" | sed 's/^/     /'; fi; }
host() { # case [NAME=VALUE...]
    (cd "$tmp" && env "${@:2}" timeout 120 "$EMU/emu_card_faults" "$tmp/t.xclbin" "$1") >"$tmp/log" 2>&1; result $? "$*"
}

"$LEANPO" xclbin build kernels/plain.c --cus 2 -o "$tmp/t.xclbin" --kernel 'void sum(const int *a, const int *b, int *out, int n)' \
    --kernel 'void counter(int *out)' --kernel 'void mood(int what)' >"$tmp/log" 2>&1
result $? "build"

host timeout LEANPO_CARD_TIMEOUT_MS=1500
grep -q 'mood_1: no end after 1500 ms' "$tmp/log"; result $? "stderr names the compute unit that hangs"
host reload
host poison LEANPO_CARD_TIMEOUT_MS=1500 LEANPO_CARD_POISON=1
host clean
host two LEANPO_CARD_COUNT=2
mkdir "$tmp/two" && sed 's/"NumDevices": "1"/"NumDevices": "2"/' "$EMCONFIG_PATH/emconfig.json" >"$tmp/two/emconfig.json"
host two EMCONFIG_PATH="$tmp/two"
host import

"${CXX:-c++}" -std=c++17 -isystem /usr/include/xrt run_abort.cpp -lxrt_coreutil -o "$tmp/run_abort" >"$tmp/log" 2>&1 &&
    (cd "$tmp" && timeout 60 ./run_abort "$tmp/t.xclbin") >"$tmp/log" 2>&1
result $? "xrt::run::abort"

# Damage that XRT's own reader passes on to the card (what it does not survive itself, leanpo xclbin check finds first): the shared object
# is none, a compute unit without a kernel, an argument outside the register map, no compute unit, a bank of 2^40 KiB, another mode.
python3 - "$tmp/t.xclbin" >"$tmp/log" 2>&1 <<'P'
import struct, sys
whole = open(sys.argv[1], "rb").read()
table = {struct.unpack_from("<I", whole, 456 + 40 * i)[0]: struct.unpack_from("<QQ", whole, 480 + 40 * i) for i in range(struct.unpack_from("<I", whole, 448)[0])}
def patched(at, new): return whole[:at] + new + whole[at + len(new):]
so, layout, memory = table[0][0], table[8][0], table[6][0]
bad = [patched(so, b"\x7fELG"), patched(so + 18, b"\x28"), patched(so + 64, bytes(512)), patched(layout + 8 + 16, b"pum:"),
       whole.replace(b'size="0x8" offset="0x10"', b'size="0x8" offset="9999"'), patched(layout, struct.pack("<i", 0)),
       patched(memory + 16, struct.pack("<Q", 1 << 40)), patched(332, b"\1")]
bad = [b for b in bad if b != whole]
assert len(bad) == 8
for i, b in enumerate(bad): open("%s.bad%d" % (sys.argv[1], i), "wb").write(b[:416] + bytes([i + 1]) + b[417:]) # another uuid
P
result $? "containers to refuse"
host damaged
for f in "$tmp"/t.xclbin.bad*; do "$LEANPO" xclbin check "$f" >"$tmp/log" 2>&1; [ $? -lt 2 ] || result 1 "check $f"; done

host leak
grep '200 faults' "$tmp/log" || true
[ -z "$(ls -A "$TMPDIR")" ]; result $? "nothing in TMPDIR"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
