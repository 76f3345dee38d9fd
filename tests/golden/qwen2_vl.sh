#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# With torch and transformers at hand (PYTHON names the interpreter): the committed golden is what transformers computes
# today, and transformers finds every tensor it wants, and no other, in a folder `leanpo init` made.
set -euo pipefail
PYTHON=${PYTHON:-python3}
if ! "$PYTHON" -c 'import torch, transformers, safetensors' 2>/dev/null; then
    echo "skipped: $PYTHON has no torch, transformers and safetensors"
    exit 77
fi
here=$1/tests/golden
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" "$here/qwen2_vl.py" "$tmp/golden"
"$PYTHON" - "$here/qwen2_vl/case.safetensors" "$tmp/golden/case.safetensors" <<'P'
import sys
from safetensors.torch import load_file
a, b = (load_file(p) for p in sys.argv[1:])
assert a.keys() == b.keys()
far = max((a[k].double() - b[k].double()).abs().max().item() for k in a)
print("largest difference from the committed golden:", far)
assert far < 1e-5
P
if [ -x "${LEANPO:-}" ]; then
    "$LEANPO" init --size tiny --out "$tmp/tiny"
    "$PYTHON" - "$tmp/tiny" <<'P'
import sys
from transformers import Qwen2VLForConditionalGeneration
model, info = Qwen2VLForConditionalGeneration.from_pretrained(sys.argv[1], output_loading_info=True)
print(sum(p.numel() for p in model.parameters()), "parameters", info)
assert not any(info.values())
P
fi
