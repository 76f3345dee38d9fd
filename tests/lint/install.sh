#!/usr/bin/env bash
# An installed LeanPO can be used by a stranger: `cmake --install` into a prefix, then a C program built through pkg-config and one through
# the CMake package both link and run. $BUILD_DIR: the build.
set -euo pipefail
[ -n "${BUILD_DIR:-}" ] || exit 77
if grep -q 'LEANPO_SANITIZE:STRING=.\+' "$BUILD_DIR/CMakeCache.txt"; then echo "sanitizer build: not installed"; exit 77; fi
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
cmake --install "$BUILD_DIR" --prefix "$tmp/usr" >/dev/null
cat >"$tmp/use.c" <<'C'
#include <leanpo/device.h>
#include <leanpo/objective.h>
#include <stdio.h>
int main(void) {
    lpo_device_desc d[8];
    printf("%d devices, first objective %s\n", lpo_device_list(d, 8), lpo_objective_at(0)->name);
    return lpo_objective_at(0) == 0;
}
C
export PKG_CONFIG_PATH=$(dirname "$(find "$tmp/usr" -name leanpo.pc)")
cc "$tmp/use.c" $(pkg-config --define-prefix --cflags --libs leanpo) -Wl,-rpath,"$(dirname "$(find "$tmp/usr" -name 'libleanpo.so')")" -o "$tmp/use-pc"
"$tmp/use-pc"
mkdir "$tmp/p"
cat >"$tmp/p/CMakeLists.txt" <<C
cmake_minimum_required(VERSION 3.25)
project(p C)
find_package(leanpo REQUIRED)
add_executable(use ../use.c)
target_link_libraries(use leanpo::leanpo)
C
cmake -G Ninja -S "$tmp/p" -B "$tmp/p/b" -DCMAKE_PREFIX_PATH="$tmp/usr" >/dev/null
cmake --build "$tmp/p/b" >/dev/null
"$tmp/p/b/use"
"$tmp/usr/bin/leanpo" --version
test -s "$tmp/usr/share/man/man1/leanpo.1"
test -s "$tmp/usr/share/bash-completion/completions/leanpo"
