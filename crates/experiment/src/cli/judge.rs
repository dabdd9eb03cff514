//! `syncabel judge`: how near is a wrong answer? By a language model, by the KB's hierarchy, or by people.

use super::models::LocalArgs;
use crate::error::BadInput;
use crate::stage::write_atomically;
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use syncabel_corpus::Language;
use syncabel_corpus::predictions::{Prediction, read_tsv, write_tsv};
use syncabel_eval::judge::hierarchy::{Hierarchy, Relation, RelationCounts};
use syncabel_eval::judge::{
    HUMAN_COLUMN, JudgeOptions, Judged, Label, draw_sample, judge, rows_per_group,
};
use syncabel_eval::{Bootstrap, ColumnAgreement, EvalOptions, Scored, score};
use syncabel_kb::Kb;
use syncabel_llm::{ChatBackend, Extra, Ledger, Limits, OpenAiClient, OpenAiConfig, RunOptions};

/// Judge subcommands.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Let language models judge the wrong answers of a prediction file.
    ///
    /// Equal codes are STRICT, an empty answer NO_RELATION and a part of a composite PARTIAL without a question; for the rest a
    /// model chooses EXACT, BROAD, NARROW or NO_RELATION. Verdicts are added to the file as columns. An interrupted run goes
    /// on where it was when the same command is given again; nothing is asked twice.
    #[command(
        after_help = "Example: syncabel judge run predictions.tsv --url http://127.0.0.1:8791/v1 --model SmolLM2-135M-Instruct.Q4_1 --ledger ledger --language es --out judged.tsv"
    )]
    Run(RunArgs),
    /// Judge by the KB's hierarchy, without a model: ancestor, descendant, sibling or unrelated, with the distance.
    ///
    /// Of several gold alternatives (`A|B`) the closest counts. Some of the parts of a composite (`A+B`) are PARTIAL; other
    /// composites are `unknown`, NO_RELATION. Where one of the two concepts has neither parent nor child (`unplaced`) there is
    /// no verdict. How often an answer stands where is printed, with intervals.
    #[command(
        after_help = "Example: syncabel judge hierarchy predictions.tsv --kb hpo.kb --out judged.tsv"
    )]
    Hierarchy(HierarchyArgs),
    /// Draw wrong answers for people to annotate: even over the groups, without a word on the system.
    #[command(
        after_help = "Example: syncabel judge sample a.tsv b.tsv --size 150 --out sample.tsv --key sample-key.json"
    )]
    Sample(SampleArgs),
    /// Compare verdict columns of a file: accuracy, Cohen's kappa with its interval, confusion.
    #[command(
        after_help = "Example: syncabel judge agree judged.tsv --with Human_Evaluation LLM_Evaluation_v2"
    )]
    Agree(AgreeArgs),
}

/// Arguments of `judge run`.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Prediction file.
    predictions: PathBuf,
    /// OpenAI-compatible server, up to and including the version: http://127.0.0.1:8791/v1.
    #[arg(long, required_unless_present = "local", requires = "model")]
    url: Option<String>,
    #[command(flatten)]
    local: LocalArgs,
    /// Model, as the server calls it. May be repeated; each adds a column, and their agreement is reported. The name of a local
    /// model is that of its file.
    #[arg(long, conflicts_with = "local")]
    model: Vec<String>,
    /// Folder that keeps every question and answer.
    #[arg(long)]
    ledger: PathBuf,
    /// Environment variable that holds the API key.
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// Further field of every request, as the server calls it: repeat_penalty=1.0. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", requires = "url")]
    extra: Vec<Extra>,
    /// Language of the question: en, fr, es or de.
    #[arg(long, default_value = "en")]
    language: Language,
    /// KB folder, for the names of concepts; without it the file's own names are shown.
    #[arg(long, value_name = "KB")]
    kb: Option<PathBuf>,
    /// Temperature.
    #[arg(long, default_value_t = 0.1)]
    temperature: f64,
    /// Requests in flight at once.
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    /// Requests a minute.
    #[arg(long)]
    requests_per_minute: Option<u32>,
    /// Longest time for one request, in seconds.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// File to write: the predictions with a column `Judge:MODEL` for each model.
    #[arg(long)]
    out: PathBuf,
    /// Write the models' agreement, with people and with each other, as tables into a folder.
    #[arg(long, value_name = "FOLDER")]
    tables: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Arguments of `judge hierarchy`.
#[derive(Debug, clap::Args)]
pub(super) struct HierarchyArgs {
    /// Prediction file.
    predictions: PathBuf,
    /// KB folder.
    #[arg(long)]
    kb: PathBuf,
    /// File to write, with the columns `Hierarchy` and `Judge:hierarchy`.
    #[arg(long)]
    out: PathBuf,
    /// Write the counts as a table into a folder, as .md, .csv and .tex.
    #[arg(long, value_name = "FOLDER")]
    tables: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Arguments of `judge sample`.
#[derive(Debug, clap::Args)]
pub(super) struct SampleArgs {
    /// Prediction files of the systems.
    #[arg(required = true)]
    predictions: Vec<PathBuf>,
    /// Rows.
    #[arg(long, default_value_t = 145)]
    size: usize,
    /// Seed.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Table for the annotators, with an empty column `Human_Evaluation`.
    #[arg(long)]
    out: PathBuf,
    /// Which systems gave each answer, as JSON; keep it from the annotators.
    #[arg(long)]
    key: PathBuf,
}

/// Arguments of `judge agree`.
#[derive(Debug, clap::Args)]
pub(super) struct AgreeArgs {
    /// Prediction file with verdict columns.
    predictions: PathBuf,
    /// Columns to compare, the reference first.
    #[arg(long, num_args = 2.., required = true, value_name = "COLUMN")]
    with: Vec<String>,
    /// Write agreement and confusion as tables into a folder, each as .md, .csv and .tex.
    #[arg(long, value_name = "FOLDER")]
    tables: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: Command) -> Result<()> {
    match command {
        Command::Run(args) => run_models(&args),
        Command::Hierarchy(args) => by_hierarchy(&args),
        Command::Sample(args) => sample(&args),
        Command::Agree(args) => agree(&args),
    }
}

/// What a model made of the file.
#[derive(Serialize)]
struct ModelReport {
    model: String,
    column: String,
    mentions: usize,
    settled: usize,
    asked: usize,
    unreadable: usize,
    pending: usize,
}

impl RunArgs {
    /// The models to ask, and what answers for them.
    fn backend(&self) -> Result<(Vec<String>, Box<dyn ChatBackend>)> {
        if let Some((name, chat)) = self.local.load(self.in_flight)? {
            return Ok((vec![name], Box::new(chat)));
        }
        let client = OpenAiClient::new(&OpenAiConfig {
            api_key_env: self.api_key_env.clone(),
            timeout_s: self.timeout,
            ..OpenAiConfig::new(self.url.as_deref().unwrap_or_default())
        })?;
        Ok((self.model.clone(), Box::new(client)))
    }
}

fn run_models(args: &RunArgs) -> Result<()> {
    let mut rows = read_tsv(&args.predictions)?;
    let kb = args.kb.as_deref().map(Kb::open).transpose()?;
    let scored = score(&rows, None, kb.as_ref(), &EvalOptions::default())?;
    let (models, backend) = args.backend()?;
    let ledger = Ledger::open(&args.ledger, "judge")?;
    let mut reports = Vec::new();
    for model in &models {
        let mut options = JudgeOptions::new(model, args.language);
        options.sampling.temperature = Some(args.temperature);
        options.sampling.extra = args.extra.iter().cloned().collect();
        options.run = RunOptions {
            in_flight: args.in_flight,
            limits: Limits {
                requests_per_minute: args.requests_per_minute,
                tokens_per_minute: None,
            },
            ..RunOptions::default()
        };
        let mut watch = |progress: &syncabel_llm::Progress| {
            tracing::debug!(?progress, "judging");
            true
        };
        let judged = judge(
            &*backend,
            &ledger,
            &rows,
            &scored,
            kb.as_ref(),
            &options,
            &mut watch,
        )?;
        let column = format!("Judge:{model}");
        add_column(&mut rows, &scored, &column, |place| {
            judged.labels[place].map_or_else(String::new, |label| label.to_string())
        });
        reports.push(report(model, column, &judged));
    }
    write_tsv(&args.out, &rows)?;
    let pairs = pairs(&rows, &reports)?;
    if let Some(folder) = &args.tables {
        write_tables(folder, &pairs)?;
    }
    print(args.json, &reports, &pairs)?;
    let pending: usize = reports.iter().map(|r| r.pending).sum();
    if pending > 0 {
        anyhow::bail!("{pending} questions have no answer yet; give the same command again");
    }
    Ok(())
}

fn report(model: &str, column: String, judged: &Judged) -> ModelReport {
    ModelReport {
        model: model.to_owned(),
        column,
        mentions: judged.labels.len(),
        settled: judged.settled,
        asked: judged.asked,
        unreadable: judged.unreadable,
        pending: judged.pending,
    }
}

/// Every model against the people's column, where there is one, and against the models before it.
fn pairs(rows: &[Prediction], reports: &[ModelReport]) -> Result<Vec<ColumnAgreement>> {
    let human = rows.iter().any(|row| has_column(row, HUMAN_COLUMN));
    let mut columns: Vec<&str> = human.then_some(HUMAN_COLUMN).into_iter().collect();
    columns.extend(reports.iter().map(|r| r.column.as_str()));
    let mut pairs = Vec::new();
    for (index, second) in columns.iter().enumerate() {
        for first in &columns[..index] {
            pairs.push(compare(rows, first, second)?);
        }
    }
    Ok(pairs)
}

fn has_column(row: &Prediction, column: &str) -> bool {
    row.extra
        .iter()
        .any(|(name, value)| name == column && !value.trim().is_empty())
}

fn compare(rows: &[Prediction], first: &str, second: &str) -> Result<ColumnAgreement> {
    let bootstrap = Bootstrap::default();
    Ok(ColumnAgreement::of(rows, first, second, bootstrap)?)
}

/// Accuracy, kappa and confusion of all pairs as tables.
fn write_tables(folder: &Path, pairs: &[ColumnAgreement]) -> Result<()> {
    ColumnAgreement::table(pairs)?.write_all(folder, "agreement")?;
    ColumnAgreement::confusion_table(pairs)?.write_all(folder, "confusion")?;
    Ok(())
}

fn print(json: bool, reports: &[ModelReport], pairs: &[ColumnAgreement]) -> Result<()> {
    if json {
        let all = serde_json::json!({"models": reports, "agreement": pairs});
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    for r in reports {
        println!(
            "{}: {} mentions, {} settled by the protocol, {} asked, {} answers unreadable (NO_RELATION), {} pending",
            r.column, r.mentions, r.settled, r.asked, r.unreadable, r.pending
        );
    }
    for pair in pairs {
        print_pair(pair);
    }
    Ok(())
}

fn print_pair(pair: &ColumnAgreement) {
    let a = &pair.agreement;
    let [low, high] = a.kappa_ci95.unwrap_or([a.kappa; 2]);
    println!(
        "{} against {}: {} of {} agree ({:.1} %), kappa {:.3} ({low:.3} to {high:.3})",
        pair.second,
        pair.first,
        a.agreed,
        a.rows,
        100.0 * a.accuracy,
        a.kappa
    );
    for (first, row) in &a.confusion {
        let cells: Vec<String> = row
            .iter()
            .map(|(second, n)| format!("{second} {n}"))
            .collect();
        println!("  {first}: {}", cells.join(", "));
    }
}

/// Puts a value behind every scored row; rows that are not scored get an empty cell.
fn add_column(
    rows: &mut [Prediction],
    scored: &Scored,
    column: &str,
    value: impl Fn(usize) -> String,
) {
    for row in rows.iter_mut() {
        row.extra.retain(|(name, _)| name != column);
        row.extra.push((column.to_owned(), String::new()));
    }
    for (place, outcome) in scored.outcomes.iter().enumerate() {
        if let Some((_, cell)) = rows[outcome.row as usize].extra.last_mut() {
            *cell = value(place);
        }
    }
}

fn by_hierarchy(args: &HierarchyArgs) -> Result<()> {
    let kb = Kb::open(&args.kb)?;
    let hierarchy = Hierarchy::of(&kb).ok_or_else(|| {
        let message = format!(
            "{}: no concept of this KB has a parent in it; build it from a source with parents (OBO, JSONL, CTD)",
            args.kb.display()
        );
        BadInput(message)
    })?;
    let mut rows = read_tsv(&args.predictions)?;
    let options = EvalOptions::default();
    let scored = score(&rows, None, Some(&kb), &options)?;
    let relations: Vec<Relation> = scored
        .outcomes
        .iter()
        .map(|outcome| {
            let row = &rows[outcome.row as usize];
            hierarchy.relation(&row.code, &row.predicted_code)
        })
        .collect();
    add_column(&mut rows, &scored, "Hierarchy", |place| {
        relations[place].to_string()
    });
    add_column(&mut rows, &scored, "Judge:hierarchy", |place| {
        let right = scored.outcomes[place].correct.then_some(Label::Strict);
        let label = right.or(relations[place].label());
        label.map_or_else(String::new, |label| label.to_string())
    });
    write_tsv(&args.out, &rows)?;
    let counts = RelationCounts::new(&relations, &scored, options.bootstrap)?;
    let title = format!(
        "Where the answers stand in the hierarchy: {} wrong of {}",
        counts.wrong, counts.mentions
    );
    let table = counts.table(&title)?;
    if let Some(folder) = &args.tables {
        table.write_all(folder, "hierarchy")?;
    }
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&counts)?),
        false => print!("{}", table.to_markdown()),
    }
    Ok(())
}

fn sample(args: &SampleArgs) -> Result<()> {
    let mut systems = Vec::new();
    for path in &args.predictions {
        let rows = read_tsv(path)?;
        let scored = score(&rows, None, None, &EvalOptions::default())?;
        systems.push((rows, scored));
    }
    let borrowed: Vec<(&[Prediction], &Scored)> = systems
        .iter()
        .map(|(rows, scored)| (rows.as_slice(), scored))
        .collect();
    let drawn = draw_sample(&borrowed, args.size, args.seed);
    let rows: Vec<Prediction> = drawn.iter().map(|s| s.row.clone()).collect();
    write_tsv(&args.out, &rows)?;
    let files: Vec<String> = args
        .predictions
        .iter()
        .map(|p| p.display().to_string())
        .collect();
    let of_row: Vec<&[usize]> = drawn.iter().map(|s| s.systems.as_slice()).collect();
    let key = serde_json::json!({"systems": files, "rows": of_row, "seed": args.seed});
    write_atomically(&args.key, &serde_json::to_vec_pretty(&key)?)
        .with_context(|| format!("cannot write {}", args.key.display()))?;
    for (group, count) in rows_per_group(&drawn) {
        println!("{group}: {count}");
    }
    Ok(())
}

fn agree(args: &AgreeArgs) -> Result<()> {
    let rows = read_tsv(Path::new(&args.predictions))?;
    let (reference, others) = args.with.split_at(1);
    let mut pairs = Vec::new();
    for other in others {
        pairs.push(compare(&rows, &reference[0], other)?);
    }
    if let Some(folder) = &args.tables {
        write_tables(folder, &pairs)?;
    }
    print(args.json, &[], &pairs)
}
