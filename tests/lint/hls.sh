#!/usr/bin/env bash
# The synthesizability checker rejects each construct of tests/lint-bad for its own reason and no other, accepts its legal siblings of
# tests/lint-good and all of hls/, and finds what is wrong when a real kernel is broken; and the kernels are C11 and C++14 with the
# flags that Vitis HLS gives its front end. $1: the source tree.
set -uo pipefail
root=$(realpath "${1:-.}")
check=${BUILD_DIR:-build/default}/hls-check
[ -x "$check" ] || { echo "skipped: $check is not built"; exit 77; }
command -v "${CLANG:-clang}" >/dev/null || { echo "skipped: clang is not installed (scripts/packages install test)"; exit 77; }
cd "$root" || exit 2
bad=0
fail() { echo "$1" >&2; bad=1; }
rules() { sed -nE 's/^[^:]+:[0-9]+: ([a-z0-9-]+): .+: .+/\1/p' | sort -u | tr '\n' ' '; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
for f in tests/lint-bad/*.c*; do
    want=$(sed -nE 's|^/\* rejects: ([a-z0-9-]+) \*/|\1|p' "$f")
    told=$("$check" "$f") && fail "$f: accepted"
    [ "$(rules <<<"$told")" = "$want " ] || fail "$f: expected \"$want\" alone, but: $told"
    n=$((n + 1))
done
[ $n -ge 25 ] || fail "only $n files in tests/lint-bad"
for f in tests/lint-good/*.c*; do
    told=$("$check" "$f") || fail "$f: rejected: $told"
done
told=$("$check") || fail "hls/ is rejected: $told"
sed -n '/^    \/\/ vadd.cpp/,/^    }$/p' docs/fpga.md >"$work/vadd.cpp"
grep -q vadd "$work/vadd.cpp" && "$check" "$work/vadd.cpp" || fail "the kernel of docs/fpga.md is rejected"
"$check" /nonexistent.c 2>/dev/null
[ $? = 2 ] || fail "a file that is not there is not a usage error"
"$check" --nonsense 2>/dev/null
[ $? = 2 ] || fail "an unknown option is not a usage error"
CLANG=/nonexistent "$check" tests/lint-good/loops.c 2>/dev/null
[ $? = 77 ] || fail "without clang the checker does not skip"

# Break a kernel: a file of it, the one rule that must name this file, a sed script.
cp -r hls kernels "$work/"
ways=0
breaks() {
    local kernel=${1%/*}
    local files=("hls/$kernel/$kernel.c")
    [[ $1 == *_top.cpp ]] && files+=("hls/$1")
    sed -E "$3" "hls/$1" >"$work/hls/$1"
    cmp -s "hls/$1" "$work/hls/$1" && fail "hls/$1: \"$3\" changes nothing"
    told=$(cd "$work" && "$check" "${files[@]}") && fail "hls/$1 broken by \"$3\" is accepted"
    [ "$(rules <<<"$told")" = "$2 " ] && grep -q "^hls/$1:[0-9]" <<<"$told" || fail "hls/$1, \"$3\": expected $2 alone, but: $told"
    cp "hls/$1" "$work/hls/$1"
    ways=$((ways + 1))
}
f=frame_score/frame_score.c
breaks $f recursion 's/^( +)uint64_t sad = 0;/&\n\1sad = count(bins, rgb, previous, n_pixels, has_previous);/'
breaks $f alloc 's/^( +)HLS_STAGE\(COUNT\);/&\n\1__builtin_alloca(64);/'
breaks $f os-call 's/[a-z_]+log\(\(double\)k\)/__builtin_log((double)k)/'
breaks $f undefined-call 's/^static void clear\(counts bins\) \{/uint64_t missing(void);\n&/; s/uint64_t sad = 0;/uint64_t sad = missing();/'
breaks $f goto 's/^( +)HLS_STAGE\(COUNT\);/&\n\1goto entropy;/; s/^( +)HLS_STAGE\(ENTROPY\);/entropy:;/; s/uint64_t sad = count\(.*/count(bins, rgb, previous, n_pixels, has_previous);/; s/\(double\)sad/(double)1/'
breaks $f function-pointer 's/^( +)HLS_STAGE\(COUNT\);/&\n\1void (*run)(counts) = clear;/; s/clear\(bins\);/run(bins);/'
breaks $f vla 's/uint64_t sad = 0;/uint64_t many[n_pixels]; many[0] = 0; &/'
breaks $f dependence 's/ distance = 4 true/ distance = 4/'
breaks $f tripcount 's/LOOP_TRIPCOUNT max = /LOOP_TRIPCOUNT min = /'
breaks $f option-unknown 's/PIPELINE II = 8/PIPELINE interval = 8/'
breaks $f option-value 's/PIPELINE II = 8/PIPELINE II = LANES/'
breaks $f pragma-unknown 's/HLS UNROLL/HLS UNROL/'
breaks $f interface-place 's/^( +)HLS_STAGE\(COUNT\);/&\n#pragma HLS INTERFACE s_axilite port = return/'
p=preprocess/preprocess.c
breaks $p dataflow-loop 's/(i < n_steps; )i\+\+/\1i += 2/'
breaks $p dataflow-consumer 's/s\[WRITE_RGB\]/s[FINISH]/'
breaks $p dataflow-conditional 's/^( +)(write_rgb\(rgb, done)/\1if (want_rgb) \2/'
breaks preprocess/preprocess_top.cpp m-axi 's/port = plane0 (.*) max_widen_bitwidth = 512/port = plane0 \1/'
breaks preprocess/preprocess_top.cpp bundle 's/bundle = gmem1 /bundle = gmem0 /'
[ $ways -ge 10 ] || fail "only $ways ways of breaking a kernel"

# The C++ front end of the tools is C++14 and synthesises with this macro; a kernel may not need what only one language has.
strict="-Wall -Wextra -Werror -Wno-unknown-pragmas -Wno-unused-function -D__SYNTHESIS__ -D__VITIS_HLS__ -I. -fsyntax-only -ffreestanding"
for f in hls/*/*_top.cpp; do
    for compiler in g++ clang++; do
        command -v $compiler >/dev/null || { echo "$compiler is not installed: not tried"; continue; }
        $compiler -std=c++14 $strict "$f" || fail "$f: $compiler"
        $compiler -x c++ -std=c++14 $strict "${f%_top.cpp}.c" || fail "${f%_top.cpp}.c: $compiler"
    done
    gcc -std=c11 $strict "${f%_top.cpp}.c" || fail "${f%_top.cpp}.c: not C11"
done
exit $bad
