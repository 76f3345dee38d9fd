#!/usr/bin/env bash
# Every bitstreams/CARD/link.cfg fits hls/abi.def: each sp= names a unit of an nk= line and a buffer argument of its kernel, each buffer
# argument of each unit is connected once, ports of one bundle lead to one memory, memories and regions exist on the card, and no HBM card
# has more than 32 ports. The v++ commands name files that exist, and what they compile is C++14. A manifest tells its container from
# another. $1: the source tree.
set -uo pipefail
cd "${1:-.}" || exit 2
bad=0
fail() { echo "$1" >&2; bad=1; }
# card, regions, DDR banks, HBM channels
check_card() {
    awk -F= -v card="$1" -v n_slr="$2" -v n_ddr="$3" -v n_hbm="$4" '
    function fail(what) { printf "bitstreams/%s/link.cfg: %s\n", card, what > "/dev/stderr"; bad = 1 }
    FNR == NR {
        if (match($0, /^HLS_(ARG|LAST)\(/)) {
            split(substr($0, RLENGTH + 1), col, /, *|\)/)
            if (col[4] == "GLOBAL") bundle[col[1] "." col[2]] = col[6]
        }
        next
    }
    $1 == "platform" && $2 !~ "^xilinx_" card "_" { fail("the platform is another card: " $2) }
    $1 == "nk" { split($2, p, ":"); kernels[p[1]]; for (i = 1; i <= p[2]; i++) unit[p[1] "_" i] = p[1] }
    $1 == "slr" {
        split($2, p, ":")
        if (!(p[1] in unit)) fail("slr= of an unknown unit: " p[1])
        if (p[2] !~ /^SLR[0-9]$/ || substr(p[2], 4) + 0 >= n_slr) fail("no such region: " p[2])
        placed[p[1]]++
    }
    $1 == "sp" {
        at = index($2, ":"); name = substr($2, 1, at - 1); memory = substr($2, at + 1)
        split(name, p, "."); key = unit[p[1]] "." p[2]
        if (!(p[1] in unit)) fail("sp= of an unknown unit: " name)
        else if (!(key in bundle)) fail("not a buffer argument in hls/abi.def: " name)
        if (connected[name]++) fail("connected twice: " name)
        kind = substr(memory, 1, index(memory, "[") - 1); range = memory; gsub(/^[A-Z]+\[|\]$/, "", range)
        n = split(range, r, ":"); last = r[n] + 0; limit = kind == "DDR" ? n_ddr : kind == "HBM" ? n_hbm : 0
        if (memory !~ /^[A-Z]+\[[0-9]+(:[0-9]+)?\]$/ || last >= limit || r[1] + 0 > last) fail("no such memory: " memory)
        port = p[1] "." bundle[key]
        if (port in leads && leads[port] != memory) fail("port " port " leads to " leads[port] " and to " memory)
        leads[port] = memory
        if (kind == "HBM") on_hbm[port]
    }
    END {
        for (u in unit) {
            if (placed[u] != 1) fail(u " has no one region")
            for (b in bundle) { split(b, p, "."); if (p[1] == unit[u] && !((u "." p[2]) in connected)) fail("not connected: " u "." p[2]) }
        }
        for (port in on_hbm) ports++
        if (ports + 1 > 32) fail(ports " ports and the host on an HBM of 32")
        if (!("preprocess" in kernels) || !("reward_reduce" in kernels)) fail("the kernels that training places are not both there")
        exit bad
    }' hls/abi.def "$5" 2>&1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for c in u250:4:4:0 u280:3:2:32 u55c:3:0:32; do
    IFS=: read -r card slr ddr hbm <<<"$c"
    config=bitstreams/$card/link.cfg
    told=$(check_card "$card" "$slr" "$ddr" "$hbm" "$config") || fail "$told"
    # The check itself: each line but comments matters.
    for change in '/plane0/d' 's/_1\.rgb/_1.rgbx/' 's/(_1\.coef:[A-Z]+)\[[0-9]+\]/\1[32]/' 's/=preprocess:2/=preprocess:3/' 's/:SLR0/:SLR7/' \
        's/(_1\.levels:[A-Z]+)\[[0-9]+\]/\1[1]/' 's/^platform=xilinx_u/&x/'; do
        sed -E "$change" "$config" >"$work/link.cfg"
        check_card "$card" "$slr" "$ddr" "$hbm" "$work/link.cfg" >/dev/null && fail "$config: not noticed: $change"
    done
    platform=$(sed -n 's/^platform=//p' "$config")
    grep -q "\"Name\": \"$platform\"" "bitstreams/$card/emconfig.json" || fail "bitstreams/$card/emconfig.json: not for $platform"
    # The commands, but for v++ itself: what they compile is there and is C++.
    bitstreams/build "$card" --dry-run --out "$work/$card" >"$work/commands" || fail "bitstreams/build $card --dry-run"
    [ "$(grep -c '^v++ -c ' "$work/commands")" = 2 ] && [ "$(grep -c '^v++ -l ' "$work/commands")" = 1 ] || fail "bitstreams/build $card: not two kernels and a link"
done
mkdir "$work/u55c" && grep '^printf' "$work/commands" | bash || fail "bitstreams/build: cannot write the sources"
for k in preprocess reward_reduce; do
    g++ -std=c++14 -I. -D__SYNTHESIS__ -Wno-unknown-pragmas -fsyntax-only "$work/u55c/$k.cpp" || fail "$k.cpp, as v++ gets it: not C++14"
done
bitstreams/build u99 --dry-run 2>/dev/null && fail "bitstreams/build takes an unknown card"
[ -z "$(git ls-files 2>/dev/null | grep -E '\.(xclbin|xo|xsa|bit)$' | grep -v '^tests/')" ] || fail "a binary is kept in the repository"

if [ -z "${LEANPO:-}" ]; then
    echo "leanpo is not built: manifests not tried"
elif echo 'void one(int *out) { *out = 1; }' >"$work/one.c" &&
    "$LEANPO" xclbin build "$work/one.c" --kernel 'void one(int *out)' -o "$work/a.xclbin" &&
    "$LEANPO" xclbin build "$work/one.c" --kernel 'void one(int *out)' --cus 2 -o "$work/b.xclbin"; then
    bitstreams/manifest write "$work/a.xclbin" >"$work/a.json" || fail "no manifest"
    bitstreams/manifest check "$work/a.json" "$work/a.xclbin" || fail "a manifest does not know its own container"
    bitstreams/manifest check "$work/a.json" "$work/b.xclbin" 2>/dev/null && fail "a manifest takes another container for its own"
    head -c 300 "$work/a.xclbin" >"$work/short.xclbin"
    bitstreams/manifest check "$work/a.json" "$work/short.xclbin" 2>/dev/null && fail "a manifest takes a truncated container"
else
    fail "leanpo xclbin build"
fi
exit $bad
