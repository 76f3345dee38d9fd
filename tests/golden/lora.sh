#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# With torch, transformers and peft at hand (PYTHON names the interpreter): adapters go both ways, see lora.py.
set -euo pipefail
PYTHON=${PYTHON:-python3}
if ! "$PYTHON" -c 'import torch, transformers, peft, tokenizers' 2>/dev/null; then
    echo "skipped: $PYTHON has no torch, transformers, peft and tokenizers"
    exit 77
fi
[ -x "${LEANPO:-}" ] || { echo "skipped: no leanpo binary"; exit 77; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" "$1/tests/golden/lora.py" "$LEANPO" "$tmp"
