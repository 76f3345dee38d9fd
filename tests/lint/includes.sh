#!/usr/bin/env bash
# The include law: a folder includes itself, its arrows' targets and what those include; kernels/ and hls/ include nothing of host/ (hls/ may include kernels/); only one
# folder sees each foreign world. $1: the source tree.
set -uo pipefail
cd "${1:-.}" || exit 2
bad=0
fail() { echo "$1" >&2; bad=1; }

# folder: what it may include besides itself, base and include/leanpo (written out transitively)
declare -A may=(
    [base]="" [media]="base kernels" [text]="base" [tensor]="base kernels" [device]="base tensor kernels hls"
    [graph]="base tensor kernels hls device" [model]="base tensor kernels hls device graph" [align]="base kernels"
    [data]="base media kernels text tensor" [train]="base media kernels text tensor device graph model align data hls profile"
    [profile]="base tensor kernels hls device" [cli]="" [xclbin]="base" [kernels]="" [hls]="kernels" [sim]="hls base xclbin"
)
while IFS=: read -r file _ line; do
    case $file in
    host/include/*) folder=include ;;
    host/*) folder=${file#host/}; folder=${folder%%/*} ;;
    *) folder=${file%%/*} ;;
    esac
    target=$(sed -E 's/.*"([^"]+)".*/\1/' <<<"$line")
    case $target in
    leanpo/*) to=include ;;
    */*) to=${target%%/*} ;;
    *) to=$folder ;; # a neighbour
    esac
    [ "$to" = "$folder" ] && continue
    if [ "$to" = include ]; then
        case $folder in kernels | hls) fail "$file: $folder/ includes host/include ($target)" ;; esac
        continue
    fi
    [ "$folder" = include ] && { fail "$file: a public header includes an internal one ($target)"; continue; }
    [[ " ${may[$folder]:-} " == *" $to "* ]] || fail "$file: $folder/ may not include $to/ ($target)"
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"' --include='*.c' --include='*.h' host kernels hls sim 2>/dev/null)

only() { # pattern, the places that may (a regular expression)
    while read -r f; do [[ $f =~ ^($2) ]] || fail "$f: only $2 may include $1"; done < <(grep -rlE "#[[:space:]]*include[[:space:]]+<$1" --include='*.c' --include='*.h' host kernels hls sim 2>/dev/null)
}
only 'lib(av|sw)' host/media/
only 'cuda' host/device/cuda/
only 'xrt' 'host/device/fpga/|sim/'
only 'CL/' host/device/opencl/
exit $bad
