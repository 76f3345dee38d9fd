#!/usr/bin/env bash
# Every public reference vector through the command line: loss and gradients within 1e-9 relative (helpers named value:* and the two
# objectives that are not offered aside). The file's inputs may name columns of its top-level batch: they are written out into each entry.
set -euo pipefail
cd "${1:-.}"
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 - "$LEANPO" tests/golden/objectives/vectors.json "$tmp/e.json" <<'P'
import json, subprocess, sys
leanpo, path, tmp = sys.argv[1:]
d = json.load(open(path))
skip = {"expo_regression_UNVERIFIED", "upo_literal"}
def close(a, b):
    if isinstance(b, list): return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b))
    return abs(a - b) <= 1e-9 * max(abs(b), 1e-3)
ran = bad = 0
for v in d["vectors"]:
    if v["objective"].startswith("value:") or v["objective"] in skip or "loss" not in v: continue
    inputs = v["inputs"]
    if isinstance(inputs, list): inputs = {k: d["batch"].get(k, d["tokens"].get(k)) for k in inputs}
    json.dump({"inputs": inputs, "hyper_parameters": v.get("hyper_parameters", {})}, open(tmp, "w"))
    p = subprocess.run([leanpo, "objective", v["objective"], "--input", tmp], capture_output=True, text=True)
    ran += 1
    if p.returncode:
        bad += 1; print(v["objective"], p.stderr.strip()); continue
    out = json.loads(p.stdout)
    if not close(out["loss"], v["loss"]) or any(not close(out["grads"][k], g) for k, g in v["grads"].items()):
        bad += 1; print(v["objective"], "differs")
print(f"{ran - bad} passed, {bad} failed")
sys.exit(bad > 0 or ran < 50)
P
