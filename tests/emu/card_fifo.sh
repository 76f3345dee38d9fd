#!/usr/bin/env bash
# Bounded FIFOs: a kernel that deadlocks at depth 2 passes sequentially and at depth 64, and the deadlock is named; what the rewriter of
# DATAFLOW regions cannot keep exact is refused with its line. $LEANPO: the program. $EMU: the folder of the host programs.
set -uo pipefail
cd "$(dirname "$0")" || exit 2
[ -n "${LEANPO:-}" ] && [ -x "${EMU:-}/emu_card_fifo" ] || { echo "SKIP: no XRT in this build (scripts/packages install card)"; exit 77; }
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
export TMPDIR=$tmp/tmp; mkdir "$TMPDIR"
xrt=$("$LEANPO" devices --xrt-env) && eval "$xrt" || exit 1
failed=0 passed=0
result() { if [ "$1" = 0 ]; then passed=$((passed + 1)); echo "ok   $2"; else failed=$((failed + 1)); echo "FAIL $2"; tail -20 "$tmp/log" | sed 's/^/     /'; fi; }

build() { # name, flags...
    "$LEANPO" xclbin build kernels/fifo.cpp -o "$tmp/$1.xclbin" "${@:2}" --cus 2 --kernel 'void late(const int *in, int *out, int n)' \
        --kernel 'void many(const int *in, int *out, int n)' --kernel 'void rows(const int *in, int *out, int n)' --kernel 'void tally(int *out)' >"$tmp/log" 2>&1
    result $? "build $*"
}
run() { # container, kernel, n, expected
    [ "$(cd "$tmp" && timeout 60 "$EMU/emu_card_fifo" "$tmp/$1.xclbin" "$2" "$3" 2>"$tmp/log")" = "$4" ]; result $? "$1: $2 of $3 values: $4"
}
build sequential
build two --bounded-fifo
build deep --bounded-fifo --cflags -DDEPTH=64
run sequential late 50 "4 right"
run sequential tally 0 "4 right"
run deep late 50 "4 right"
run deep late 64 "4 right"
run deep late 65 "6 wrong"
run two late 2 "4 right"
run two late 3 "6 wrong"
grep -q 'produce: stream values is full (depth 2)' "$tmp/log" && grep -q 'consume: stream sum is empty (depth 2)' "$tmp/log"; result $? "the deadlock is named"
run two many 1001 "4 right"
run two rows 1000 "4 right"
run two tally 0 "4 right"
[ -z "$(ls -A "$TMPDIR")" ]; result $? "nothing in TMPDIR"

# What is refused, and where.
refused() { # place (or nothing), words of the message; the source on stdin
    cat >"$tmp/bad.${3:-cpp}"
    "$LEANPO" xclbin build "$tmp/bad.${3:-cpp}" --bounded-fifo -o "$tmp/bad.xclbin" --kernel 'void k(const int *in, int *out, int n)' >"$tmp/log" 2>&1
    local rc=$?
    [ $rc != 0 ] && [ ! -e "$tmp/bad.xclbin" ] && grep -q "$1.*$2" "$tmp/log"; result $? "refused: $2"
}
head='#include <hls_stream.h>
static void load(const int *in, hls::stream<int> &s, int n) { for (int i = 0; i < n; i++) s.write(in[i]); }
static void store(hls::stream<int> &s, int *out, int n) { for (int i = 0; i < n; i++) out[i] = s.read(); }
static void copy(const int *in, int *to, int n) { for (int i = 0; i < n; i++) to[i] = in[i]; }
static void count(const int *in, int &n) { n = in[0]; }
extern "C" void k(const int *in, int *out, int n) {'
refused bad.cpp:10: "declarations and calls only" <<<"$head
    hls::stream<int> s;
#pragma HLS DATAFLOW
    load(in, s, n);
    if (n) store(s, out, n);
}"
refused bad.cpp:10: "after a process" <<<"$head
    hls::stream<int> s;
#pragma HLS DATAFLOW
    load(in, s, n);
    n = n + 1;
    store(s, out, n);
}"
refused "" "is the channel of a DATAFLOW region" <<<"$head
    int channel[64];
#pragma HLS DATAFLOW
    copy(in, channel, n);
    copy(channel, out, n);
}"
refused "" "discards qualifiers" <<<"$head
    hls::stream<int> s; int m;
#pragma HLS DATAFLOW
    count(in, m);
    load(in, s, m);
    store(s, out, m);
}"
refused "" "STREAM pragma on what is not" <<<"$head
    int a[4];
#pragma HLS STREAM variable=a depth=4
#pragma HLS DATAFLOW
    copy(in, out, n);
}"
refused "" "channels of DATAFLOW in C are arrays" c <<<'void f(const int *in, int *out, int n) { *out = *in + n; }
void k(const int *in, int *out, int n) {
#pragma HLS DATAFLOW
    f(in, out, n);
}'
"$LEANPO" xclbin build kernels/plain.c --bounded-fifo -o "$tmp/bad.xclbin" --kernel 'void counter(int *out)' >"$tmp/log" 2>&1
[ $? != 0 ] && grep -q 'no DATAFLOW region' "$tmp/log"; result $? "refused: nothing to check"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
