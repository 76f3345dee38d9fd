#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: pairs_scale.sh [N [pairs|generate]]. leanpo pairs, or generate, on a long file: N question lines (default 100,000) over 200 small videos, tiny model. Prints resident memory when a
# tenth, half and nearly all of the lines are written, and the most it was, the videos decoded, and the rate. LEANPO: the binary (default build/default/leanpo).
# Every video comes back every 1,100 lines or so, as in a file that is not sorted by video.
set -euo pipefail
n=${1:-100000} what=${2:-pairs}
leanpo=$(realpath "${LEANPO:-build/default/leanpo}")
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t"
"$leanpo" world --out w --videos 200 --seed 3 --size 112 --heldout 0 >/dev/null 2>&1
"$leanpo" init --out m --tokenizer w/tokenizer.json --seed 1 >/dev/null
python3 - "$n" <<'P'
import sys
lines = open("w/qa.train.jsonl").read().splitlines()
n = int(sys.argv[1])
with open("w/long.jsonl", "w") as f:
    for i in range(n):
        f.write(lines[i % len(lines)].replace('"id": "', f'"id": "{i // len(lines)}-').replace('"id":"', f'"id":"{i // len(lines)}-') + "\n")
P
declare -A options=([pairs]="--templates world --trust chrf --min-gap 0" [generate]="--temperature 1")
# shellcheck disable=SC2086
"$leanpo" "$what" --model m --data w/long.jsonl ${options[$what]} --max-tokens 8 --out p.jsonl --json >result.json 2>log &
pid=$!
python3 - $pid "$n" <<'P'
import json, sys, time
pid, n = sys.argv[1:]
rss, share = {}, 0
while True:
    try:
        now = int(open(f"/proc/{pid}/status").read().split("VmRSS:")[1].split()[0]) / 1024
    except (OSError, IndexError):  # it has ended
        break
    try:
        share = json.load(open("p.jsonl.partial/state.json"))["line"] / int(n)
    except (OSError, ValueError):  # not there yet, or moved already
        pass
    for at in (.1, .5, .99):
        if share >= at:
            rss.setdefault(at, now)
    rss["peak"] = max(now, rss.get("peak", 0))
    time.sleep(.2)
json.dump(rss, open("rss.json", "w"))
P
wait $pid || { cat log; exit 1; }
python3 - "$n" <<'P'
import json, sys
r, m, n = json.load(open("result.json")), json.load(open("rss.json")), int(sys.argv[1])
print(f"{n} lines, 200 videos: {r['seconds']:.1f} s, {r.get('questions_per_s', r.get('lines_per_s')):.1f} lines/s, {r['tokens_per_s']:.0f} new tokens/s, {r['videos_decoded']} videos decoded")
print("resident MiB: " + ", ".join(f"{m[k]:.1f} {'at most' if k == 'peak' else f'at {float(k):.0%}'}" for k in ("0.1", "0.5", "0.99", "peak") if k in m))
if "0.99" in m: print(f"growth from 10% to 99%: {100 * (m['0.99'] / m['0.1'] - 1):+.1f}%")
P
