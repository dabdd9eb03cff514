#!/usr/bin/env bash
# The reproduction report: tables and figures from results/, then the PDF.
#   scripts/paper.sh            makes paper/generated and paper/report.pdf
#   scripts/paper.sh --pdf      only the PDF, from the committed paper/generated (needs no Rust)
# Typst comes from PyPI into runs/paper-venv, once; it brings its fonts, and the figures use the font of crates/eval/assets.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" != "--pdf" ]; then
  cargo run --release --locked -- report
fi

venv=runs/paper-venv
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import typst' 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet "typst==0.15.2"
fi
"$venv/bin/python" - <<'PYTHON'
import typst

typst.compile("paper/report.typ", output="paper/report.pdf", root=".", font_paths=["crates/eval/assets"], timestamp=0)
PYTHON
echo "paper/report.pdf"
