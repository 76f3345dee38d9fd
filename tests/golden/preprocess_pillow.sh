#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The full comparison of the resize with Pillow and torchvision: 0 bytes may differ. Takes the source tree; skips with
# the reason where Python's side is missing (Debian's own interpreter has it: python3-pil python3-numpy
# python3-torchvision).
set -eu
source=${1:?usage: preprocess_pillow.sh SOURCE_DIR}
for python in "${PYTHON:-}" /usr/bin/python3 python3; do
  if [ -n "$python" ] && "$python" -c 'import numpy, PIL' 2>/dev/null; then
    exec "$python" "$source/tests/golden/preprocess_pillow.py" "$source" "${N_PAIRS:-220}"
  fi
done
echo "skipped: no Python with numpy and Pillow (apt-get install python3-pil python3-numpy python3-torchvision)"
exit 77
