#!/usr/bin/env python3
"""Guided linking beside Hugging Face transformers: same weights, names and prompts, run in turns.

  scripts/compare_linking.py --guided target/release/examples/guided --python VENV/bin/python \\
      --hf MODEL_FOLDER --model MODEL_FOLDER_OR_GGUF \\
      --names names.txt --prompts prompts.txt --out results/linking/untuned

Names come from `syncabel kb names KB`, prompts from `scripts/prompts.py predictions.tsv`.

`guided` is the example of the crate `decode` (cargo build --release --workspace --examples). The baseline is `hf_linking.py` beside
this script, or any other with the options --model, --names, --prompts, --mentions, --batch, --dtype, --sort, --early-stopping, --candidates and --json. Every
round runs each setting once, one after the other, so that a machine whose speed drifts treats all alike; medians count.

With `--device cuda` both sides run on that GPU (ours keeps trie and beams there; build `guided` with `--features cuda`), in batches of
`--batch`, and the memory of the GPU is asked of nvidia-smi four times a second. `--random` draws random weights on both sides, for the speed of
a shape: the folder needs `config.json` and tokenizer only.

With `--link "SYNCABEL CORPUS --kb KB --group GROUP ..."` the command that users run is measured beside: `SYNCABEL link` over that corpus, everything included
(start, terminology, digests, trie, files), in prompt order as it comes. Its rate is mentions by the clock of the whole process.

Writes OUT/speed.md (mentions a second, processor seconds, peak memory, rows read) and OUT/agreement.md (same names in the same
order, scores within 1e-3, every difference with both lists).
"""
import argparse, hashlib, json, os, resource, shlex, statistics, subprocess, sys, tempfile, threading, time

OURS = {
    "beam 5, float32": [],
    "beam 5, bfloat16": ["engine=bf16"],
    "beam 5, local scores, float32": ["scoring=local"],
    "best-first, float32": ["strategy=best_first", "beams=1"],
    "best-first, bfloat16": ["strategy=best_first", "beams=1", "engine=bf16"],
    "beam 5, float32, one at a time": ["batch=1"],
}
THEIRS = {
    "transformers, float32": [],
    "transformers, float32, sorted, early stopping": ["--sort", "--early-stopping"],
    "transformers, bfloat16, sorted, early stopping": ["--dtype", "bfloat16", "--sort", "--early-stopping"],
    "transformers, float32, one at a time": ["--batch", "1"],
}
# The whole command, with --link.
COMMANDS = {
    "syncabel link, float32": [],
    "syncabel link, bfloat16": ["--precision", "bf16"],
    "syncabel link, best-first, float32": ["--search", "best-first"],
    "syncabel link, best-first, bfloat16": ["--search", "best-first", "--precision", "bf16"],
}
# On a GPU.
OURS_THERE = {
    "beam 5, float32": ["engine=device"],
    "beam 5, bfloat16": ["engine=device", "precision=bf16"],
}
THEIRS_THERE = {
    "transformers, float32": [],
    "transformers, bfloat16, sorted, early stopping": ["--dtype", "bfloat16", "--sort", "--early-stopping"],
}
# Whose answers are compared.
EXACT = ("beam 5, float32", "transformers, float32")


class GpuMemory:
    """The most memory in use on the first GPU while it is open, less what was in use before, in MB; nothing without nvidia-smi."""

    ASK = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--loop-ms=250"]

    def __init__(self, device):
        self.wanted, self.process, self.seen = device is not None, None, []

    def watch(self):
        for line in self.process.stdout:
            if line.strip().isdigit():
                self.seen.append(int(line))

    def __enter__(self):
        if self.wanted:
            try:
                # One process to its end, which is waited for after the time of the others is taken.
                self.process = subprocess.Popen(self.ASK, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            except OSError:
                return self
            self.thread = threading.Thread(target=self.watch)
            self.thread.start()
            time.sleep(1)
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.thread.join()

    @property
    def peak(self):
        return max(self.seen) - self.seen[0] if self.seen else None


def run(command):
    """Seconds of processor time that the command took, and its standard output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def ours(a, settings, answers):
    command = [a.guided, a.model, a.names, a.prompts, answers, f"limit={a.mentions}", f"batch={a.batch}", *settings]
    command += [f"device={a.device}"] * bool(a.device) + ["weights=random"] * a.random
    with GpuMemory(a.device) as gpu:
        seconds, text = run(command)
    figures = json.loads(text.strip().splitlines()[-1])
    work = figures["work"] or {}
    return {"rate": figures["mentions_per_s"], "cpu": seconds, "rss": gpu.peak or figures["peak_rss_mb"],
            "rows": work.get("rows"), "prompt": work.get("prompt_tokens"), "passes": work.get("passes")}


def command(a, settings, answers):
    program, corpus, *rest = shlex.split(a.link)
    out = answers + ".tsv"
    called = [program, "link", corpus, "--model", a.model, "--out", out, "--overwrite", "--batch", str(a.batch), *rest, *settings]
    started = time.time()
    with open(answers + ".log", "w+") as log:
        process = subprocess.Popen(called, stdout=subprocess.DEVNULL, stderr=log)
        # Of this process alone: RUSAGE_CHILDREN has the peak of all that ever ran.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(f"{shlex.join(called)}\n{log.read()[-2000:]}")
    seconds = time.time() - started
    with open(out, encoding="utf-8") as f:
        mentions = sum(1 for _ in f) - 1
    return {"rate": mentions / seconds, "cpu": used.ru_utime + used.ru_stime, "rss": used.ru_maxrss // 1024,
            "rows": None, "prompt": None, "passes": None}


def theirs(a, settings, answers):
    figures = answers + ".json"
    command = [a.python, a.baseline, "--model", a.hf, "--names", a.names, "--prompts", a.prompts, "--mentions", str(a.mentions),
               "--candidates", answers, "--json", figures]
    # Others than the script beside this one may not know these.
    command += ["--batch", str(a.batch)] * (a.batch != 16) + ["--device", a.device or ""] * bool(a.device) + ["--random"] * a.random
    with GpuMemory(a.device) as gpu:
        seconds, _ = run(command + settings)
    with open(figures) as f:
        figures = json.load(f)
    return {"rate": figures["mentions_per_s"], "cpu": seconds, "rss": gpu.peak or figures["peak_rss_mb"], "rows": None, "prompt": None, "passes": None}


def speed(rounds, names, mentions):
    base = {name: statistics.median(r["rate"] for r in rounds[name]) for name in names}
    lines = ["| setting | mentions/s | x transformers float32 | x its strongest | processor s | peak MB | prompt tokens | rows | passes |",
             "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    # Which setting is its strongest depends on the processor: without AMX or AVX512-BF16 bfloat16 is its slowest.
    plain, strong = base.get("transformers, float32"), max((base[name] for name in names if name in THEIRS), default=None)
    ratio = lambda rate, other: f"{rate / other:.2f}" if other else ""
    for name in names:
        last = rounds[name][-1]
        cells = [name, f"{base[name]:.2f}", ratio(base[name], plain), ratio(base[name], strong),
                 f"{statistics.median(r['cpu'] for r in rounds[name]):.1f}", str(max(r["rss"] or 0 for r in rounds[name]))]
        cells += ["" if last[key] is None else str(last[key]) for key in ("prompt", "rows", "passes")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines + ["", f"{mentions} mentions, {len(next(iter(rounds.values())))} rounds, medians of rates."]) + "\n"


def agreement(reference, answers):
    with open(reference) as f, open(answers) as g:
        pairs = [(json.loads(x), json.loads(y)) for x, y in zip(f, g)]
    by_prompt = {x["prompt"]: x["candidates"] for x, _ in pairs}
    same, close, worst, lists = 0, 0, 0.0, []
    for _, row in pairs:
        theirs, own = by_prompt[row["prompt"]], row["candidates"]
        gap = max((abs(a[1] - b[1]) for a, b in zip(theirs, own)), default=0.0)
        equal = [a[0] for a in theirs] == [b[0] for b in own]
        same += equal
        close += equal and gap < 1e-3
        worst = max(worst, gap) if equal else worst
        if not (equal and gap < 1e-3):
            lists.append(f"\n{row['prompt']}\n\n- transformers: {theirs}\n- ours: {own}\n")
    head = (f"{len(pairs)} mentions: the same names in the same order for {same}, scores within 1e-3 as well for {close}; "
            f"largest difference of a score where names agree {worst:.1e}.\n")
    return head + "".join(lists)


def provenance(model, random):
    """The revision of the working folder, and the digest of the weights."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    revision = done.stdout.strip() or "unknown"
    if random:
        return f"Revision {revision}; random weights of the shape in {model}."
    files = [model] if os.path.isfile(model) else sorted(
        os.path.join(model, name) for name in os.listdir(model) if name.endswith(".safetensors") and name != "optimizer.safetensors")
    digests = []
    for name in files:
        with open(name, "rb") as f:
            digests.append(hashlib.file_digest(f, "sha256").hexdigest()[:16])
    return f"Revision {revision}; weights sha256 {', '.join(digests)}."


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("guided", "python", "hf", "model", "names", "prompts", "out"):
        ap.add_argument("--" + name, required=True)
    ap.add_argument("--baseline", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "hf_linking.py"))
    ap.add_argument("--mentions", type=int, default=64)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--batch", type=int, default=16, help="mentions open at once")
    ap.add_argument("--device", help="a GPU, `cuda`: both sides run there")
    ap.add_argument("--random", action="store_true", help="random weights, with --device")
    ap.add_argument("--only", action="append", default=[], help="a setting by its name; may be repeated")
    ap.add_argument("--agreement", type=int, default=0, metavar="N",
                    help="compare answers over N mentions, each side once, instead of over those of the last round")
    ap.add_argument("--keep", help="folder for the answers of --agreement; a side whose file is there is not run again")
    ap.add_argument("--link", help="program, corpus and options of `syncabel link`, measured beside")
    a = ap.parse_args()
    global OURS, THEIRS
    if a.device:
        OURS, THEIRS = OURS_THERE, THEIRS_THERE
    elif a.random:
        ap.error("--random needs --device")
    os.makedirs(a.out, exist_ok=True)
    head = f"`{' '.join(sys.argv)}`\n\n{provenance(a.model, a.random)}\n\n"
    commands = COMMANDS if a.link else {}
    chosen = [n for n in (*OURS, *commands, *THEIRS) if not a.only or n in a.only]
    if missing := set(a.only) - set(chosen):
        ap.error(f"no setting is called {', '.join(sorted(missing))}; there are: {'; '.join((*OURS, *commands, *THEIRS))}")
    rounds = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as folder:
        file = lambda name: os.path.join(folder, name.replace(" ", "_").replace(",", "") + ".jsonl")
        for number in range(a.rounds):
            for name in chosen:
                started = time.time()
                if name in commands:
                    one = command(a, COMMANDS[name], file(name))
                else:
                    one = ours(a, OURS[name], file(name)) if name in OURS else theirs(a, THEIRS[name], file(name))
                rounds[name].append(one)
                print(f"round {number + 1}, {name}: {one['rate']:.2f} mentions/s ({time.time() - started:.0f} s)", file=sys.stderr)
        if a.rounds:
            with open(os.path.join(a.out, "speed.md"), "w") as f:
                f.write(head + speed(rounds, chosen, a.mentions))
        if a.agreement:
            folder = a.keep or folder
            a.mentions = a.agreement
            for name in EXACT:
                if not os.path.exists(file(name)):
                    os.makedirs(folder, exist_ok=True)
                    part = file(name) + ".part"
                    one = ours(a, OURS[name], part) if name in OURS else theirs(a, THEIRS[name], part)
                    os.rename(part, file(name))
                    print(f"{name}: {a.mentions} mentions at {one['rate']:.2f} a second", file=sys.stderr)
        # Weights that each side draws for itself agree in nothing.
        if not a.random and (a.agreement or all(name in rounds for name in EXACT)):
            with open(os.path.join(a.out, "agreement.md"), "w") as f:
                f.write(head + agreement(file(EXACT[1]), file(EXACT[0])))


if __name__ == "__main__":
    main()
