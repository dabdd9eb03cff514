//! `syncabel synth`: a synthetic corpus for a KB, how far a generation is, and its corpus once more.

use super::io::{corpus_format, read_corpus, read_options};
use super::models::LocalArgs;
use crate::config::{ConceptChoice, CorpusConfig, CorpusFile, ExperimentFile, LinkConfig};
use crate::corpus_file::{self, Writer};
use crate::error::BadInput;
use crate::import::{self, ImportSynth, Source};
use crate::marking;
use crate::pipeline::{CellRun, Folders};
use crate::round_trip::{self, RoundTrip};
use crate::stage::write_atomically;
use crate::synthesis::{FilterChoice, Made, Material, ModelSynth};
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use syncabel_corpus::marked::GroupRule;
use syncabel_corpus::{Corpus, CorpusFormat, Language, Split, jsonl};
use syncabel_decode::{LinkModel, Trie};
use syncabel_kb::Kb;
use syncabel_llm::{
    ChatBackend, Extra, Ledger, Limits, OpenAiConfig, RunOptions, Sampling, Totals,
};
use syncabel_model::ModelSource;
use syncabel_synth::quality::FilterReport;
use syncabel_synth::{ModelOptions, Plan, PromptOptions};

/// Makes synthetic sentences for the concepts of a KB: by transplanting names into human training sentences, or with a
/// language model, behind an OpenAI-compatible server or in this process; or takes in a corpus that others generated.
///
/// Documents of a validation or test split are refused. A generation by a language model that was interrupted goes on
/// where it was when the same command is given again; nothing is asked twice.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  syncabel synth --kb medic.kb --train train.jsonl --out synthetic.jsonl --per-concept 3\n  syncabel synth --kb medic.kb --train train.jsonl --out synthetic.jsonl \\\n      --url http://127.0.0.1:8791/v1 --model SmolLM2-135M-Instruct.Q4_1 --ledger ledger --filters all --turns\n  syncabel synth --kb medic.kb --train train.jsonl --out synthetic.jsonl \\\n      --local SmolLM2-135M-Instruct.Q4_1.gguf --precision bf16 --ledger ledger --turns\n  syncabel synth status ledger\n  syncabel synth export ledger --out synthetic.json"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    make: Make,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run an experiment file up to its synthetic corpus.
    Run(FromFile),
    /// How far a generation is: concepts done, failed and pending, rate, tokens, cost, time left.
    Status(Status),
    /// Write the corpus of a generation from its ledger alone, unfiltered.
    Export(Export),
    /// Measure synthetic corpora beside human ones: coverage, novelty, lengths, variety, distance.
    Card(Card),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: syncabel synth run experiments/embedded/language_model.yaml --only \"language model\""
)]
struct FromFile {
    /// The experiment file.
    file: PathBuf,
    /// Set a key of the file. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Which cells of a sweep: text that their labels contain.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Folder for ledgers and caches.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Make {
    /// KB folder.
    // Options although they must be there: with a subcommand they are not.
    #[arg(long, required = true)]
    kb: Option<PathBuf>,
    /// Human training corpus. May be repeated.
    #[arg(long, required = true)]
    train: Vec<PathBuf>,
    /// What `|` and `+` mean in PubTator files: explicit, ncbi_disease or bc5cdr.
    #[arg(long)]
    rules: Option<String>,
    /// Group of entity types that are no group of the KB.
    #[arg(long)]
    group: Option<String>,
    /// Corpus file to write; its name tells the format.
    #[arg(long, required = true)]
    out: Option<PathBuf>,
    /// Sentences per concept.
    #[arg(long, default_value_t = 3)]
    per_concept: usize,
    /// Concepts with a definition only, as the paper does for UMLS.
    #[arg(long)]
    with_definition: bool,
    /// A seeded sample of this many concepts.
    #[arg(long, conflicts_with = "with_definition")]
    sample: Option<usize>,
    /// Only concepts of this semantic group. May be repeated.
    #[arg(long, conflicts_with_all = ["with_definition", "sample"])]
    only_group: Vec<String>,
    /// Only the concepts with these codes, one a line.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["with_definition", "sample", "only_group"])]
    codes: Option<PathBuf>,
    /// Seed.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Quality filters: none or all. An experiment file can choose and tune each.
    #[arg(long, default_value = "none", value_parser = ["none", "all"])]
    filters: String,
    /// Filter once more with a linker: the folder of a checkpoint that was trained on human data alone must rank the
    /// concept of every mention among the first `--round-trip-top-k`.
    #[arg(long, value_name = "CHECKPOINT")]
    round_trip_model: Option<PathBuf>,
    /// See `--round-trip-model`.
    #[arg(
        long,
        value_name = "K",
        default_value_t = 5,
        requires = "round_trip_model"
    )]
    round_trip_top_k: usize,
    /// Generate nothing; take in a corpus that others generated: BigBio JSON, JSON Lines or Parquet, a file or a folder of them. May
    /// be repeated.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["url", "local"])]
    import: Vec<PathBuf>,
    /// The same from a data set of the Hugging Face Hub: owner/name or owner/name@revision.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["url", "local"])]
    import_hub: Option<String>,
    /// Of the files in folders and data sets, take in only those whose path there contains this.
    #[arg(long, value_name = "TEXT")]
    include: Option<String>,
    /// Human corpus that sentences are compared with by the filters, beside the training corpus (validation, test). May be
    /// repeated; nothing of it gets into a prompt.
    #[arg(long, value_name = "CORPUS")]
    compare: Vec<PathBuf>,
    /// Write the report (counts, failures, operations behind every mention) here.
    #[arg(long, value_name = "JSON")]
    report: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// The language model; without `--url` or `--local`, sentences are transplanted.
#[derive(Debug, clap::Args)]
struct ServerArgs {
    /// OpenAI-compatible server, up to and including the version: http://127.0.0.1:8791/v1.
    #[arg(long, requires_all = ["model", "ledger"])]
    url: Option<String>,
    #[command(flatten)]
    local: LocalArgs,
    /// Name of the model, as the server calls it; of a local one, the name under which its answers are kept (that of its file
    /// where left out).
    #[arg(long, requires = "ledger")]
    model: Option<String>,
    /// Folder that keeps every request and answer.
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// Environment variable that holds the API key.
    #[arg(long, value_name = "NAME", requires = "url")]
    api_key_env: Option<String>,
    /// Further field of every request, as the server calls it: repeat_penalty=1.0. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", requires = "url")]
    extra: Vec<Extra>,
    /// Language of training text, prompt and sentences: en, fr, es or de. Left out: what the training text says, else en.
    #[arg(long)]
    language: Option<Language>,
    /// Show the human sentences as earlier answers instead of a list: small models follow a format that they see themselves use.
    #[arg(long, requires = "ledger")]
    turns: bool,
    /// In a line without brackets, take the longest name of the concept that stands in it for the mention: small models forget to
    /// mark what they were asked to.
    #[arg(long, requires = "ledger")]
    find_names: bool,
    /// What the sentences should read like: abstract, note, or a description.
    #[arg(long, default_value = "abstract")]
    style: String,
    /// Requests in flight at once; for a local model, answers written side by side.
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    /// Most requests a minute.
    #[arg(long)]
    requests_per_minute: Option<u32>,
    /// Most tokens a minute.
    #[arg(long)]
    tokens_per_minute: Option<u64>,
    /// Longest time for one request, in seconds.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// Try concepts anew that failed before.
    #[arg(long, requires = "ledger")]
    retry_failed: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: syncabel synth status runs/x/ledgers/synth-42 --price-in 0.1 --price-out 0.4"
)]
struct Status {
    /// Folder of the ledger; another process may be writing to it.
    ledger: PathBuf,
    /// Price of a million prompt tokens.
    #[arg(long, default_value_t = 0.0)]
    price_in: f64,
    /// Price of a million answer tokens.
    #[arg(long, default_value_t = 0.0)]
    price_out: f64,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: syncabel synth export runs/x/ledgers/synth-42 --out synthetic.pubtator"
)]
struct Export {
    /// Folder of the ledger.
    ledger: PathBuf,
    /// Corpus file to write; its name tells the format (.jsonl, .json for BigBio, .pubtator, .parquet).
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: syncabel synth card synthetic.jsonl --kb medic.kb --human train.jsonl --human test.jsonl --out card"
)]
struct Card {
    /// Synthetic corpora.
    #[arg(required = true)]
    corpora: Vec<PathBuf>,
    /// KB folder.
    #[arg(long)]
    kb: PathBuf,
    /// Human corpora, the training split first. May be repeated.
    #[arg(long, required = true)]
    human: Vec<PathBuf>,
    /// What `|` and `+` mean in PubTator files: explicit, ncbi_disease or bc5cdr.
    #[arg(long)]
    rules: Option<String>,
    /// Folder for card.json, card.md and the figures.
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(args: Args) -> Result<()> {
    match args.command {
        Some(Command::Run(args)) => from_file(&args),
        Some(Command::Status(args)) => status(&args),
        Some(Command::Export(args)) => export(&args),
        Some(Command::Card(args)) => card(&args),
        None => make(&args.make),
    }
}

fn from_file(args: &FromFile) -> Result<()> {
    let file = ExperimentFile::read(&args.file, &args.set)?;
    let folders = Folders::new(&args.runs, &file.experiment.name);
    let cells = super::chosen_cells(file.cells()?, args.only.as_slice())?;
    for (cell, config) in &cells {
        let sentences = CellRun::new(&file, cell, config, &folders).synth_only()?;
        println!("{}\t{sentences} synthetic sentences", cell.label());
    }
    Ok(())
}

fn make(args: &Make) -> Result<()> {
    let (Some(kb), Some(path)) = (&args.kb, &args.out) else {
        return Err(BadInput("say `--kb` and `--out`; see `syncabel synth --help`".into()).into());
    };
    let format = corpus_format(path, None)?;
    let kb = Kb::open(kb)?;
    let train = training_corpus(args)?;
    let mut others = Vec::new();
    for path in &args.compare {
        let mut other = args.read(path)?;
        for document in &mut other.documents {
            // A file of its own is held out, unless it says otherwise.
            document.split.get_or_insert(Split::Test);
        }
        others.push(other);
    }
    let human: Vec<&Corpus> = std::iter::once(&train).chain(&others).collect();
    let corpus = CorpusConfig {
        groups: GroupRule::default().map,
        default_group: args.group.clone(),
        language: args.language(&train),
        ..CorpusConfig::default()
    };
    let material = Material {
        kb: &kb,
        train: &train,
        human: &human,
        corpus: &corpus,
        seed: args.seed,
    };
    let concepts = concepts(args)?;
    let filters = FilterChoice::named(&args.filters).unwrap_or_default();
    let lines = path.with_extension("synth-partial.jsonl");
    let out = if format == CorpusFormat::Jsonl {
        path
    } else {
        &lines
    };
    let mut made = match args.server.chosen(args, &concepts, &filters)? {
        Some((synth, backend, ledger)) => {
            material.written(&synth, &*backend, ledger, false, out)?
        }
        None if args.import.is_empty() && args.import_hub.is_none() => {
            material.transplant(args.per_concept, &concepts, None, &filters.0, out)?
        }
        None => import::make(&material, &sources(args)?, &filters.0, out)?,
    };
    if let Some(checkpoint) = &args.round_trip_model {
        made.filters = by_round_trip(args, &kb, checkpoint, made.filters, out)?;
    }
    write_reports(args, &made)?;
    eprint!("{}{}", made.report, made.filters);
    if made.report.sentences == 0 {
        std::fs::remove_file(out).with_context(|| format!("cannot remove {}", out.display()))?;
        let message = "no sentence was made; the counts above say why, and `--report` keeps the last answer to each concept";
        return Err(BadInput(message.into()).into());
    }
    if made.filters.kept == 0 {
        let why = match &args.report {
            Some(report) => format!("{} has samples of what each rejected", report.display()),
            None => "`--report` keeps samples of what each rejects".to_owned(),
        };
        std::fs::remove_file(out).with_context(|| format!("cannot remove {}", out.display()))?;
        return Err(BadInput(format!("no sentence passed the filters; {why}")).into());
    }
    convert(out, path, format)
}

/// The files that `--import` and `--import-hub` name.
fn sources(args: &Make) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in &args.import {
        for file in import::files_at(path, args.include.as_deref().unwrap_or_default())? {
            sources.push(Source::new(file, CorpusFile::plain())?);
        }
    }
    let hub = ImportSynth {
        hub: args.import_hub.clone(),
        include: args.include.clone(),
        ..ImportSynth::default()
    };
    sources.extend(hub.hub_sources()?);
    Ok(sources)
}

/// Filters the corpus in `out` with a trained linker.
fn by_round_trip(
    args: &Make,
    kb: &Kb,
    checkpoint: &Path,
    report: FilterReport,
    out: &Path,
) -> Result<FilterReport> {
    let top_k = args.round_trip_top_k;
    if top_k == 0 {
        return Err(BadInput("`--round-trip-top-k` is 0; say at least 1".into()).into());
    }
    if !checkpoint.is_dir() {
        let message =
            "no such folder; `syncabel train` prints the folder of the checkpoint it leaves";
        return Err(BadInput(format!("{}: {message}", checkpoint.display())).into());
    }
    let marking = marking::read(checkpoint)?.unwrap_or_default();
    let source = ModelSource::Folder(checkpoint.to_owned());
    let link = round_trip::link_config(&LinkConfig::default(), top_k);
    let mut model = LinkModel::load(&source, "auto", link.precision.into())?;
    let trie = Trie::for_tokenizer(kb, model.tokenizer())?;
    let linker = RoundTrip {
        kb,
        trie: &trie,
        model: &mut model,
        marking: &marking,
        link: link.options(),
        top_k,
    };
    let before = out.with_extension("synth-unfiltered.jsonl");
    let ranks = out.with_extension("synth-ranks.jsonl");
    std::fs::rename(out, &before).with_context(|| format!("cannot rename {}", out.display()))?;
    // Those of an interrupted run may be of other sentences.
    let _ = std::fs::remove_file(&ranks);
    let report = linker.filter(&before, report, &ranks, out)?;
    for file in [before, ranks] {
        std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(report)
}

impl Make {
    /// The language that was asked for, else that of the training text where it has one.
    fn language(&self, train: &Corpus) -> Language {
        let mut languages = train.documents.iter().map(|document| document.language);
        let first = languages.next();
        let common = first.filter(|first| languages.all(|other| other == *first));
        self.server.language.or(common).unwrap_or_default()
    }

    fn read(&self, path: &Path) -> Result<Corpus> {
        let language = self.server.language.map(|language| language.to_string());
        read_corpus(path, None, self.rules.as_deref(), language.as_deref())
    }
}

fn training_corpus(args: &Make) -> Result<Corpus> {
    let mut documents = Vec::new();
    for path in &args.train {
        documents.extend(args.read(path)?.documents);
    }
    for document in &mut documents {
        match document.split {
            None | Some(Split::Train) => document.split = Some(Split::Train),
            Some(split) => {
                let message = format!(
                    "document `{}` is of the {split} split; synthesis uses training text only",
                    document.id
                );
                return Err(BadInput(message).into());
            }
        }
    }
    Ok(Corpus { documents })
}

fn concepts(args: &Make) -> Result<ConceptChoice> {
    if let Some(path) = &args.codes {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let codes = text.lines().map(str::trim).filter(|line| !line.is_empty());
        return Ok(ConceptChoice::Codes(codes.map(str::to_owned).collect()));
    }
    Ok(match args.sample {
        Some(count) => ConceptChoice::Sample(count),
        None if args.with_definition => ConceptChoice::WithDefinition,
        None if !args.only_group.is_empty() => ConceptChoice::Groups(args.only_group.clone()),
        None => ConceptChoice::All,
    })
}

/// A model's settings, what answers for it, and the folder of its ledger.
type Chosen<'a> = (ModelSynth, Box<dyn ChatBackend>, &'a Path);

impl ServerArgs {
    /// The model that is to write, if one is to.
    fn chosen(
        &self,
        args: &Make,
        concepts: &ConceptChoice,
        filters: &FilterChoice,
    ) -> Result<Option<Chosen<'_>>> {
        let Some(ledger) = self.ledger.as_deref() else {
            return Ok(None);
        };
        let synth = |model: &str| self.synth(model, args, concepts, filters);
        if let Some((name, chat)) = self.local.load(self.in_flight)? {
            let mut synth = synth(self.model.as_deref().unwrap_or(&name));
            synth.local = self.local.config();
            return Ok(Some((synth, Box::new(chat), ledger)));
        }
        let (Some(url), Some(model)) = (&self.url, &self.model) else {
            let message =
                "`--ledger` is for a language model: say `--url` and `--model`, or `--local`";
            return Err(BadInput(message.into()).into());
        };
        let synth = synth(model);
        let client = synth.client(&OpenAiConfig {
            api_key_env: self.api_key_env.clone(),
            timeout_s: self.timeout,
            ..OpenAiConfig::new(url)
        })?;
        Ok(Some((synth, Box::new(client), ledger)))
    }

    fn synth(
        &self,
        model: &str,
        args: &Make,
        concepts: &ConceptChoice,
        filters: &FilterChoice,
    ) -> ModelSynth {
        let options = ModelOptions::new(model);
        ModelSynth {
            server: None,
            local: None,
            model: options.model,
            per_concept: args.per_concept,
            concepts: concepts.clone(),
            seed: Some(args.seed),
            sampling: Sampling {
                extra: self.extra.iter().cloned().collect(),
                ..Sampling::default()
            },
            seeded: options.seeded,
            max_answers: options.max_answers,
            find_names: self.find_names,
            prompt: PromptOptions {
                style: self.style.clone(),
                turns: self.turns,
                ..PromptOptions::default()
            },
            run: RunOptions {
                in_flight: self.in_flight,
                limits: Limits {
                    requests_per_minute: self.requests_per_minute,
                    tokens_per_minute: self.tokens_per_minute,
                },
                retry_failed: self.retry_failed,
                ..RunOptions::default()
            },
            ledger: None,
            filters: filters.clone(),
        }
    }
}

/// Keeps the error of a writer for who started it, and stops the one who feeds it.
fn stopped(kept: &mut Option<anyhow::Error>, error: anyhow::Error) -> syncabel_synth::Error {
    let reason = error.to_string();
    *kept = Some(error);
    syncabel_synth::Error::Stopped {
        generator: "export".to_owned(),
        reason,
    }
}

/// Turns a file in our own format into one of another format, and removes it.
fn convert(lines: &Path, out: &Path, format: CorpusFormat) -> Result<()> {
    if format == CorpusFormat::Jsonl {
        return Ok(());
    }
    if Writer::streams(format) {
        let mut writer = Writer::create(out, format)?;
        for document in jsonl::Reader::open(lines)? {
            let mut document = document?;
            document.number_mentions();
            writer.write(&document)?;
        }
        writer.finish()?;
    } else {
        let (corpus, _) = syncabel_corpus::read(lines, CorpusFormat::Jsonl, &Default::default())?;
        crate::corpus_file::write(&corpus, out, format)?;
    }
    std::fs::remove_file(lines).with_context(|| format!("cannot remove {}", lines.display()))
}

fn write_reports(args: &Make, made: &Made) -> Result<()> {
    #[derive(Serialize)]
    struct Report<'a> {
        #[serde(flatten)]
        report: &'a syncabel_synth::SynthReport,
        filters: &'a syncabel_synth::quality::FilterReport,
    }
    let Some(path) = &args.report else {
        return Ok(());
    };
    let report = Report {
        report: &made.report,
        filters: &made.filters,
    };
    write_atomically(path, &serde_json::to_vec_pretty(&report)?)
}

/// What `synth status` says.
#[derive(Debug, Serialize)]
struct Standing {
    concepts: Option<u64>,
    done: u64,
    failed: u64,
    pending: Option<u64>,
    answers: u64,
    faults: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// Concepts a minute, of the last ten minutes of work.
    concepts_per_minute: Option<f64>,
    seconds_left: Option<f64>,
    cost: f64,
    cost_in_all: Option<f64>,
}

fn status(args: &Status) -> Result<()> {
    let ledger = Ledger::read(&args.ledger)?;
    let plan = Plan::read(&args.ledger);
    let standing = Standing::of(&ledger.totals(), plan, args);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&standing)?);
        return Ok(());
    }
    let number = |n: Option<u64>| n.map_or("unknown".to_owned(), |n| n.to_string());
    println!("concepts    {}", number(standing.concepts));
    println!("done        {}", standing.done);
    println!("failed      {}", standing.failed);
    println!("pending     {}", number(standing.pending));
    println!(
        "answers     {} ({} tries brought none)",
        standing.answers, standing.faults
    );
    println!(
        "tokens      {} in prompts, {} in answers",
        standing.prompt_tokens, standing.completion_tokens
    );
    if let Some(rate) = standing.concepts_per_minute {
        println!("rate        {rate:.1} concepts a minute");
    }
    if let Some(seconds) = standing.seconds_left {
        println!(
            "time left   {}",
            indicatif::HumanDuration(std::time::Duration::from_secs_f64(seconds))
        );
    }
    if standing.cost > 0.0 {
        let all = standing
            .cost_in_all
            .map_or(String::new(), |c| format!(", {c:.2} in all"));
        println!("cost        {:.2} so far{all}", standing.cost);
    }
    Ok(())
}

impl Standing {
    fn of(totals: &Totals, plan: Option<Plan>, args: &Status) -> Self {
        let finished = totals.accepted + totals.failed;
        let concepts = plan.map(|plan| plan.concepts as u64);
        // A ledger that is shared between generations may hold more than the last one set out to do.
        let pending = concepts.map(|all| all.saturating_sub(finished));
        let (recent, spread_ms) = totals.recent;
        let rate = (recent > 1 && spread_ms > 0)
            .then(|| (recent - 1) as f64 * 60_000.0 / spread_ms as f64);
        let usage = totals.usage;
        let cost = (usage.prompt_tokens as f64 * args.price_in
            + usage.completion_tokens as f64 * args.price_out)
            / 1e6;
        Standing {
            concepts,
            done: totals.accepted,
            failed: totals.failed,
            pending,
            answers: totals.answers,
            faults: totals.faults,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            concepts_per_minute: rate,
            seconds_left: pending.zip(rate).map(|(n, rate)| n as f64 * 60.0 / rate),
            cost,
            cost_in_all: pending
                .filter(|_| finished > 0)
                .map(|n| cost * (finished + n) as f64 / finished as f64),
        }
    }
}

fn export(args: &Export) -> Result<()> {
    let format = corpus_format(&args.out, None)?;
    let lines = args.out.with_extension("synth-partial.jsonl");
    let out = if Writer::streams(format) {
        &args.out
    } else {
        &lines
    };
    let mut file = Writer::create(out, format)?;
    let mut unwritten = None;
    let found = syncabel_synth::export(&args.ledger, &mut |document| {
        file.write(&document)
            .map_err(|error| stopped(&mut unwritten, error))
    });
    let found = match unwritten {
        Some(error) => return Err(error),
        None => found?,
    };
    file.finish()?;
    if !Writer::streams(format) {
        convert(out, &args.out, format)?;
    }
    eprintln!(
        "{} sentences for {} concepts; {} failed, {} pending",
        found.sentences,
        found.concepts,
        found.failed.len(),
        found.pending
    );
    Ok(())
}

fn card(args: &Card) -> Result<()> {
    let kb = Kb::open(&args.kb)?;
    let stem = |path: &Path| {
        let stem = path.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    };
    let mut human = Vec::new();
    for path in &args.human {
        let corpus = read_corpus(path, None, args.rules.as_deref(), None)?;
        // Files that do not say which split they are go by their names.
        let name = match corpus.documents.first().and_then(|d| d.split) {
            Some(split) => format!("human, {split}"),
            None => format!("human, {}", stem(path)),
        };
        human.push((name, corpus));
    }
    let options = read_options(args.rules.as_deref(), None)?;
    let synthetic = args.corpora.iter().map(|path| {
        let format = corpus_format(path, None)?;
        let documents = corpus_file::documents(path, format, &options)?;
        Ok((stem(path), documents))
    });
    let synthetic = synthetic.collect::<Result<Vec<_>>>()?;
    let human = human.iter().map(|(name, corpus)| (name.clone(), corpus));
    print!("{}", crate::card::write(&kb, human, synthetic, &args.out)?);
    Ok(())
}
