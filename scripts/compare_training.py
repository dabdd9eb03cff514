#!/usr/bin/env python3
"""Training throughput beside PyTorch, in turns, on the machine at hand.

    python3 -m venv runs/venv && runs/venv/bin/pip install torch==2.9.0 transformers==4.57.6
    runs/venv/bin/python scripts/compare_training.py [--rounds 3] [--out results/training_speed]

One optimizer step of AdamW at the shape of SmolLM2-135M (random weights), 4 rows of 128 tokens, loss on every token:
PyTorch eager with SDPA in float32 and bfloat16, and the bench `training_step` of this workspace with the engine `fused` in
float32 and with bfloat16 products. PyTorch's bfloat16 row keeps weights and moments in bfloat16 too; ours keeps them in
float32. Every round runs all four once, so that a machine that is slow for a while is slow for all of them.
"""
import argparse, json, os, pathlib, re, statistics, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TORCH = r"""
import resource, statistics, sys, time, torch
from transformers import LlamaConfig, LlamaForCausalLM
dtype = getattr(torch, sys.argv[1]); torch.manual_seed(0); torch.set_num_threads(int(sys.argv[2]))
config = LlamaConfig(hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
    intermediate_size=1536, vocab_size=49152, tie_word_embeddings=True, rope_theta=100000.0,
    max_position_embeddings=512, attn_implementation="sdpa")
model = LlamaForCausalLM(config).to(dtype).train()
tokens = torch.randint(0, 49152, (4, 128))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
times = []
for _ in range(7):
    start = time.perf_counter()
    logits = model(tokens[:, :127], use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, 49152).float(), tokens[:, 1:].reshape(-1))
    loss.backward(); torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0); optimizer.step(); optimizer.zero_grad(); loss.item()
    times.append(time.perf_counter() - start)
print(512 / statistics.median(times[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
BENCH = "smollm2_135M/batch=4x128/loss=all/engine=fused/{}$"


def pytorch(dtype):
    out = subprocess.run([sys.executable, "-c", TORCH, dtype, str(os.cpu_count())], capture_output=True, text=True, check=True)
    rate, peak = map(float, out.stdout.split()[-2:])
    return rate, peak


def ours(precision):
    command = ["cargo", "bench", "--quiet", "--workspace", "--bench", "training_step", "--", BENCH.format(precision)]
    environment = dict(os.environ, SYNCABEL_BENCH_SMOLLM2="1")
    out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    found = re.search(r"thrpt:\s+\[\S+\s+K?elem/s\s+(\S+)\s+(K?)elem/s", out.stdout)
    if out.returncode or not found:
        sys.exit(f"{' '.join(command)} failed:\n{out.stdout}\n{out.stderr}")
    peak = max(map(int, re.findall(r"peak memory of this setting: (\d+) MB", out.stderr)))
    return float(found[1]) * (1000 if found[2] else 1), float(peak)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "results/training_speed")
    arguments = parser.parse_args()
    systems = {
        "PyTorch float32": lambda: pytorch("float32"),
        "syncabel float32": lambda: ours("f32"),
        "PyTorch bfloat16": lambda: pytorch("bfloat16"),
        "syncabel bfloat16 products": lambda: ours("bf16"),
    }
    rounds = []
    for number in range(arguments.rounds):
        rounds.append({name: run() for name, run in systems.items()})
        print(f"round {number + 1}:", {name: round(rate) for name, (rate, _) in rounds[-1].items()}, file=sys.stderr)
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown CPU")
    lines = ["# Training throughput beside PyTorch", "", (__doc__.split("\n\n")[2]).strip(), "", f"{cpu}, {os.cpu_count()} cores, {arguments.rounds} rounds; medians, and the ratio to PyTorch float32 of the same round.", "",
             "| system | tokens/s | ratio, median | ratio, min to max | peak memory, MB |", "| --- | ---: | ---: | ---: | ---: |"]
    for name in systems:
        rates = [r[name][0] for r in rounds]
        ratios = [r[name][0] / r["PyTorch float32"][0] for r in rounds]
        lines.append(f"| {name} | {statistics.median(rates):.0f} | {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} | {max(r[name][1] for r in rounds):.0f} |")
    lines += ["", "Command: `python scripts/compare_training.py`", ""]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "README.md").write_text("\n".join(lines))
    (arguments.out / "rounds.json").write_text(json.dumps(rounds, indent=1) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
