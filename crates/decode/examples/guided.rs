//! Guided decoding of ready prompts over a plain list of names, with the beams of every prompt as JSON lines: for
//! comparison with another implementation, answer by answer.
//!
//! ```text
//! cargo run --release -p syncabel-decode --example guided -- MODEL names.txt prompts.txt beams.jsonl [key=value ...]
//! ```
//!
//! `MODEL` is a folder in Hugging Face layout or a GGUF file; names and prompts stand one on a line. Each line of the
//! output is `{"prompt": .., "candidates": [[name, score], ..]}`, best first, the score being the length-normalised
//! log-probability. Time and work go to stderr, and one line of JSON with both to stdout.
//!
//! | key | values (default first) |
//! | --- | --- |
//! | `engine` | `f32`, `bf16` (the CPU engine), `steps` (the tensor library, beams on the host), `device` (beams beside the weights) |
//! | `device` | for the last two: `auto`, `flex`, `tch`, `cuda`, ... |
//! | `precision` | for the last two: `f32`, `bf16` |
//! | `weights` | for the last two: `loaded`, `random` (`MODEL` needs `config.json` and tokenizer only: the shape of a large model) |
//! | `strategy` | `beam`, `best_first` |
//! | `scoring` | `full`, `local` |
//! | `penalty` | exponent of the length; 1 for beam, 0 for best_first |
//! | `within` | with best_first: nats below the most probable name; all names where left out |
//! | `beams` | 5 |
//! | `batch` | 16; mentions open at once |
//! | `max_new_tokens` | 64 |
//! | `limit` | prompts to take, 0 for all |
//! | `repeats` | 1; the median time counts |

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use burn::tensor::DType;
use syncabel_decode::{
    BatchSearch, Constraint, DeviceBeams, Hypothesis, LlamaSteps, NameEntry, Query, Scoring,
    SearchOptions, Strategy, Tokenizer, Trie, Work, beam_search, search,
};
use syncabel_kb::{ConceptId, Digest, GroupId, NameId};
use syncabel_model::{
    Checkpoint, LlamaConfig, ModelSource, Precision, TextTokenizer, device, load, load_cpu,
};

type Failure = Box<dyn std::error::Error>;
/// Answers of every query, the work if it was counted, and seconds.
type Outcome = (Vec<Vec<Hypothesis>>, Option<Work>, Vec<f64>);

/// The one group of a plain list.
const GROUP: GroupId = GroupId(0);

struct Settings {
    engine: String,
    device: String,
    precision: Precision,
    random: bool,
    batch: usize,
    limit: usize,
    repeats: usize,
    search: SearchOptions,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, names, prompts, output, settings @ ..] = arguments.as_slice() else {
        return Err("give MODEL, names.txt, prompts.txt and beams.jsonl".into());
    };
    let settings = settings_of(settings)?;
    let names = lines(names)?;
    let mut prompts = lines(prompts)?;
    if settings.limit > 0 {
        prompts.truncate(settings.limit);
    }
    let source = ModelSource::parse(model);
    let ((found, work, seconds), trie, special) = match settings.engine.as_str() {
        "steps" | "device" => {
            let checkpoint = checkpoint(&source, &settings)?;
            let (trie, queries) = prepare(&checkpoint.tokenizer, &names, &prompts)?;
            let special = Tokenizer::special(&checkpoint.tokenizer);
            let (model, config) = (&checkpoint.model, &checkpoint.config);
            let mut steps = LlamaSteps::new(model, config);
            let mut beams = match settings.engine.as_str() {
                "device" => Some(DeviceBeams::new(model, config, &trie)?),
                _ => None,
            };
            let run = |queries: &[Query]| {
                let mut found = Vec::new();
                for part in queries.chunks(settings.batch) {
                    let guided = Constraint::Guided(&trie);
                    let options = &settings.search;
                    found.extend(match &mut beams {
                        Some(beams) => beams.search(part, special, options)?,
                        None => beam_search(&mut steps, part, guided, special, options)?,
                    });
                }
                Ok((found, None))
            };
            let outcome = timed(&queries, settings.repeats, run)?;
            drop(beams);
            (outcome, trie, special)
        }
        engine => {
            let precision = if engine == "bf16" {
                Precision::Bf16
            } else {
                Precision::F32
            };
            let mut model = load_cpu(&source, precision)?;
            let (trie, queries) = prepare(&model.tokenizer, &names, &prompts)?;
            let special = Tokenizer::special(&model.tokenizer);
            let engine = &mut model.engine;
            let run = |queries: &[Query]| {
                let mut found = vec![Vec::new(); queries.len()];
                let mut done = |query: usize, answers| found[query] = answers;
                let guided = Constraint::Guided(&trie);
                let options = &settings.search;
                let work = search(
                    engine,
                    queries,
                    guided,
                    special,
                    options,
                    settings.batch,
                    &mut done,
                )?;
                Ok((found, Some(work)))
            };
            (timed(&queries, settings.repeats, run)?, trie, special)
        }
    };
    let mut output = std::io::BufWriter::new(std::fs::File::create(output)?);
    for (prompt, found) in prompts.iter().zip(found) {
        let mut candidates = Vec::new();
        for answer in found {
            let tokens: Vec<u32> = answer.names(&special).flatten().copied().collect();
            let terminal = trie
                .lookup(GROUP, &tokens)
                .ok_or("an answer that is no name")?;
            candidates.push((&names[terminal.name.0 as usize], answer.score));
        }
        let line = serde_json::json!({ "prompt": prompt, "candidates": candidates });
        writeln!(output, "{line}")?;
    }
    output.flush()?;
    report(&settings, prompts.len(), work, seconds);
    Ok(())
}

fn settings_of(pairs: &[String]) -> Result<Settings, Failure> {
    let mut settings = Settings {
        engine: "f32".into(),
        device: "auto".into(),
        precision: Precision::F32,
        random: false,
        batch: 16,
        limit: 0,
        repeats: 1,
        search: SearchOptions {
            max_new_tokens: 64,
            ..SearchOptions::default()
        },
    };
    let search = &mut settings.search;
    for pair in pairs {
        let (key, value) = pair.split_once('=').ok_or("settings are key=value")?;
        match (key, value) {
            ("engine", "f32" | "bf16" | "steps" | "device") => settings.engine = value.into(),
            ("device", _) => settings.device = value.into(),
            ("precision", "f32") => settings.precision = Precision::F32,
            ("precision", "bf16") => settings.precision = Precision::Bf16,
            ("weights", "loaded" | "random") => settings.random = value == "random",
            ("strategy", "beam") => search.strategy = Strategy::Beam,
            ("strategy", "best_first") => {
                (search.strategy, search.length_penalty) = (Strategy::BestFirst, 0.0);
            }
            ("scoring", "full") => search.scoring = Scoring::Full,
            ("scoring", "local") => search.scoring = Scoring::Local,
            ("penalty", _) => search.length_penalty = value.parse()?,
            ("within", _) => search.within = Some(value.parse()?),
            ("beams", _) => search.beams = value.parse()?,
            ("max_new_tokens", _) => search.max_new_tokens = value.parse()?,
            ("batch", _) => settings.batch = value.parse::<usize>()?.max(1),
            ("limit", _) => settings.limit = value.parse()?,
            ("repeats", _) => settings.repeats = value.parse::<usize>()?.max(1),
            _ => return Err(format!("{pair} is no setting").into()),
        }
    }
    Ok(settings)
}

/// The model of the tensor library.
fn checkpoint(source: &ModelSource, settings: &Settings) -> Result<Checkpoint, Failure> {
    let device = device(&settings.device)?;
    let mut checkpoint = match (source, settings.random) {
        (ModelSource::Folder(folder), true) => {
            let config = std::fs::read_to_string(folder.join("config.json"))?;
            let config = LlamaConfig::from_json(&config)?;
            let tokenizer = TextTokenizer::from_file(&folder.join("tokenizer.json"))?;
            let model = config.init(&device);
            Checkpoint::new(config, model, tokenizer)?
        }
        (_, true) => return Err("random weights need a folder".into()),
        (_, false) => load(source, &device)?,
    };
    if settings.precision == Precision::Bf16 {
        checkpoint.model = checkpoint.model.cast(DType::BF16);
    }
    Ok(checkpoint)
}

/// The trie of the names, and a query for every prompt.
fn prepare(
    tokenizer: &TextTokenizer,
    names: &[String],
    prompts: &[String],
) -> Result<(Trie, Vec<Query>), Failure> {
    let started = Instant::now();
    let trie = trie(names, tokenizer)?;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("trie built in {seconds:.2} s\n{}", trie.stats());
    let queries = prompts
        .iter()
        .map(|prompt| Ok(Query::new(Tokenizer::encode(tokenizer, prompt)?, GROUP)))
        .collect::<Result<Vec<_>, Failure>>()?;
    Ok((trie, queries))
}

/// Long prompts first, so that batches are of like length; answers in the order of the input.
fn timed(
    queries: &[Query],
    repeats: usize,
    mut run: impl FnMut(&[Query]) -> Result<(Vec<Vec<Hypothesis>>, Option<Work>), Failure>,
) -> Result<Outcome, Failure> {
    let mut order: Vec<usize> = (0..queries.len()).collect();
    order.sort_by_key(|&i| {
        (
            std::cmp::Reverse(queries[i].prompt.len()),
            queries[i].prompt.clone(),
        )
    });
    let sorted: Vec<Query> = order.iter().map(|&i| queries[i].clone()).collect();
    let mut seconds = Vec::new();
    let mut last = (Vec::new(), None);
    for _ in 0..repeats {
        let started = Instant::now();
        last = run(&sorted)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    let mut found = vec![Vec::new(); queries.len()];
    for (answers, &i) in last.0.into_iter().zip(&order) {
        found[i] = answers;
    }
    Ok((found, last.1, seconds))
}

fn report(settings: &Settings, mentions: usize, work: Option<Work>, mut seconds: Vec<f64>) {
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    let line = serde_json::json!({
        "engine": settings.engine,
        "search": settings.search,
        "batch": settings.batch,
        "mentions": mentions,
        "seconds": seconds,
        "mentions_per_s": mentions as f64 / median,
        "peak_rss_mb": peak_rss_mb(),
        "work": work,
    });
    println!("{line}");
    eprintln!(
        "{mentions} mentions in {median:.2} s: {:.2} mentions/s",
        mentions as f64 / median
    );
}

/// The most memory that this process ever held, where the system says so.
fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    let kb: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kb / 1024)
}

fn trie(names: &[String], tokenizer: &TextTokenizer) -> Result<Trie, Failure> {
    let tokenizer: &dyn Tokenizer = tokenizer;
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

/// The lines of a file that are not empty.
fn lines(path: impl AsRef<Path>) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path)?;
    Ok(text
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}
