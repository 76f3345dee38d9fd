#!/usr/bin/env bash
# House rules a reader relies on: no source file over 800 lines, an SPDX line first, clang-format clean. $1: the source tree.
set -uo pipefail
cd "${1:-.}" || exit 2
bad=0
mapfile -t files < <(find host kernels hls sim tests -name '*.[ch]' 2>/dev/null)
for f in "${files[@]}"; do
    n=$(wc -l <"$f")
    [ "$n" -le 800 ] || { echo "$f: $n lines, the ceiling is 800" >&2; bad=1; }
    head -1 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || { echo "$f: the first line is not the SPDX line" >&2; bad=1; }
done
if command -v clang-format >/dev/null; then
    clang-format --dry-run -Werror "${files[@]}" 2>&1 | grep -E 'error:' | cut -d: -f1 | sort -u | sed 's/$/: not formatted (clang-format -i)/' >&2
    [ "${PIPESTATUS[1]}" -ne 0 ] || bad=1
else
    echo "clang-format is not installed: formatting not checked" >&2
fi
exit $bad
