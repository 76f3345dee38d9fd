#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fresh golden lines from the reference library against our tokenizer: $LEANPO_GOLDEN_LINES of them (20000), new seed by
# $LEANPO_GOLDEN_SEED, and every character of Unicode. $PYTHON must have `tokenizers`; without it this skips (77).
set -eu
root=$1
python=${PYTHON:-python3}
test=$BUILD_DIR/test_text_tokenizer
if ! "$python" -c 'import tokenizers' 2>/dev/null; then
    echo "skipped: $python has no module tokenizers (pip install tokenizers, or set PYTHON)"
    exit 77
fi
if [ ! -x "$test" ]; then
    echo "skipped: $test is not built"
    exit 77
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$python" "$root/tests/golden/tokenizer.py" "$out" --lines "${LEANPO_GOLDEN_LINES:-20000}" \
    --seed "${LEANPO_GOLDEN_SEED:-2}" --all-characters
LEANPO_TOKENIZER_GOLDEN=$out "$test" --timeout 600
