"""The evaluator against the same computation in vectorised NumPy, both in one run.

    python3 -m venv venv && venv/bin/pip install numpy pandas
    cargo build --release
    venv/bin/python benches/eval_numpy/compare.py --syncabel target/release/syncabel [--mentions 40157] [--replicates 1000]

Makes a prediction file as ours are, with five candidates a mention as quoted JSON, and a training corpus of the wanted size,
then computes on both sides: recall@1 with 95 % intervals for all mentions, 21 groups and the ten partitions of
`syncabel_eval::strata`; recall among the first two and five candidates with intervals; precision, recall and F1 with intervals
at twelve thresholds of two score columns; risk-coverage area and calibration error. Python reads with pandas' C reader, only the
columns it needs, and bootstraps with multinomial weights and matrix products; its time is taken inside the process, after all
imports. Ours is the wall time of the whole `syncabel eval --json`, reading, starting and printing included. Both take turns, and
the best run of each counts; CPU seconds are printed beside, for machines that do something else as well. Counts and recalls
must agree exactly, intervals to within what two random generators differ by.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

GROUPS = 21
THRESHOLDS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99]
SCORES = ["Prediction_score", "Prediction_beam_score"]
READ = ["filename", "label", "start_span", "end_span", "span", "code", "annotation", "Predicted_code", "Candidates", *SCORES]
CANDIDATES = 5
CUTOFFS = [2, 5]


def make(folder, mentions, per_document):
    """A file like the released ones: skewed concepts, composites, sentences of natural length."""
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 11))) for _ in range(4000)]
    concepts = max(500, mentions // 8)
    name = lambda c: words[c % 4000].capitalize() + (" " + words[c * 7 % 4000] if c % 3 else "")
    predictions, train = folder / "predictions.tsv", folder / "train.jsonl"
    header = "filename mention_id label start_span end_span span code semantic_rel annotation sentence Prediction Prediction_score Prediction_beam_score Predicted_code Candidates"
    with predictions.open("w") as out:
        out.write("\t".join(header.split()) + "\n")
        for i in range(mentions):
            c = min(int(rng.paretovariate(0.6)), concepts)
            code = f"C{c:07}" + (f"+C{c + 1:07}" if rng.random() < 0.03 else "")
            right = rng.random() < 0.75
            predicted = code if right else f"C{rng.randrange(concepts):07}"
            span = name(c) if rng.random() < 0.4 else " ".join(rng.choices(words, k=rng.randint(1, 5)))
            if rng.random() < 0.1:
                span = span[:4].upper()
            score = min(1.0, max(0.0, rng.gauss(0.8 if right else 0.55, 0.2)))
            sentence = " ".join(rng.choices(words, k=22)) + f" [{span}]{{G{c % GROUPS}}}"
            document = f"d{i // per_document}"
            others = [rng.randrange(concepts) for _ in range(CANDIDATES - 1)]
            answers = [(name(c), predicted, score)] + [(name(o), f"C{o:07}", score * 0.9 ** (rank + 1)) for rank, o in enumerate(others)]
            candidates = json.dumps([{"name": n, "code": code, "score": s} for n, code, s in answers], separators=(",", ":"))
            # Quoted as our writer quotes a cell that holds quotes.
            candidates = '"' + candidates.replace('"', '""') + '"'
            out.write("\t".join([document, f"{document}.{i}", f"G{c % GROUPS}", str(i), str(i + len(span)), span, code,
                                 "EXACT", name(c), sentence, name(c), repr(score), repr(score * score), predicted, candidates]) + "\n")
    with train.open("w") as out:
        for d in range(mentions // per_document):
            text, found = "", []
            for _ in range(per_document):
                c = min(int(rng.paretovariate(0.6)), concepts)
                span = name(c) if rng.random() < 0.6 else rng.choice(words)
                found.append({"spans": [[len(text), len(text) + len(span)]], "text": span, "label": "G", "gold": [[f"C{c:07}"]]})
                text += span + " "
            out.write(json.dumps({"id": f"t{d}", "text": text, "mentions": found}) + "\n")
    return predictions, train


def abbreviation(mention):
    capitals = sum(c.isupper() for c in mention)
    small = sum(c.islower() for c in mention)
    return (len(mention) <= 10 and all(c.isalnum() or c in ".-/&+" for c in mention)
            and mention[:1].isalnum() and capitals >= 2 and small <= capitals)


def canonical(codes):
    """Composite parts sorted; worked out once per distinct string."""
    distinct = {code: "+".join(sorted(part.strip() for part in code.split("+"))) for code in codes.unique()}
    return codes.map(distinct)


def evaluate(predictions, train, replicates):
    rows = pd.read_csv(predictions, sep="\t", usecols=READ, dtype={"filename": str, "code": str, "Predicted_code": str}, keep_default_na=False)
    rows = rows.drop_duplicates(["filename", "label", "start_span", "end_span"])
    rows = rows[~rows["code"].str.contains("NO_CODE")].reset_index(drop=True)
    gold, predicted = canonical(rows["code"]), canonical(rows["Predicted_code"])
    right = (gold.to_numpy() == predicted.to_numpy()).astype(np.float64)

    listed = [[answer["code"] for answer in json.loads(cell)] for cell in rows["Candidates"]]
    among = canonical(pd.Series([code for codes in listed for code in codes])).to_numpy().reshape(-1, CANDIDATES)
    equal = among == gold.to_numpy()[:, None]
    found = {k: equal[:, :k].any(axis=1).astype(np.float64) for k in CUTOFFS}

    codes, spans = [], []
    for line in open(train):
        for mention in json.loads(line)["mentions"]:
            codes.append("+".join(mention["gold"][0]))
            spans.append(mention["text"])
    codes, spans = pd.Series(codes), pd.Series(spans)
    top = lambda series: set(series.value_counts().reset_index().sort_values(["count", "index"], ascending=[False, True])["index"][:100])
    pairs = set(zip(codes, spans))
    words = np.minimum(rows["span"].str.split().str.len().to_numpy(), 4)
    lower = rows["span"].str.strip().str.lower() == rows["annotation"].str.strip().str.lower()
    short = {span: abbreviation(span.strip()) for span in rows["span"].unique()}
    repeated = rows.groupby(["filename", gold])["span"].transform("size") > 1
    masks = {"all": np.ones(len(rows), bool)}
    for group in sorted(rows["label"].unique()):
        masks[group] = (rows["label"] == group).to_numpy()

    def cut(name, mask, parts):
        masks[f"{name}/{parts[0]}"], masks[f"{name}/{parts[1]}"] = mask, ~mask

    cut("concept", gold.isin(set(codes)).to_numpy(), ["seen", "unseen"])
    cut("mention", rows["span"].isin(set(spans)).to_numpy(), ["seen", "unseen"])
    cut("pair", np.fromiter((p in pairs for p in zip(gold, rows["span"])), bool, len(rows)), ["seen", "unseen"])
    cut("frequent_concept", gold.isin(top(codes)).to_numpy(), ["top_100", "other"])
    cut("frequent_mention", rows["span"].isin(top(spans)).to_numpy(), ["top_100", "other"])
    cut("target_name", lower.to_numpy(), ["equal", "different"])
    cut("abbreviation", rows["span"].map(short).to_numpy(), ["yes", "no"])
    cut("repeated_concept", repeated.to_numpy(), ["yes", "no"])
    cut("gold", ~gold.str.contains("+", regex=False).to_numpy(), ["simple", "composite"])
    for n, part in enumerate(["1", "2", "3", "4+"], 1):
        masks[f"words/{part}"] = words == n

    document = pd.factorize(rows["filename"])[0]
    documents = document.max() + 1
    total = lambda weights: np.bincount(document, weights=weights, minlength=documents)
    columns = []
    for mask in masks.values():
        columns += [total(mask.astype(np.float64)), total(mask * right)]
    cutoffs = []
    for k in CUTOFFS:
        cutoffs.append(len(columns))
        columns.append(total(found[k]))
    kept = []
    for score in SCORES:
        values = rows[score].to_numpy()
        for threshold in THRESHOLDS:
            mask = values >= threshold
            kept.append(len(columns))
            columns += [total(mask.astype(np.float64)), total(mask * right)]
    table = np.stack(columns, axis=1)
    rng = np.random.default_rng(42)
    strata = np.arange(len(masks))
    ratios = []
    step = max(1, min(replicates, 200_000_000 // (8 * documents)))
    divide = lambda a, b: np.divide(a, b, out=np.zeros_like(a), where=b > 0)
    for start in range(0, replicates, step):
        weights = rng.multinomial(documents, np.full(documents, 1 / documents), size=min(step, replicates - start))
        sums = weights.astype(np.float64) @ table
        block = [divide(sums[:, 2 * strata + 1], sums[:, 2 * strata]), divide(sums[:, cutoffs], sums[:, [0] * len(cutoffs)])]
        for column in kept:
            rows_kept, correct, every = sums[:, column], sums[:, column + 1], sums[:, 0]
            block.append(np.stack([divide(correct, rows_kept), divide(correct, every), 2 * correct / (every + rows_kept)], axis=1))
        ratios.append(np.concatenate(block, axis=1))
    low, high = np.percentile(np.concatenate(ratios), [2.5, 97.5], axis=0)
    for score in SCORES:
        order = np.argsort(-rows[score].to_numpy(), kind="stable")
        np.mean(np.cumsum(1 - right[order]) / np.arange(1, len(rows) + 1))
        bins = np.minimum((rows[score].to_numpy() * 10).astype(int), 9)
        count = np.bincount(bins, minlength=10)
        np.abs(np.bincount(bins, rows[score], 10) - np.bincount(bins, right, 10)).sum() / count.sum()
    names = list(masks)
    counts = [(int(mask.sum()), int((mask * right).sum())) for mask in masks.values()]
    counts += [(len(rows), int(found[k].sum())) for k in CUTOFFS]
    names += [f"recall@{k}" for k in CUTOFFS]
    return {name: {"rows": count, "correct": correct, "ci95": [low[i], high[i]]}
            for i, (name, (count, correct)) in enumerate(zip(names, counts))}


def agree(ours, theirs):
    flat = {"all": ours, **ours["by_group"]}
    for partition, parts in ours["strata"].items():
        flat |= {f"{partition}/{part}": stratum for part, stratum in parts.items()}
    for k in CUTOFFS:
        correct = round(ours["recall_at"][str(k)] * ours["rows"])
        flat[f"recall@{k}"] = {"rows": ours["rows"], "correct": correct, "ci95": ours["recall_at_ci95"][str(k)]}
    worst = 0.0
    for name, expected in theirs.items():
        if expected["rows"] == 0:
            continue
        found = flat[name]
        assert (found["rows"], found["correct"]) == (expected["rows"], expected["correct"]), (name, found, expected)
        width = max(1e-9, expected["ci95"][1] - expected["ci95"][0])
        if expected["rows"] >= 200:
            worst = max(worst, *(abs(a - b) / width for a, b in zip(found["ci95"], expected["ci95"])))
    return worst


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_mib(command):
    """Peak resident memory of the command, which a process of its own starts: a fork of this one would count as well."""
    script = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True, check=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-S", "-c", script, *command], capture_output=True, check=True, text=True)
    return int(done.stdout) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--syncabel", default="target/release/syncabel", help="the binary")
    parser.add_argument("--mentions", type=int, default=40_157)
    parser.add_argument("--per-document", type=int, default=46)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many runs counts, on both sides")
    parser.add_argument("--only-ours", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        predictions, train = make(Path(name), args.mentions, args.per_document)
        command = [args.syncabel, "eval", str(predictions), "--train", str(train), "--replicates", str(args.replicates), "--json"]
        ours, theirs = [], []
        for _ in range(args.repeat):
            start, cpu = time.perf_counter(), children_cpu()
            done = subprocess.run(command, capture_output=True, check=True, text=True)
            ours.append((time.perf_counter() - start, children_cpu() - cpu))
            if not args.only_ours:
                start, cpu = time.perf_counter(), time.process_time()
                expected = evaluate(predictions, train, args.replicates)
                theirs.append((time.perf_counter() - start, time.process_time() - cpu))
        peak = peak_mib(command)
        report = json.loads(done.stdout)
        print(f"{args.mentions} mentions, {report['documents']} documents, {args.replicates} replicates, "
              f"{predictions.stat().st_size / 1e6:.0f} MB; numpy {np.__version__}, pandas {pd.__version__}")
        (wall, _), cpu = min(ours), min(cpu for _, cpu in ours)
        print(f"syncabel, whole process: {wall:.3f} s, {cpu:.3f} CPU s, peak {peak:.0f} MiB")
        if theirs:
            worst = agree(report, expected)
            (numpy_wall, _), numpy_cpu = min(theirs), min(cpu for _, cpu in theirs)
            print(f"numpy, without imports:  {numpy_wall:.3f} s, {numpy_cpu:.3f} CPU s; {numpy_wall / wall:.1f} and {numpy_cpu / cpu:.1f} times as long")
            print(f"counts agree exactly; interval ends differ by at most {100 * worst:.1f} % of an interval's width")


if __name__ == "__main__":
    main()
