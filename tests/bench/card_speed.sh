#!/usr/bin/env bash
# The software card under Debian's XRT: load, empty run, transfers. card_speed.sh [out.json], with the program as $LEANPO and the folder of
# the host programs as $EMU (build/default by default).
set -euo pipefail
cd "$(dirname "$0")/../.."
leanpo=${LEANPO:-build/default/leanpo} emu=${EMU:-build/default/emu}
[ -x "$emu/emu_card_speed" ] || { echo "card_speed: no XRT in this build (scripts/packages install card)" >&2; exit 77; }
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
xrt=$("$leanpo" devices --xrt-env) && eval "$xrt"
for cus in 1 2; do
    "$leanpo" xclbin build tests/emu/kernels/plain.c --kernel 'void mood(int what)' --cus $cus -o "$tmp/$cus.xclbin"
done
out=${1:-$tmp/card.json}
"$emu/emu_card_speed" "$tmp/2.xclbin" "$tmp/1.xclbin" "$out"
