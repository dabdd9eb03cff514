#!/usr/bin/env python3
"""The prompts that led to a table of predictions, one on a line: for scripts/compare_linking.py.

    scripts/prompts.py runs/ncbi_disease/cells/arm=interleaved/predictions.tsv [--every N | --per-sentence] > prompts.txt

A prompt is the marked sentence, `<SEP>`, and `[mention] is`; the mention is what the brackets of the sentence hold.
`--every N` takes each Nth mention, `--per-sentence` the first of each sentence, so that nothing is shared between prompts but the task.
"""
import argparse, csv, re, sys

csv.field_size_limit(1 << 30)
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("predictions")
parser.add_argument("--every", type=int, default=1)
parser.add_argument("--per-sentence", action="store_true")
arguments = parser.parse_args()
with open(arguments.predictions, encoding="utf-8", newline="") as file:
    seen = set()
    for number, row in enumerate(csv.DictReader(file, delimiter="\t")):
        if number % arguments.every:
            continue
        sentence, group = row["sentence"], row["label"]
        head, mark, _ = sentence.partition("]{" + group + "}")
        if not mark:
            sys.exit(f"{arguments.predictions}:{number + 2}: no mention marked as {group} in the column sentence")
        if arguments.per_sentence:
            # Without its marks a sentence is the same for all of its mentions.
            key = row["filename"], re.sub(r"[\[\]]", "", sentence.replace("]{" + group + "}", ""))
            if key in seen:
                continue
            seen.add(key)
        mention = " ".join(re.findall(r"\[([^\[\]]*)(?:\]|$)", head))
        print(f"{sentence}<SEP>[{mention}] is")
