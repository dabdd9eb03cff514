#!/usr/bin/env python3
"""Guided linking as published systems do it: Hugging Face `generate` under a trie of dictionaries. The baseline of compare_linking.py.

  pip install torch transformers
  scripts/hf_linking.py --model MODEL_FOLDER --names names.txt --prompts prompts.txt --candidates answers.jsonl --json figures.json

Five beams, all five returned, length-normalised. A name's tokens are those of " NAME", then the end of sequence, as `syncabel` has them.
"""
import argparse, json, resource, time

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

BEAMS = 5


def trie_of(names, tokenizer):
    root = {}
    for name in names:
        node = root
        for token in tokenizer.encode(" " + name, add_special_tokens=False) + [tokenizer.eos_token_id]:
            node = node.setdefault(token, {})
    return root


def allowed_after(trie, prompt_tokens, eos):
    """What may follow: found from the root at every step, since `generate` carries no state for us."""
    def allowed(_, tokens):
        node = trie
        for token in tokens[prompt_tokens:].tolist():
            node = node.get(token, {})
        return list(node) or [eos]
    return allowed


def link(model, tokenizer, trie, prompts, early_stopping):
    tokens = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False, return_token_type_ids=False).to(model.device)
    start = tokens["input_ids"].shape[1]
    with torch.inference_mode():
        out = model.generate(**tokens, num_beams=BEAMS, num_return_sequences=BEAMS, max_new_tokens=64, do_sample=False,
                             length_penalty=1.0, early_stopping=early_stopping, return_dict_in_generate=True, output_scores=True,
                             pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
                             prefix_allowed_tokens_fn=allowed_after(trie, start, tokenizer.eos_token_id))
    texts = tokenizer.batch_decode(out.sequences[:, start:], skip_special_tokens=True)
    pairs = [(text.strip(), score) for text, score in zip(texts, out.sequences_scores.tolist())]
    return [pairs[at:at + BEAMS] for at in range(0, len(pairs), BEAMS)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "names", "prompts"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--mentions", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--random", action="store_true", help="random weights: the folder needs config.json and tokenizer only")
    parser.add_argument("--sort", action="store_true", help="prompts of like length together")
    parser.add_argument("--early-stopping", action="store_true")
    parser.add_argument("--candidates", help="answers, JSON Lines")
    parser.add_argument("--json", help="figures")
    a = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(a.model, padding_side="left")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    dtype = getattr(torch, a.dtype)
    with torch.device(a.device):
        model = (AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(a.model), dtype=dtype) if a.random
                 else AutoModelForCausalLM.from_pretrained(a.model, dtype=dtype))
    model = model.to(a.device).eval()
    # A model's own sampling settings have no place in a beam search.
    model.generation_config.temperature = model.generation_config.top_p = model.generation_config.top_k = None
    with open(a.names) as f:
        trie = trie_of([line.rstrip("\n") for line in f], tokenizer)
    with open(a.prompts) as f:
        prompts = [line.rstrip("\n") for line in f][:a.mentions]
    order = list(range(len(prompts)))
    if a.sort:
        order.sort(key=lambda i: len(tokenizer.encode(prompts[i])))
    found = {}
    started = time.time()
    for at in range(0, len(order), a.batch):
        part = order[at:at + a.batch]
        found.update(zip(part, link(model, tokenizer, trie, [prompts[i] for i in part], a.early_stopping)))
    seconds = time.time() - started
    if a.candidates:
        with open(a.candidates, "w") as f:
            for i, prompt in enumerate(prompts):
                f.write(json.dumps({"prompt": prompt, "candidates": found[i]}, ensure_ascii=False) + "\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    figures = {"mentions": len(prompts), "seconds": seconds, "mentions_per_s": len(prompts) / seconds, "peak_rss_mb": peak}
    if a.json:
        with open(a.json, "w") as f:
            json.dump(figures, f)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
