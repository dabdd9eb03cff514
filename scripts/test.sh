#!/usr/bin/env bash
# The project's tests. Tests on real corpora run where ../shared/data is, and say SKIPPED where it is not.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo test --release --workspace --locked "$@"
