#!/usr/bin/env python3
"""The HPO corpus GSC+ as PhenoTagger has it (blocks of a document id, its text, and `start end mention code`), as JSON Lines.

    scripts/gsc_to_jsonl.py GSCplus_test_gold.tsv > gsc_test.jsonl
"""
import json
import sys

if len(sys.argv) != 2:
    sys.exit(__doc__)
with open(sys.argv[1], encoding="utf-8") as file:
    blocks = [block.split("\n") for block in file.read().strip().split("\n\n")]
for document, text, *rows in blocks:
    mentions = []
    for number, row in enumerate(row for row in rows if row):
        start, end, mention, code = row.split("\t")[:4]
        start, end = int(start), int(end)
        if text[start:end] != mention:
            sys.exit(f"{sys.argv[1]}: document {document}: {start}-{end} is `{text[start:end]}`, not `{mention}`")
        mentions.append({"id": f"{document}.{number}", "spans": [[start, end]], "text": mention, "label": "Phenotype", "gold": [[code]]})
    print(json.dumps({"id": document, "text": text, "mentions": mentions}, ensure_ascii=False))
