#!/usr/bin/env bash
# Prepares and starts llama.cpp's OpenAI-compatible server on loopback, for `synth: {generator: openai}` and its test.
#
#   scripts/llama_server.sh prepare            builds the server into runs/tools/llama (once, about ten minutes)
#   scripts/llama_server.sh start [PORT]       serves SmolLM2-135M-Instruct on 127.0.0.1:PORT (8791) until Ctrl-C
#   scripts/llama_server.sh start PORT GGUF    serves another model
#
# Needs python3 with venv and a C++ compiler; cmake comes with pip. The model is fetched by scripts/smollm2.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=runs/tools/llama
python=$tools/bin/python

prepare() {
    if [[ -x $python ]] && "$python" -c 'import llama_cpp.server' 2>/dev/null; then
        echo "$tools is ready"
        return
    fi
    python3 -m venv "$tools"
    # The processor's own instructions: the server runs where it is built.
    CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" CMAKE_BUILD_PARALLEL_LEVEL=${JOBS:-2} \
        "$python" -m pip install --quiet 'llama-cpp-python[server]==0.3.16'
    echo "$tools is ready"
}

start() {
    local port=${1:-8791} model=${2:-}
    prepare >&2
    if [[ -z $model ]]; then
        scripts/smollm2.sh >&2
        model=runs/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    fi
    # A request that comes while another is answered waits instead of interrupting it.
    exec "$python" -m llama_cpp.server --host 127.0.0.1 --port "$port" --model "$model" \
        --model_alias "$(basename "${model%.gguf}")" --n_ctx 2048 --n_threads "${JOBS:-2}" --interrupt_requests false
}

case ${1:-} in
prepare) prepare ;;
start) shift && start "$@" ;;
*)
    sed -n '2,9p' "$0" >&2
    exit 2
    ;;
esac
