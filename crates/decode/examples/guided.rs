//! Guided decoding of ready prompts over a plain list of names, with the beams of every prompt as JSON lines: for
//! comparison with another implementation, answer by answer.
//!
//! ```text
//! cargo run --release -p syncabel-decode --example guided -- MODEL names.txt prompts.txt beams.jsonl [BATCH [MAX_NEW_TOKENS]]
//! ```
//!
//! `MODEL` is a folder in Hugging Face layout or a GGUF file; names and prompts stand one on a line. Each line of the
//! output is `{"prompt": .., "candidates": [[name, score], ..]}`, best first, the score being the length-normalised
//! log-probability. Time and trie statistics go to stderr.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use syncabel_decode::{
    Constraint, LlamaSteps, NameEntry, Query, SearchOptions, Tokenizer, Trie, beam_search,
};
use syncabel_kb::{ConceptId, Digest, GroupId, NameId};
use syncabel_model::{Checkpoint, ModelSource, device, load};

type Failure = Box<dyn std::error::Error>;

/// The one group of a plain list.
const GROUP: GroupId = GroupId(0);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, names, prompts, output, options @ ..] = arguments.as_slice() else {
        return Err("give MODEL, names.txt, prompts.txt and beams.jsonl".into());
    };
    let number = |position: usize, default: usize| {
        options
            .get(position)
            .map_or(Ok(default), |text| text.parse())
    };
    let batch = number(0, 16)?;
    let search = SearchOptions {
        max_new_tokens: number(1, 64)?,
        ..SearchOptions::default()
    };

    let checkpoint = load(&source(model), &device("auto")?)?;
    let names = lines(names)?;
    let started = Instant::now();
    let trie = trie(&names, &checkpoint)?;
    eprintln!(
        "trie built in {:.2} s\n{}",
        started.elapsed().as_secs_f64(),
        trie.stats()
    );

    let prompts = lines(prompts)?;
    let started = Instant::now();
    let mut output = std::io::BufWriter::new(std::fs::File::create(output)?);
    for (prompt, line) in prompts.iter().zip(decode(
        &checkpoint,
        &trie,
        &names,
        &prompts,
        batch,
        &search,
    )?) {
        let line = serde_json::json!({ "prompt": prompt, "candidates": line });
        writeln!(output, "{line}")?;
    }
    output.flush()?;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "{} mentions in {seconds:.1} s: {:.2} mentions/s",
        prompts.len(),
        prompts.len() as f64 / seconds
    );
    Ok(())
}

/// Name and score of every answer of every prompt, prompts of like length decoded together.
fn decode(
    checkpoint: &Checkpoint,
    trie: &Trie,
    names: &[String],
    prompts: &[String],
    batch: usize,
    search: &SearchOptions,
) -> Result<Vec<Vec<(String, f64)>>, Failure> {
    let tokenizer: &dyn Tokenizer = &checkpoint.tokenizer;
    let special = tokenizer.special();
    let queries = prompts
        .iter()
        .map(|prompt| Ok(Query::new(tokenizer.encode(prompt)?, GROUP)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let mut order: Vec<usize> = (0..queries.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(queries[i].prompt.len()));
    let mut steps = LlamaSteps::new(&checkpoint.model, &checkpoint.config);
    let mut lines = vec![Vec::new(); prompts.len()];
    for batch in order.chunks(batch.max(1)) {
        let asked: Vec<Query> = batch.iter().map(|&i| queries[i].clone()).collect();
        let found = beam_search(
            &mut steps,
            &asked,
            Constraint::Guided(trie),
            special,
            search,
        )?;
        for (&i, found) in batch.iter().zip(found) {
            for answer in found {
                let tokens: Vec<u32> = answer.names(&special).flatten().copied().collect();
                let terminal = trie
                    .lookup(GROUP, &tokens)
                    .ok_or("an answer that is no name")?;
                lines[i].push((names[terminal.name.0 as usize].clone(), answer.score));
            }
        }
    }
    Ok(lines)
}

fn trie(names: &[String], checkpoint: &Checkpoint) -> Result<Trie, Failure> {
    let tokenizer: &dyn Tokenizer = &checkpoint.tokenizer;
    let entry = |(id, text)| NameEntry {
        name: NameId(id),
        concept: ConceptId(id),
        preferred: false,
        text,
    };
    let entries = (0..)
        .zip(names.iter().map(String::as_str))
        .map(entry)
        .collect();
    let encode = |text: &str| tokenizer.encode(text).unwrap_or_default();
    let list = Digest::of_bytes(names.join("\n").as_bytes());
    Ok(Trie::from_names(
        &[entries],
        &encode,
        tokenizer.special().eos,
        list,
        tokenizer.digest(),
    )?)
}

fn source(model: &str) -> ModelSource {
    let path = PathBuf::from(model);
    if path
        .extension()
        .is_some_and(|extension| extension == "gguf")
    {
        ModelSource::Gguf(path)
    } else {
        ModelSource::Folder(path)
    }
}

/// The lines of a file that are not empty.
fn lines(path: impl AsRef<Path>) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path)?;
    Ok(text
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}
