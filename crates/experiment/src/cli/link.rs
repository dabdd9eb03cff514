//! `syncabel link`: mentions to concepts.

mod claim;
mod explain;
mod record;
mod sentences;
mod sink;
mod source;

use super::models::model_source;
use crate::config::{LinkConfig, LinkPrecision};
use crate::error::BadInput;
use crate::marking;
use crate::progress;
use crate::weights::weights_digest;
use anyhow::{Context, Result};
use claim::Claim;
use record::Record;
use sink::Sink;
use source::{Input, Item};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use syncabel_corpus::marked::{AbbreviationStep, GroupRule, MarkOptions, MarkedMention};
use syncabel_decode::{
    Calibration, ConceptRule, Lexical, LinkModel, LinkOptions, Linker, Scoring, Strategy, Trie,
};
use syncabel_kb::{Digest, Kb};
use syncabel_model::TextTokenizer;

/// Mentions that are read, linked and written together where answers may depend on who is searched at the same time: in a best-first search
/// that is cut off, and in padded batches.
const WINDOW: usize = 512;

/// Mentions that are read, linked and written together elsewhere, at least: with fewer, batches that run out cost more than a few
/// percent.
const LEAST_WINDOW: usize = 256;

/// And at most: all of them are in memory.
const MOST_WINDOW: usize = 4096;

/// How long they should take: what an interruption can cost, and how long a reader of the answers waits.
const WINDOW_TIME: Duration = Duration::from_secs(30);

/// The output format that is made of documents.
const PUBTATOR: &str = "pubtator";

/// Larger trie files are opened without reading all of them.
const VERIFIED_BYTES: usize = 64 << 20;

/// Without a terminal to draw on, progress is told this often.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// Links the mentions of a corpus to concepts of a KB.
///
/// Mention spans and their semantic group (or entity type, see --group) are given; finding mentions is not part of this
/// program. Answers are written in input order, some hundred mentions at a time (half a minute of work, or what a pipe holds at its end);
/// an interrupted run continues with --resume. Every format is read as a stream: memory holds little more than an id a document, with
/// SPACCC tables and Parquet also where a document's rows are. What is wrong with a file is told before anything is written, with a pipe
/// when it is reached: what came before it is linked.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: syncabel link notes.jsonl --model \"$(syncabel train my_experiment.yaml)\" --kb terms.kb --out linked.tsv\n\n\
                  The run.json of every finished cell (runs/EXPERIMENT/cells/CELL/run.json) names its checkpoint, KB and trie."
)]
pub(super) struct Args {
    /// Corpus file with mentions, or a file of marked sentences (--format marked); `-` for standard input.
    input: PathBuf,
    /// Model: a folder in Hugging Face layout or a GGUF file.
    #[arg(long)]
    model: PathBuf,
    /// KB folder.
    #[arg(long)]
    kb: PathBuf,
    /// Trie file: opened if it exists (it must belong to this KB and tokenizer), else built and written there. Saves the
    /// building time of large KBs.
    #[arg(long, conflicts_with = "free")]
    trie: Option<PathBuf>,
    /// Prediction file to write; stdout where left out.
    #[arg(long)]
    out: Option<PathBuf>,
    /// tsv (prediction file), jsonl (one prediction a line) or pubtator (documents with the predicted codes; those without
    /// mentions are left out, and the first sentence is the title).
    #[arg(long, default_value = "tsv", value_parser = ["tsv", "jsonl", "pubtator"])]
    to: String,
    /// Print, for people, the best names of every mention with scores, concept, definition and tokens; a star marks
    /// tokens that the trie forced. Takes the place of predictions on stdout.
    #[arg(long)]
    explain: bool,
    /// Format of the input: pubtator, jsonl, bigbio, spaccc, quaero or parquet, guessed from the file where left out; or `marked` for
    /// sentences, one a line: `Known [HD]{Disorders}, now with chorea.` Parts of a mention are written `[Breast]{+} and ovarian
    /// [cancer]{Disorders}`, other brackets are text.
    #[arg(long)]
    format: Option<String>,
    /// What `|` and `+` mean in a PubTator input: explicit, ncbi_disease or bc5cdr.
    #[arg(long)]
    rules: Option<String>,
    /// Language of the input where it does not say: en, fr, es or de. Where it says another one, that is an error.
    #[arg(long)]
    language: Option<String>,
    /// Semantic group of an entity type: `--group SpecificDisease=Disorders`; `--group Disorders` for all types that are no group of
    /// the KB.
    #[arg(long = "group", value_name = "[TYPE=]GROUP")]
    groups: Vec<String>,
    /// Write abbreviations that the document defines out inside the brackets: off or expand. Left out: as the model was
    /// trained, where its folder says so, else off.
    #[arg(long, value_parser = ["off", "expand"])]
    abbreviations: Option<String>,
    /// At most this many characters of the sentence around the mention; 0 for all. Left out: as the model was trained,
    /// where its folder says so, else all.
    #[arg(long, value_name = "CHARS")]
    max_context_chars: Option<usize>,
    /// beam (the paper's) or best-first (the best names exactly, usually for less work).
    #[arg(long, default_value = "beam", value_parser = ["beam", "best-first"])]
    search: String,
    /// What a token costs: full (among all tokens, the paper's) or local (among those that the trie allows).
    #[arg(long, default_value = "full", value_parser = ["full", "local"])]
    scoring: String,
    /// Exponent of the length by which log-probabilities are divided; left out: 1 for beam and with --within, else 0.
    #[arg(long)]
    length_penalty: Option<f32>,
    /// With best-first: the names whose log-probability is at most NATS below that of the most probable name, the best by
    /// length-normalised score. Costs nothing where the model is sure, and shows the alternatives where it is not.
    #[arg(long, value_name = "NATS")]
    within: Option<f32>,
    /// What is predicted: the concept of the best name, or the one whose names are most probable together (sum).
    #[arg(long, default_value = "best", value_parser = ["best", "sum"])]
    concepts: String,
    /// Let the five names nearest to a mention by TF-IDF be answers too, and rank by score plus WEIGHT times the cosine: for
    /// concepts that the model was not trained on. A calibration must have been fitted with the same weight.
    #[arg(long, value_name = "WEIGHT")]
    lexical: Option<f64>,
    /// Concept names that one answer may hold.
    #[arg(long, default_value = "1", value_parser = super::io::at_least_one)]
    max_answers: usize,
    /// A calibration file of `syncabel calibrate`: fills the column Probability.
    #[arg(long, value_name = "JSON")]
    calibration: Option<PathBuf>,
    /// Answers that are less probable become NIL.
    #[arg(long, requires = "calibration")]
    min_prob: Option<f64>,
    /// How weights are kept: f32, or bf16 (half the memory; faster on GPUs and on CPUs with AMX or AVX512-BF16, as fast elsewhere with AVX2).
    #[arg(long, default_value = "f32")]
    precision: LinkPrecision,
    /// Beams, or with best-first the number of names. Left out: 5, with best-first 1 (proving more takes many times as long)
    /// unless --within says how far to look.
    #[arg(long)]
    beams: Option<usize>,
    /// Mentions decoded together.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Let the model write any text instead of names of the KB.
    #[arg(long)]
    free: bool,
    /// auto, flex (or cpu), tch, tch:N, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Continue a prediction file that was interrupted. FILE.run.json beside it says how it came about; another model, KB or
    /// search is refused.
    #[arg(long, requires = "out")]
    resume: bool,
    /// Replace a prediction file that is there.
    #[arg(long, requires = "out", conflicts_with = "resume")]
    overwrite: bool,
}

pub(super) fn run(args: Args) -> Result<()> {
    let kb = Kb::open(&args.kb)?;
    let input = args.input();
    let options = args.options()?;
    let marking = mark_options(&args, &kb)?;
    let mut claim = args.claim()?;
    let record = args.record(&kb, &marking, &options)?;
    args.check_out(claim.as_ref(), record.as_ref())?;
    let mut mentions = input.mentions(&kb, marking.clone())?;
    // Counting reads and marks a file to its end, so what is wrong with it is told before anything is written.
    let counted = input.count(&kb, &marking, args.to == PUBTATOR)?;
    let total = counted.as_ref().map(|counted| counted.mentions);
    let source = model_source(&args.model)?;
    let mut model = LinkModel::load(&source, &args.device, args.precision.into())?;
    let trie = (!args.free)
        .then(|| open_or_build_trie(args.trie.as_deref(), &kb, model.tokenizer()))
        .transpose()?;
    let mut linker = model.linker(&kb, trie.as_ref(), options)?;
    if counted.is_some_and(|counted| linker.may_be_too_long(counted.longest_prompt)) {
        for item in input.mentions(&kb, marking)? {
            linker.check_length(&item?.mention)?;
        }
    }
    let mut sink = None;
    let mut done = 0;
    if let (true, Some(out)) = (args.goes_on(claim.as_ref()), &args.out) {
        (sink, done) =
            Sink::resume(out, &args.to, &mut mentions).map(|(sink, done)| (Some(sink), done))?;
    }
    let mut meter = Meter::new(total, done);
    let several_batches = args.batch.saturating_mul(16);
    let alone = args.search == "beam" && syncabel_model::is_cpu(&args.device);
    let least = if alone { LEAST_WINDOW } else { WINDOW }.max(several_batches);
    let mut window = least;
    let mut ended = Ok(());
    while ended.is_ok() {
        let started = Instant::now();
        // What was read before an error is linked and kept.
        let mut items = Vec::new();
        for item in mentions.by_ref().take(window) {
            // Of a pipe nothing was known before.
            let item = item.and_then(|item| {
                source::check_groups(&kb, &item.mention)?;
                linker.check_length(&item.mention)?;
                Ok(item)
            });
            match item {
                Ok(item) => items.push(item),
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
        }
        if items.is_empty() {
            break;
        }
        // A file is replaced when there is something to write, and all that can be refused before is behind us.
        if sink.is_none() {
            sink = args.create(claim.as_mut(), record.as_ref())?;
        }
        link(
            &mut linker,
            &items,
            sink.as_mut(),
            args.explain.then_some(&kb),
            &mut meter,
        )?;
        if alone {
            let windows = WINDOW_TIME.as_secs_f64() / started.elapsed().as_secs_f64().max(1e-3);
            window = ((items.len() as f64 * windows) as usize).clamp(least, MOST_WINDOW.max(least));
        }
    }
    meter.finish();
    progress::warn_of_unproven(linker.work());
    if total.is_none() {
        mentions
            .report()
            .into_iter()
            .for_each(|report| tracing::info!("{report}"));
    }
    if sink.is_none() && ended.is_ok() {
        sink = args.create(claim.as_mut(), record.as_ref())?;
    }
    sink.map_or(Ok(()), Sink::finish)?;
    ended
}

/// Puts what is known of the answers in `predictions` beside `made`, which is made of them.
///
/// # Errors
/// A folder that cannot be written to.
pub(super) fn copy_record(predictions: &Path, made: &Path) -> Result<()> {
    Record::copy(predictions, made)
}

/// Links some mentions and writes their answers.
fn link(
    linker: &mut Linker<'_>,
    items: &[Item],
    mut sink: Option<&mut Sink>,
    explain: Option<&Kb>,
    meter: &mut Meter,
) -> Result<()> {
    let mentions: Vec<MarkedMention> = items.iter().map(|item| item.mention.clone()).collect();
    let mut told = 0;
    let mut progress = |done: usize| {
        meter.add(done.saturating_sub(told) as u64);
        told = told.max(done);
    };
    let linked = match explain {
        None => {
            let plain = linker
                .link_with_progress(&mentions, &mut progress)?
                .into_iter();
            plain
                .map(|prediction| (prediction, None))
                .collect::<Vec<_>>()
        }
        Some(_) => {
            let explained = linker.link_explained(&mentions, &mut progress)?.into_iter();
            explained
                .map(|(prediction, why)| (prediction, Some(why)))
                .collect()
        }
    };
    progress(mentions.len());
    let mut out = super::io::stdout();
    for ((prediction, why), item) in linked.iter().zip(items) {
        if let Some(sink) = &mut sink {
            sink.write(prediction, &item.document)?;
        }
        if let (Some(kb), Some(why)) = (explain, why) {
            explain::write(&mut out, kb, prediction, why)?;
        }
    }
    out.flush()?;
    sink.map_or(Ok(()), Sink::flush)
}

impl Args {
    fn input(&self) -> Input {
        Input {
            path: self.input.clone(),
            format: self.format.clone(),
            rules: self.rules.clone(),
            language: self.language.clone(),
        }
    }

    fn options(&self) -> Result<LinkOptions> {
        let config = LinkConfig {
            guided: !self.free,
            beams: self
                .beams
                .unwrap_or(match (self.search.as_str(), self.within) {
                    ("best-first", None) => 1,
                    _ => LinkConfig::default().beams,
                }),
            batch: self.batch,
            max_answers: self.max_answers,
            strategy: match self.search.as_str() {
                "best-first" => Strategy::BestFirst,
                _ => Strategy::Beam,
            },
            scoring: match self.scoring.as_str() {
                "local" => Scoring::Local,
                _ => Scoring::Full,
            },
            concepts: match self.concepts.as_str() {
                "sum" => ConceptRule::SummedNames,
                _ => ConceptRule::BestName,
            },
            lexical: self.lexical.map(|weight| Lexical {
                weight,
                ..Lexical::default()
            }),
            length_penalty: self.length_penalty,
            within: self.within,
            ..LinkConfig::default()
        };
        if let Some(defect) = config.options().search.within_defect() {
            return Err(BadInput(format!("--within {defect}")).into());
        }
        let calibration = self
            .calibration
            .as_deref()
            .map(read_calibration)
            .transpose()?;
        Ok(LinkOptions {
            calibration,
            min_probability: self.min_prob,
            ..config.options()
        })
    }

    /// What goes beside the prediction file; nothing where there is none.
    fn record(
        &self,
        kb: &Kb,
        marking: &MarkOptions,
        options: &LinkOptions,
    ) -> Result<Option<Record>> {
        if self.out.is_none() {
            return Ok(None);
        }
        model_source(&self.model)?;
        let record = Record {
            syncabel: env!("CARGO_PKG_VERSION").to_owned(),
            model: self.model.clone(),
            model_digest: weights_digest(&self.model)?,
            kb_digest: kb.digest().to_string(),
            precision: format!("{:?}", self.precision).to_lowercase(),
            guided: !self.free,
            to: Some(self.to.clone()),
            language: self.language.clone(),
            rules: self.rules.clone(),
            marking: marking.clone(),
            link: options.clone(),
        };
        if let Some(calibration) = &self.calibration {
            record.check_calibration(calibration)?;
        }
        Ok(Some(record))
    }

    /// The output file, for this process alone.
    fn claim(&self) -> Result<Option<Claim>> {
        let Some(out) = self.out.as_deref() else {
            return Ok(None);
        };
        let others = [&self.trie, &self.calibration];
        let inputs: Vec<&Path> = [self.input.as_path(), &self.model]
            .into_iter()
            .chain(others.into_iter().flatten().map(PathBuf::as_path))
            .collect();
        Claim::new(out, &inputs).map(Some)
    }

    /// Whether answers of an earlier run are gone on with.
    fn goes_on(&self, claim: Option<&Claim>) -> bool {
        self.resume && claim.is_some_and(Claim::holds_something)
    }

    /// Refuses a file of answers that may not be replaced, or was begun in another way.
    fn check_out(&self, claim: Option<&Claim>, record: Option<&Record>) -> Result<()> {
        let (Some(out), Some(record)) = (self.out.as_deref(), record) else {
            return Ok(());
        };
        if self.goes_on(claim) {
            return record.check(out);
        }
        if !self.overwrite && claim.is_some_and(Claim::holds_something) {
            let message = "is there already; go on with it by --resume, or say --overwrite";
            return Err(BadInput(format!("{} {message}", out.display())).into());
        }
        Ok(())
    }

    /// Where predictions go, from the first one on; nowhere if only a person reads.
    fn create(&self, claim: Option<&mut Claim>, record: Option<&Record>) -> Result<Option<Sink>> {
        let Some(((out, claim), record)) = self.out.as_deref().zip(claim).zip(record) else {
            let sink = (!self.explain).then(|| Sink::create(None, &self.to));
            return sink.transpose();
        };
        claim.begin();
        // First without answers, then described: an interruption between the two leaves no answers under another one's description.
        let sink = Sink::create(Some(out), &self.to)?;
        if claim.is_file() {
            record.write(out)?;
        }
        Ok(Some(sink))
    }
}

fn read_calibration(path: &Path) -> Result<Calibration> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).map_err(|e| {
        let message = format!("{}: no calibration file: {e}", path.display());
        BadInput(message).into()
    })
}

/// Tells how far it is: a bar where there is a terminal, else a line now and then.
struct Meter {
    bar: indicatif::ProgressBar,
    total: Option<u64>,
    before: u64,
    done: u64,
    started: Instant,
    told: Instant,
}

impl Meter {
    fn new(total: Option<u64>, done: u64) -> Self {
        let bar = progress::bar(total.unwrap_or(0), "mentions").with_prefix("link");
        // What an earlier run did says nothing about how fast this one is.
        bar.set_position(done);
        bar.reset_eta();
        let now = Instant::now();
        Self {
            bar,
            total,
            before: done,
            done,
            started: now,
            told: now,
        }
    }

    fn rate(&self) -> f64 {
        (self.done - self.before) as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    fn add(&mut self, count: u64) {
        self.done += count;
        self.bar.inc(count);
        if self.bar.is_hidden() && self.told.elapsed() >= TOLD_EVERY {
            self.told = Instant::now();
            let rate = self.rate();
            match self.total {
                Some(total) => {
                    let left = total.saturating_sub(self.done) as f64 / rate;
                    tracing::info!(
                        "{} of {total} mentions, {rate:.1} a second, {left:.0} s left",
                        self.done
                    );
                }
                None => tracing::info!("{} mentions, {rate:.1} a second", self.done),
            }
        }
    }

    fn finish(self) {
        self.bar.finish_and_clear();
        tracing::info!(
            "{} mentions linked in {:.1} s, {:.1} a second",
            self.done - self.before,
            self.started.elapsed().as_secs_f64(),
            self.rate()
        );
    }
}

fn open_or_build_trie(path: Option<&Path>, kb: &Kb, tokenizer: &TextTokenizer) -> Result<Trie> {
    if let Some(path) = path.filter(|p| p.exists()) {
        let tokenizer: Digest = tokenizer.digest().parse()?;
        let trie = Trie::open(path, kb.digest(), &tokenizer)
            .with_context(|| path.display().to_string())?;
        if trie.as_bytes().len() <= VERIFIED_BYTES {
            trie.verify(path)?;
        }
        return Ok(trie);
    }
    let trie = Trie::for_tokenizer(kb, tokenizer)?;
    if let Some(path) = path {
        trie.write(path)?;
    }
    Ok(trie)
}

/// What the model was trained with, changed by what the command line says.
fn mark_options(args: &Args, kb: &Kb) -> Result<MarkOptions> {
    let mut options = marking::read(&args.model)?.unwrap_or_default();
    match args.abbreviations.as_deref() {
        Some("expand") => options.abbreviations = AbbreviationStep::Expand,
        Some(_) => options.abbreviations = AbbreviationStep::Off,
        None => {}
    }
    if let Some(chars) = args.max_context_chars {
        options.max_context_chars = (chars > 0).then_some(chars);
    }
    if !args.groups.is_empty() {
        options.groups = group_rule(&args.groups, kb)?;
    }
    Ok(options)
}

/// The rule of `--group [TYPE=]GROUP`, repeated.
///
/// # Errors
/// Bad input where a type, or all types, are given a group twice or none, and for a group that the KB does not have.
pub(super) fn group_rule(groups: &[String], kb: &Kb) -> Result<GroupRule> {
    let refuse = |what: String| Err(BadInput(format!("--group: {what}")).into());
    let mut rule = GroupRule::default();
    for given in groups {
        let (label, group) = match given.split_once('=') {
            Some((label, group)) => (Some(label.trim()), group.trim()),
            None => (None, given.trim()),
        };
        if kb.group_id(group).is_none() {
            let known: Vec<&str> = kb.groups().map(|(_, name)| name).collect();
            return refuse(format!(
                "the KB has no group {group:?}; it has {}",
                known.join(", ")
            ));
        }
        let before = match label {
            Some("") => {
                return refuse(format!(
                    "{given:?} names no type; write TYPE=GROUP or GROUP"
                ));
            }
            Some(label) => rule.map.insert(label.to_owned(), group.to_owned()),
            None => rule.default.replace(group.to_owned()),
        };
        if before.is_some() {
            let what = label.unwrap_or("all types");
            return refuse(format!("a group for {what} was given twice"));
        }
    }
    Ok(rule)
}
