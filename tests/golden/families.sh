#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# With torch and transformers at hand (PYTHON names the interpreter): the committed figures are what transformers computes
# today; folders it saves load here and give them; folders saved here load there with nothing missing and equal logits.
# LEANPO_GOLDEN_FAST=1 leaves the first, a few minutes, out.
set -euo pipefail
PYTHON=${PYTHON:-python3}
if ! "$PYTHON" -c 'import torch, transformers, safetensors' 2>/dev/null; then
    echo "skipped: $PYTHON has no torch, transformers and safetensors"
    exit 77
fi
here=$1/tests/golden
test=$BUILD_DIR/test_model_families
if [ ! -x "$test" ]; then
    echo "skipped: $test is not built"
    exit 77
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m pip list 2>/dev/null | grep -iE '^(torch|transformers|safetensors|numpy) ' || true
mkdir "$tmp/folders"
"$PYTHON" "$here/families.py" --save "$tmp/folders"
LEANPO_FAMILIES_DIR=$tmp/folders "$test" --timeout 600
"$PYTHON" "$here/families.py" --check "$tmp/folders"
[ -n "${LEANPO_GOLDEN_FAST:-}" ] && exit 0
"$PYTHON" "$here/families.py" "$tmp/golden"
"$PYTHON" - "$here/families/families.json" "$tmp/golden/families.json" <<'P'
import json, sys
a, b = (json.load(open(p)) for p in sys.argv[1:])
assert [x["name"] for x in a] == [x["name"] for x in b]
far = 0
for x, y in zip(a, b):
    assert x["prompt"] == y["prompt"] and x["greedy"] == y["greedy"], x["name"]
    far = max([far] + [abs(u - v) for u, v in zip(x["logp"], y["logp"])])
print("largest difference of a log-probability from the committed figures:", far)
assert far < 1e-5
P
