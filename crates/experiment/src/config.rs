//! The experiment file: one YAML document that says everything a run depends on.
//!
//! Unknown keys are refused with the nearest known one; every default is written down here or in the type it belongs to,
//! and the resolved form (defaults filled in) goes into the run folder. Paths are relative to the YAML file and may hold
//! `${NAME}` or `${NAME:-default}` from the environment.

use crate::error::ConfigError;
use crate::import::ImportSynth;
use crate::overrides::{self, ARM, Arms, Cell};
use crate::synthesis::{FilterChoice, ModelSynth};
use crate::validate::{self, Refusal};
use crate::yaml::{self, Step};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use syncabel_corpus::marked::AbbreviationStep;
use syncabel_corpus::{CorpusFormat, Language, PubtatorRules};
use syncabel_decode::{ConceptRule, Lexical, LinkOptions, Scoring, SearchOptions, Strategy};
use syncabel_eval::{Bootstrap, CompositeRule, SeenRule};
use syncabel_kb::select::Selection;
use syncabel_kb::{BuildOptions, SourceFormat};
use syncabel_synth::quality::Filters;
use syncabel_train::{Composition, TrainConfig};

/// An experiment: one run, or a sweep where `arms` or `matrix` are given.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Names the folder below `runs/` and `results/`.
    pub name: String,
    /// What the experiment asks, in a sentence or two; printed above its table.
    #[serde(default)]
    pub description: String,
    /// Seed of everything random: synthesis, composition, initial weights, order of training. Sections that have a
    /// `seed` of their own use that instead.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// The knowledge base.
    pub kb: KbConfig,
    /// Human annotation.
    pub corpus: CorpusConfig,
    /// How a concept's name is chosen as the target of a training example.
    #[serde(default)]
    pub target: TargetConfig,
    /// Synthetic annotation; needed by every strategy but `human_only`.
    #[serde(default)]
    pub synth: Option<SynthConfig>,
    /// The language model to start from.
    pub model: ModelConfig,
    /// How human and synthetic examples are put together.
    #[serde(default)]
    pub composition: Composition,
    /// The training loop.
    #[serde(default)]
    pub train: TrainConfig,
    /// Decoding.
    #[serde(default)]
    pub link: LinkConfig,
    /// What counts as right, and the intervals.
    #[serde(default)]
    pub eval: EvalConfig,
    /// Named arms that differ in more than one key: the dotted paths that each of them sets. A sweep runs every arm with
    /// every combination of `matrix`.
    #[serde(default)]
    pub arms: Arms,
    /// Axes of a sweep: dotted path to the values it takes.
    #[serde(default)]
    pub matrix: IndexMap<String, Vec<Value>>,
    /// Cells that run side by side, each in a process with its share of the cores. Worth it for small models; leave it
    /// at 1 where one training run fills machine or memory.
    #[serde(default = "default_jobs")]
    pub jobs: usize,
    /// Tables and figures over all cells.
    #[serde(default)]
    pub report: ReportConfig,
}

fn default_jobs() -> usize {
    1
}

fn default_seed() -> u64 {
    42
}

/// Terminology files and how they become one KB.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KbConfig {
    /// Files, read in this order.
    pub sources: Vec<KbSource>,
    /// Cleaning and disambiguation.
    #[serde(default)]
    pub options: BuildOptions,
}

/// One terminology file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KbSource {
    /// The file, gzipped or not.
    pub path: String,
    /// Its format; guessed from the file name where left out.
    #[serde(default)]
    pub format: Option<SourceFormat>,
    /// Semantic group of concepts that name none.
    #[serde(default)]
    pub group: Option<String>,
}

/// The human corpus, by split.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusConfig {
    /// Training files.
    pub train: Vec<CorpusFile>,
    /// Files that choose the checkpoint; never the test split.
    #[serde(default)]
    pub validation: Vec<CorpusFile>,
    /// Files that are scored.
    pub test: Vec<CorpusFile>,
    /// Language of all files.
    #[serde(default = "default_language")]
    pub language: Language,
    /// Entity type of the corpus to semantic group of the KB.
    #[serde(default)]
    pub groups: BTreeMap<String, String>,
    /// Group of every entity type that `groups` does not name.
    #[serde(default)]
    pub default_group: Option<String>,
    /// Whether abbreviations that the document defines are written out inside the brackets.
    #[serde(default = "default_abbreviations")]
    pub abbreviations: AbbreviationStep,
    /// Characters of context kept around the mention; all of the sentence where left out.
    #[serde(default)]
    pub max_context_chars: Option<usize>,
    /// Share of the validation mentions, from the front, that is added to training; the rest chooses the checkpoint
    /// (the paper uses 0.9, section "Splits"; 1 trains on all of them and leaves the last checkpoint).
    #[serde(default)]
    pub validation_share_to_train: f64,
}

impl Default for CorpusConfig {
    fn default() -> Self {
        CorpusConfig {
            train: Vec::new(),
            validation: Vec::new(),
            test: Vec::new(),
            language: default_language(),
            groups: BTreeMap::new(),
            default_group: None,
            abbreviations: default_abbreviations(),
            max_context_chars: None,
            validation_share_to_train: 0.0,
        }
    }
}

fn default_language() -> Language {
    Language::En
}

fn default_abbreviations() -> AbbreviationStep {
    AbbreviationStep::Off
}

/// One corpus file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusFile {
    /// The file, gzipped or not.
    pub path: String,
    /// Its format; guessed from the file name where left out.
    #[serde(default)]
    pub format: Option<CorpusFormat>,
    /// What `|` and `+` mean in this corpus: the name of a preset (`ncbi_disease`, `bc5cdr`), or the rules themselves.
    #[serde(default)]
    pub rules: Option<Rules>,
}

impl CorpusFile {
    /// A file of which nothing more is said.
    pub fn plain() -> Self {
        CorpusFile {
            path: String::new(),
            format: None,
            rules: None,
        }
    }
}

/// Reading rules by name or spelled out.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Rules {
    /// A preset of [`PubtatorRules`].
    Preset(String),
    /// The rules themselves.
    Explicit(PubtatorRules),
}

impl Rules {
    /// The rules that the name stands for, or those spelled out.
    ///
    /// # Errors
    /// A name that is no preset; files cannot hold one.
    pub fn resolve(&self) -> Result<PubtatorRules, syncabel_corpus::Error> {
        match self {
            Rules::Preset(name) => PubtatorRules::preset(name),
            Rules::Explicit(rules) => Ok(rules.clone()),
        }
    }
}

/// By hand, because serde's untagged enums forget which key was wrong.
impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct NameOrRules;

        impl<'de> serde::de::Visitor<'de> for NameOrRules {
            type Value = Rules;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(
                    f,
                    "one of {}, or the rules themselves",
                    PubtatorRules::PRESETS.join(", ")
                )
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Rules, E> {
                match PubtatorRules::preset(name) {
                    Ok(_) => Ok(Rules::Preset(name.to_owned())),
                    // in serde's words, so that the nearest preset is offered as it is for keys
                    Err(_) => Err(E::unknown_variant(name, &PubtatorRules::PRESETS)),
                }
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Rules, A::Error> {
                let rules = serde::de::value::MapAccessDeserializer::new(map);
                PubtatorRules::deserialize(rules).map(Rules::Explicit)
            }
        }

        source.deserialize_any(NameOrRules)
    }
}

/// How the target name is chosen.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// The similarity between mention and names of the gold concept (paper, "adaptive concept representation").
    pub selection: Selection,
}

impl Default for TargetConfig {
    fn default() -> Self {
        TargetConfig {
            selection: Selection::Tfidf,
        }
    }
}

/// The synthetic corpus.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "generator", rename_all = "snake_case")]
pub enum SynthConfig {
    /// KB names in human sentences, no language model.
    Transplant {
        /// Sentences per concept.
        #[serde(default = "default_per_concept")]
        per_concept: usize,
        /// Which concepts.
        #[serde(default, with = "serde_yaml::with::singleton_map")]
        concepts: ConceptChoice,
        /// Seed; the experiment's where left out.
        #[serde(default)]
        seed: Option<u64>,
        /// Quality filters.
        #[serde(default)]
        filters: FilterChoice,
    },
    /// A language model behind an OpenAI-compatible server.
    Openai(Box<ModelSynth>),
    /// A language model in this process, on the CPU.
    Local(Box<ModelSynth>),
    /// A corpus that exists already.
    Import(Box<ImportSynth>),
}

impl SynthConfig {
    /// Quality filters of whichever generator.
    pub fn filters(&self) -> &Filters {
        match self {
            SynthConfig::Transplant { filters, .. } => &filters.0,
            SynthConfig::Openai(synth) | SynthConfig::Local(synth) => &synth.filters.0,
            SynthConfig::Import(synth) => &synth.filters.0,
        }
    }
}

fn default_per_concept() -> usize {
    3
}

/// Which concepts get synthetic sentences.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConceptChoice {
    /// Every concept of the KB.
    #[default]
    All,
    /// Concepts with a definition, as the paper does for UMLS.
    WithDefinition,
    /// A seeded sample of this many.
    Sample(usize),
    /// Concepts of these semantic groups.
    Groups(Vec<String>),
    /// These codes.
    Codes(Vec<String>),
}

/// Where the model comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct ModelConfig {
    /// The weights.
    #[serde(with = "serde_yaml::with::singleton_map")]
    pub source: ModelSourceConfig,
    /// `auto`, `flex`, `tch` or `cuda`, with an index where there are several (`cuda:1`).
    #[serde(default = "default_device")]
    pub device: String,
}

fn default_device() -> String {
    "auto".into()
}

/// The weights to start from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum ModelSourceConfig {
    /// Random weights and a tokenizer trained on the KB's names and the training text.
    Scratch(ScratchConfig),
    /// A folder in Hugging Face layout.
    Folder(String),
    /// A GGUF file.
    Gguf(String),
    /// A repository of the Hugging Face Hub, `owner/name` or `owner/name@revision`.
    Hub(String),
}

/// Shape of a model trained from scratch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScratchConfig {
    /// Size of the byte-pair vocabulary.
    pub vocabulary: usize,
    /// Width.
    pub hidden_size: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
}

/// Decoding.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkConfig {
    /// Hold every token to the trie of the mention's group. `false` gives the paper's "without guided inference".
    pub guided: bool,
    /// Beams, all of them returned.
    pub beams: usize,
    /// Longest answer in tokens, end of sequence included.
    pub max_new_tokens: usize,
    /// Concept names one answer may hold (joined by `<SEP>`); 1 gives single answers.
    pub max_answers: usize,
    /// Mentions decoded together.
    pub batch: usize,
    /// `beam` (the paper's) or `best_first` (exact; on CPUs, guided).
    pub strategy: Strategy,
    /// What a token costs: `full`, among all tokens (the paper's), or `local`, among those that the trie allows.
    pub scoring: Scoring,
    /// Exponent of the length by which an answer's log-probability is divided; where left out 1 for `beam` (the paper's)
    /// and for `best_first` with `within`, else 0.
    pub length_penalty: Option<f32>,
    /// With `best_first`: answers are the best names by score of those whose log-probability is at most so many nats below
    /// that of the most probable name. Left out: of all names.
    pub within: Option<f32>,
    /// How names decide about concepts: `best_name` or `summed_names`.
    pub concepts: ConceptRule,
    /// The names nearest to a mention by TF-IDF (`names`, 5 where left out) become answers too, and answers are ranked by the
    /// model's score plus `weight` times the cosine. Left out: by the model's score alone (the paper's). On CPUs.
    pub lexical: Option<Lexical>,
    /// How weights are kept: `f32` or `bf16`.
    pub precision: LinkPrecision,
}

/// How weights are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LinkPrecision {
    /// Float32.
    #[default]
    F32,
    /// Bfloat16 with float32 sums: half the memory, and faster on CPUs with AMX or AVX512-BF16.
    Bf16,
}

impl From<LinkPrecision> for syncabel_model::Precision {
    fn from(precision: LinkPrecision) -> Self {
        match precision {
            LinkPrecision::F32 => Self::F32,
            LinkPrecision::Bf16 => Self::Bf16,
        }
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        LinkConfig {
            guided: true,
            beams: 5,
            max_new_tokens: 128,
            max_answers: 1,
            batch: 16,
            strategy: Strategy::default(),
            scoring: Scoring::default(),
            length_penalty: None,
            within: None,
            concepts: ConceptRule::default(),
            lexical: None,
            precision: LinkPrecision::default(),
        }
    }
}

impl LinkConfig {
    /// The options of the linker.
    pub fn options(&self) -> LinkOptions {
        let usual = match (self.strategy, self.within) {
            (Strategy::BestFirst, None) => 0.0,
            (Strategy::Beam, _) | (Strategy::BestFirst, Some(_)) => 1.0,
        };
        let search = SearchOptions {
            strategy: self.strategy,
            scoring: self.scoring,
            length_penalty: self.length_penalty.unwrap_or(usual),
            within: self.within,
            beams: self.beams,
            max_new_tokens: self.max_new_tokens,
            multi_answer: (self.max_answers > 1).then_some(self.max_answers),
            ..SearchOptions::default()
        };
        LinkOptions {
            search,
            batch: self.batch,
            concepts: self.concepts,
            lexical: self.lexical,
            ..LinkOptions::default()
        }
    }
}

/// What counts as right.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Composite gold annotation: all parts needed (the paper's rule), or any one of them.
    pub composite: CompositeRule,
    /// When a gold concept counts as seen in the human training data.
    pub seen: SeenRule,
    /// The document-level bootstrap.
    pub bootstrap: Bootstrap,
    /// Score the nearest KB name by TF-IDF as well, as a line of its own.
    pub lexical_baseline: bool,
}

impl Default for EvalConfig {
    fn default() -> Self {
        EvalConfig {
            composite: CompositeRule::default(),
            seen: SeenRule::default(),
            bootstrap: Bootstrap::default(),
            lexical_baseline: true,
        }
    }
}

/// Tables and figures over the cells of a sweep.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportConfig {
    /// Folder for committed tables and figures, relative to the YAML file; `results/<name>` of the workspace where left
    /// out.
    pub folder: Option<String>,
    /// Axis whose values are the rows of the table (`composition.strategy`); all axes but `seed` where left out.
    pub rows: Option<String>,
    /// Axis drawn along x where it is a number (`composition.human_share`).
    pub x: Option<String>,
}

/// A read experiment file: the typed form, the tree it came from, and where it lies.
#[derive(Debug, Clone)]
pub struct ExperimentFile {
    /// The YAML file.
    pub path: PathBuf,
    text: String,
    /// Dotted paths that `--set` changed.
    assigned: Vec<String>,
    tree: Value,
    /// The experiment as written (with overrides, before a cell of the matrix is chosen).
    pub experiment: Experiment,
}

impl ExperimentFile {
    /// Reads an experiment and applies `--set` assignments.
    ///
    /// # Errors
    /// [`ConfigError`], naming file, line and key.
    pub fn read(path: &Path, assignments: &[String]) -> Result<Self, ConfigError> {
        let text = read_text(path)?;
        let mut tree: Value = serde_yaml::from_str(&text).map_err(|e| syntax(path, &text, &e))?;
        // typed once as written, so that a mistake in the file is not taken for one of `--set`
        let places = Places {
            path,
            text: &text,
            assigned: &[],
            cell: None,
        };
        typed(&places, serde_yaml::Deserializer::from_str(&text))?;
        let mut assigned = Vec::new();
        for assignment in assignments {
            let (key, value) = overrides::parse_assignment(assignment)?;
            overrides::set(&mut tree, &key, value)?;
            assigned.push(key);
        }
        let places = Places {
            assigned: &assigned,
            ..places
        };
        let experiment = typed(&places, with_seeds(tree.clone()))?;
        Ok(ExperimentFile {
            path: path.to_owned(),
            text,
            assigned,
            tree,
            experiment,
        })
    }

    /// The cells of the sweep, each with its typed and checked configuration.
    ///
    /// # Errors
    /// [`ConfigError`] when an axis sets a key that does not exist or a value of the wrong type, and for every value that
    /// no run could work with.
    pub fn cells(&self) -> Result<Vec<(Cell, Experiment)>, ConfigError> {
        let cells = overrides::cells(&self.experiment.arms, &self.experiment.matrix);
        validate::sweep(&self.experiment, &cells).map_err(|r| self.places(None).refusal(r))?;
        validate::assigned(&cells, &self.assigned).map_err(|r| self.places(None).refusal(r))?;
        cells
            .into_iter()
            .map(|cell| {
                let experiment = self.cell_config(&cell)?;
                Ok((cell, experiment))
            })
            .collect()
    }

    fn cell_config(&self, cell: &Cell) -> Result<Experiment, ConfigError> {
        let mut tree = self.tree.clone();
        for (path, value) in &cell.changes {
            overrides::set(&mut tree, path, value.clone())?;
        }
        let places = self.places(Some(cell));
        let experiment = typed(&places, with_seeds(tree))?;
        validate::cell(&experiment).map_err(|r| places.refusal(r))?;
        Ok(experiment)
    }

    /// An error about a key of this file, with its line.
    pub fn refuse(&self, key: &str, message: impl Into<String>) -> ConfigError {
        self.places(None).refusal(Refusal {
            key: key.to_owned(),
            message: message.into(),
        })
    }

    fn places<'a>(&'a self, cell: Option<&'a Cell>) -> Places<'a> {
        Places {
            path: &self.path,
            text: &self.text,
            assigned: &self.assigned,
            cell,
        }
    }

    /// The folder that relative paths start from.
    pub fn folder(&self) -> &Path {
        self.path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
    }
}

/// Hands the experiment's seed to the sections that have none of their own.
fn with_seeds(mut tree: Value) -> Value {
    let seed = tree
        .get("seed")
        .cloned()
        .unwrap_or_else(|| Value::from(default_seed()));
    for section in ["composition", "train"] {
        if tree.get(section).and_then(|s| s.get("seed")).is_none() {
            // a section that is not a mapping is left for the typed form to refuse, with its key
            let _ = overrides::set(&mut tree, &format!("{section}.seed"), seed.clone());
        }
    }
    tree
}

/// Resolves a path of the file: environment variables, then relative to `folder`.
///
/// # Errors
/// [`ConfigError::Key`] when a variable is not set and has no default.
pub fn resolve_path(
    file: &Path,
    folder: &Path,
    key: &str,
    text: &str,
) -> Result<PathBuf, ConfigError> {
    let expanded = expand(text, |name| std::env::var(name).ok()).map_err(|name| ConfigError::Key {
        path: file.to_owned(),
        line: None,
        key: key.to_owned(),
        message: format!(
            "the environment variable `{name}` is not set; set it, write `${{{name}:-default}}`, or use `--set {key}=PATH`"
        ),
    })?;
    let path = PathBuf::from(expanded);
    Ok(if path.is_absolute() {
        path
    } else {
        folder.join(path)
    })
}

/// Replaces `${NAME}` and `${NAME:-default}`; `Err` holds the name of a variable without a value.
fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('}') else {
            break;
        };
        let inner = &rest[start + 2..start + end];
        let (name, default) = inner
            .split_once(":-")
            .map_or((inner, None), |(n, d)| (n, Some(d)));
        match lookup(name).or(default.map(str::to_owned)) {
            Some(value) => out.push_str(&value),
            None => return Err(name.to_owned()),
        }
        rest = &rest[start + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The text of an experiment file.
fn read_text(path: &Path) -> Result<String, ConfigError> {
    let bytes = std::fs::read(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let (line, column) = yaml::not_utf8(error.as_bytes()).unwrap_or((1, 1));
        ConfigError::Syntax {
            path: path.to_owned(),
            line,
            column,
            message: "not UTF-8; convert the file first, for example with iconv".to_owned(),
        }
    })
}

fn syntax(path: &Path, text: &str, error: &serde_yaml::Error) -> ConfigError {
    let (line, column) = error.location().map_or((1, 1), |l| (l.line(), l.column()));
    let (line, column, message) = match yaml::repeated_key(text) {
        Some((key, line, column)) => {
            let message = format!("key `{key}` stands twice in one mapping; remove one");
            (line, column, message)
        }
        None => (line, column, format!("not valid YAML: {error}")),
    };
    ConfigError::Syntax {
        path: path.to_owned(),
        line,
        column,
        message,
    }
}

/// Where the values of a configuration come from.
#[derive(Clone, Copy)]
struct Places<'a> {
    path: &'a Path,
    text: &'a str,
    assigned: &'a [String],
    cell: Option<&'a Cell>,
}

impl<'a> Places<'a> {
    fn refusal(&self, refusal: Refusal) -> ConfigError {
        let Refusal { key, message } = refusal;
        self.error(&yaml::steps(&key), key, message)
    }

    fn error(&self, steps: &[Step], key: String, message: String) -> ConfigError {
        let (line, note) = self.of(steps, &key);
        ConfigError::Key {
            path: self.path.to_owned(),
            line,
            key,
            message: format!("{message}{note}"),
        }
    }

    /// The line of a key and, where the value is not what the file says at that key, a remark on who set it.
    fn of(&self, steps: &[Step], key: &str) -> (Option<usize>, String) {
        let sets = |path: &str| {
            key.strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let change = |cell: &'a Cell| cell.changes.iter().rev().find(|(path, _)| sets(path));
        if let Some((cell, (path, _))) = self.cell.and_then(|cell| Some((cell, change(cell)?))) {
            let named = |(axis, value): &(String, Value)| {
                (axis == ARM).then(|| value.as_str().unwrap_or("").to_owned())
            };
            let arm = cell.settings.iter().find_map(named).unwrap_or_default();
            let key = |text: &str| Step::Key(text.to_owned());
            let line = yaml::exact_line_of(self.text, &[key("matrix"), key(path)])
                .or_else(|| yaml::exact_line_of(self.text, &[key("arms"), key(&arm), key(path)]));
            return (line, format!(" (in cell `{}`)", cell.label()));
        }
        if self.assigned.iter().any(|path| sets(path)) {
            return (None, " (set by --set)".to_owned());
        }
        (self.line_in_file(steps, key), String::new())
    }

    /// Axes and arms hold dotted paths as keys: `matrix.train.epochs` is the key `train.epochs` inside of `matrix`.
    fn line_in_file(&self, steps: &[Step], key: &str) -> Option<usize> {
        if let Some(axis) = key.strip_prefix("matrix.") {
            return yaml::line_of(
                self.text,
                &[Step::Key("matrix".into()), Step::Key(axis.into())],
            );
        }
        if let Some((arm, path)) = key
            .strip_prefix("arms.")
            .and_then(|rest| rest.split_once('.'))
        {
            return yaml::line_of(self.text, &["arms", arm, path].map(|k| Step::Key(k.into())));
        }
        yaml::line_of(self.text, steps)
    }
}

fn typed<'de, D>(places: &Places<'_>, source: D) -> Result<Experiment, ConfigError>
where
    D: serde::Deserializer<'de, Error = serde_yaml::Error>,
{
    serde_path_to_error::deserialize::<_, Experiment>(source).map_err(|error| {
        use serde_path_to_error::Segment;
        let step = |segment: &Segment| match segment {
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { variant } => Some(Step::Key(variant.clone())),
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Unknown => None,
        };
        let mut steps: Vec<Step> = error.path().iter().filter_map(step).collect();
        let key = error.path().to_string();
        let message = error.into_inner().to_string();
        // a key that nobody knows is not on the path of a tagged enum, only in the message
        let unknown = message
            .split_once("unknown field `")
            .and_then(|(_, rest)| rest.split('`').next());
        if let Some(unknown) = unknown.map(|key| Step::Key(key.to_owned()))
            && steps.last() != Some(&unknown)
        {
            steps.push(unknown);
        }
        places.error(&steps, key, with_nearest(without_place(&message)))
    })
}

/// The parser's message without its ` at line 3 column 5`: the line is said in front, and more exactly.
fn without_place(message: &str) -> &str {
    match message.rsplit_once(" at line ") {
        Some((what, place)) if place.starts_with(|c: char| c.is_ascii_digit()) => what,
        _ => message,
    }
}

/// The known word that is spelled most like `wrong`, where any is near.
pub(crate) fn nearest<'k>(wrong: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|known| (strsim::damerau_levenshtein(wrong, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().max(wrong.len()) / 2)
        .map(|(_, known)| known)
}

/// Adds "did you mean" to serde's "unknown field `x`, expected one of `a`, `b`".
pub(crate) fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.contains("unknown field") || message.contains("unknown variant");
    let nearest = quoted
        .next()
        .filter(|_| unknown)
        .and_then(|wrong| nearest(wrong, quoted));
    match nearest {
        Some(known) => format!("{message}; did you mean `{known}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_expand_with_defaults() {
        let lookup = |name: &str| (name == "DATA").then(|| "/data".to_owned());
        assert_eq!(expand("${DATA}/x", lookup).unwrap(), "/data/x");
        assert_eq!(expand("a/${NONE:-b}/c", lookup).unwrap(), "a/b/c");
        assert_eq!(expand("${NONE}/x", lookup).unwrap_err(), "NONE");
        assert_eq!(expand("plain", lookup).unwrap(), "plain");
    }

    #[test]
    fn the_nearest_key_is_offered() {
        let message = with_nearest("unknown field `epoch`, expected one of `epochs`, `batch`");
        assert!(message.ends_with("did you mean `epochs`?"), "{message}");
        assert!(
            !with_nearest("unknown field `zzzzzzzz`, expected `batch`").contains("did you mean")
        );
    }
}
