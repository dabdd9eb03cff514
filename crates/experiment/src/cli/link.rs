//! `syncabel link`: mentions to concepts.

use super::io::read_corpus;
use crate::config::LinkConfig;
use crate::error::BadInput;
use crate::marking;
use crate::progress;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use syncabel_corpus::marked::{self, AbbreviationStep, GroupRule, MarkOptions, MarkedMention};
use syncabel_corpus::predictions::{Prediction, TsvWriter, read_tsv};
use syncabel_decode::{LinkModel, Trie};
use syncabel_kb::{Digest, Kb};
use syncabel_model::{ModelSource, Precision, TextTokenizer};

/// Links the mentions of a corpus to concepts of a KB.
///
/// Mention spans and their semantic group (or entity type, see --group) are given; finding mentions is not part of this
/// program. Answers are written in input order; an interrupted run continues with --resume.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: syncabel link notes.jsonl --model \"$(syncabel train my_experiment.yaml)\" --kb terms.kb --out linked.tsv\n\n\
                  The run.json of every finished cell (runs/EXPERIMENT/cells/CELL/run.json) names its checkpoint, KB and trie."
)]
pub(super) struct Args {
    /// Corpus file with mentions.
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
    /// tsv (prediction file) or jsonl (one prediction a line).
    #[arg(long, default_value = "tsv", value_parser = ["tsv", "jsonl"])]
    to: String,
    /// Format of the input; guessed from its name where left out.
    #[arg(long)]
    format: Option<String>,
    /// What `|` and `+` mean in a PubTator input: explicit, ncbi_disease or bc5cdr.
    #[arg(long)]
    rules: Option<String>,
    /// Language of the input: en, fr, es or de.
    #[arg(long)]
    language: Option<String>,
    /// Semantic group of an entity type: `--group SpecificDisease=Disorders`; `--group Disorders` for all types.
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
    /// Beams.
    #[arg(long, default_value_t = 5)]
    beams: usize,
    /// Mentions decoded together.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Let the model write any text instead of names of the KB.
    #[arg(long)]
    free: bool,
    /// auto, flex, tch or cuda.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Continue a prediction file that was interrupted.
    #[arg(long, requires = "out")]
    resume: bool,
}

pub(super) fn run(args: Args) -> Result<()> {
    let kb = Kb::open(&args.kb)?;
    let mentions = mentions(&args, &kb)?;
    let done = match &args.out {
        Some(out) if args.resume && out.is_file() => already_linked(out, &mentions)?,
        _ => 0,
    };
    let source = model_source(&args.model)?;
    let mut model = LinkModel::load(&source, &args.device, Precision::F32)?;
    let trie = (!args.free)
        .then(|| open_or_build_trie(args.trie.as_deref(), &kb, model.tokenizer()))
        .transpose()?;
    let link = LinkConfig {
        guided: !args.free,
        beams: args.beams,
        batch: args.batch,
        ..LinkConfig::default()
    };
    let mut linker = model.linker(&kb, trie.as_ref(), link.options())?;
    let mut sink = Sink::open(&args, done > 0)?;
    let bar = progress::bar(mentions.len() as u64, "mentions").with_prefix("link");
    bar.inc(done as u64);
    for piece in mentions[done..].chunks(4 * args.batch.max(1)) {
        for prediction in linker.link(piece)? {
            sink.write(&prediction)?;
        }
        sink.flush()?;
        bar.inc(piece.len() as u64);
    }
    bar.finish_and_clear();
    sink.finish()
}

fn open_or_build_trie(path: Option<&Path>, kb: &Kb, tokenizer: &TextTokenizer) -> Result<Trie> {
    if let Some(path) = path.filter(|p| p.exists()) {
        let tokenizer: Digest = tokenizer.digest().parse()?;
        return Trie::open(path, kb.digest(), &tokenizer)
            .with_context(|| path.display().to_string());
    }
    let trie = Trie::for_tokenizer(kb, tokenizer)?;
    if let Some(path) = path {
        trie.write(path)?;
    }
    Ok(trie)
}

fn mentions(args: &Args, kb: &Kb) -> Result<Vec<MarkedMention>> {
    let corpus = read_corpus(
        &args.input,
        args.format.as_deref(),
        args.rules.as_deref(),
        args.language.as_deref(),
    )?;
    let options = mark_options(args)?;
    let mut all = Vec::new();
    for document in &corpus.documents {
        all.extend(marked::mark(document, Some(kb), &options)?);
    }
    Ok(all)
}

/// What the model was trained with, changed by what the command line says.
fn mark_options(args: &Args) -> Result<MarkOptions> {
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
        options.groups = group_rule(&args.groups)?;
    }
    Ok(options)
}

fn group_rule(groups: &[String]) -> Result<GroupRule> {
    let mut map = BTreeMap::new();
    let mut default = None;
    for group in groups {
        match group.split_once('=') {
            Some((label, group)) => {
                drop(map.insert(label.trim().to_owned(), group.trim().to_owned()))
            }
            None if default.is_none() => default = Some(group.trim().to_owned()),
            None => {
                return Err(
                    BadInput("`--group GROUP` for all types was given twice".into()).into(),
                );
            }
        }
    }
    Ok(GroupRule { map, default })
}

fn model_source(path: &Path) -> Result<ModelSource> {
    if path.is_dir() {
        Ok(ModelSource::Folder(path.to_owned()))
    } else if path.extension().is_some_and(|e| e == "gguf") && path.is_file() {
        Ok(ModelSource::Gguf(path.to_owned()))
    } else {
        let message = "is neither a folder with config.json and model.safetensors nor a .gguf file";
        Err(BadInput(format!("{} {message}", path.display())).into())
    }
}

/// Rows of an interrupted file, after a torn last row was dropped; they must be the first mentions of this input.
fn already_linked(out: &Path, mentions: &[MarkedMention]) -> Result<usize> {
    TsvWriter::append(out, &[])?.0.finish()?;
    let rows = read_tsv(out)?;
    let same = |(row, mention): (&Prediction, &MarkedMention)| {
        row.filename == mention.document && row.mention_id == mention.mention_id
    };
    if rows.len() > mentions.len() || !rows.iter().zip(mentions).all(same) {
        let message = "holds answers for another input; choose another --out or leave out --resume";
        return Err(BadInput(format!("{} {message}", out.display())).into());
    }
    Ok(rows.len())
}

/// Where answers go.
enum Sink {
    Tsv(TsvWriter),
    Json(Box<dyn Write>),
}

impl Sink {
    fn open(args: &Args, append: bool) -> Result<Self> {
        let stdout = || -> Box<dyn Write> { Box::new(BufWriter::new(std::io::stdout())) };
        Ok(match (&args.out, args.to.as_str()) {
            (Some(path), "tsv") if append => Sink::Tsv(TsvWriter::append(path, &[])?.0),
            (Some(path), "tsv") => Sink::Tsv(TsvWriter::create(path, &[])?),
            (None, "tsv") => Sink::Tsv(TsvWriter::create(Path::new("/dev/stdout"), &[])?),
            (Some(path), _) => Sink::Json(Box::new(BufWriter::new(std::fs::File::create(path)?))),
            (None, _) => Sink::Json(stdout()),
        })
    }

    fn write(&mut self, prediction: &Prediction) -> Result<()> {
        match self {
            Sink::Tsv(writer) => Ok(writer.write(prediction)?),
            Sink::Json(writer) => {
                serde_json::to_writer(&mut *writer, prediction)?;
                Ok(writer.write_all(b"\n")?)
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Sink::Tsv(writer) => Ok(writer.flush()?),
            Sink::Json(writer) => Ok(writer.flush()?),
        }
    }

    fn finish(mut self) -> Result<()> {
        self.flush()
    }
}
