#!/usr/bin/env python3
"""MEDIC as BioSyn writes it, with the parents that MeSH gives its concepts, as JSON Lines for `syncabel kb build`.

    scripts/medic_with_parents.py medic_06Jul2012.tsv.gz mesh_descriptors.tsv.gz mesh_supplementary.tsv.gz > medic.jsonl

MEDIC in that form has no hierarchy. MeSH has: a descriptor's parents are those of its tree numbers without their last part; a
supplementary concept's parents are the headings it is mapped to. Descriptors: `id, name, synonyms, tree numbers` (`|` between them);
supplementary concepts: `id, name, synonyms, heading ids`. A concept that stands for several MeSH ids has the parents of all. Parents
that MEDIC lacks are left out, and a concept that has none left (OMIM's have none) is a root. Counts go to stderr.
"""

import gzip
import json
import sys


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield line.rstrip("\n")


def parents_in_mesh(descriptors, supplementary):
    """MeSH ids and the ids of their parents."""
    trees, at = {}, {}
    for line in lines(descriptors):
        code, _, _, numbers, *_ = line.split("\t")
        trees[code] = [number for number in numbers.split("|") if number]
        at.update((number, code) for number in trees[code])
    above = lambda number: at.get(number.rpartition(".")[0])
    parents = {code: {above(number) for number in numbers} - {None} for code, numbers in trees.items()}
    for line in lines(supplementary):
        code, _, _, headings, *_ = line.split("\t")
        parents[code] = {heading.lstrip("*") for heading in headings.split("|") if heading}
    return parents


def main(medic, descriptors, supplementary):
    parents = parents_in_mesh(descriptors, supplementary)
    concepts = []
    for line in lines(medic):
        if line.strip():
            codes, names = line.split("||", 1)
            concepts.append(([code.strip() for code in codes.split("|")], names.split("|")))
    primary = {code: codes[0] for codes, _ in concepts for code in codes}
    placed = 0
    for codes, names in concepts:
        above = {primary[parent] for code in codes for parent in parents.get(code, ()) if parent in primary}
        above.discard(codes[0])
        placed += bool(above)
        concept = {"code": codes[0], "name": names[0], "synonyms": names[1:], "alt_codes": codes[1:], "parents": sorted(above)}
        print(json.dumps(concept, ensure_ascii=False))
    print(f"{len(concepts)} concepts, {placed} with a parent", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
