//! The experiment file: one YAML document that says everything a run depends on.
//!
//! Unknown keys are refused with the nearest known one; every default is written down here or in the type it belongs to,
//! and the resolved form (defaults filled in) goes into the run folder. Paths are relative to the YAML file and may hold
//! `${NAME}` or `${NAME:-default}` from the environment.

use crate::error::ConfigError;
use crate::overrides::{self, Arms, Cell};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use syncabel_corpus::marked::AbbreviationStep;
use syncabel_corpus::{CorpusFormat, Language, PubtatorRules};
use syncabel_decode::{ConceptRule, LinkOptions, Scoring, SearchOptions, Strategy};
use syncabel_eval::{Bootstrap, CompositeRule, SeenRule};
use syncabel_kb::select::Selection;
use syncabel_kb::{BuildOptions, SourceFormat};
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

/// Reading rules by name or spelled out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Rules {
    /// A preset of [`PubtatorRules`].
    Preset(String),
    /// The rules themselves.
    Explicit(PubtatorRules),
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
    Openai(Box<OpenAiSynth>),
    /// A corpus that exists already.
    Import {
        /// Files.
        files: Vec<CorpusFile>,
        /// Quality filters.
        #[serde(default)]
        filters: FilterChoice,
    },
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
    /// and 0 for `best_first`.
    pub length_penalty: Option<f32>,
    /// How names decide about concepts: `best_name` or `summed_names`.
    pub concepts: ConceptRule,
    /// How weights are kept on CPUs: `f32` or `bf16`.
    pub precision: LinkPrecision,
}

/// How weights are kept on CPUs.
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
            concepts: ConceptRule::default(),
            precision: LinkPrecision::default(),
        }
    }
}

impl LinkConfig {
    /// The options of the linker.
    pub fn options(&self) -> LinkOptions {
        let usual = match self.strategy {
            Strategy::Beam => 1.0,
            Strategy::BestFirst => 0.0,
        };
        let search = SearchOptions {
            strategy: self.strategy,
            scoring: self.scoring,
            length_penalty: self.length_penalty.unwrap_or(usual),
            beams: self.beams,
            max_new_tokens: self.max_new_tokens,
            multi_answer: (self.max_answers > 1).then_some(self.max_answers),
            ..SearchOptions::default()
        };
        LinkOptions {
            search,
            batch: self.batch,
            concepts: self.concepts,
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
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut tree: Value = serde_yaml::from_str(&text).map_err(|e| syntax(path, &e))?;
        // typed once as written, so that mistakes in the file are reported with their line
        typed(path, serde_yaml::Deserializer::from_str(&text))?;
        for assignment in assignments {
            let (key, value) = overrides::parse_assignment(assignment)?;
            overrides::set(&mut tree, &key, value)?;
        }
        let experiment = typed(path, with_seeds(tree.clone()))?;
        Ok(ExperimentFile {
            path: path.to_owned(),
            tree,
            experiment,
        })
    }

    /// The cells of the sweep, each with its typed configuration.
    ///
    /// # Errors
    /// [`ConfigError`] when an axis sets a key that does not exist or a value of the wrong type.
    pub fn cells(&self) -> Result<Vec<(Cell, Experiment)>, ConfigError> {
        let cell = |cell: Cell| {
            let mut tree = self.tree.clone();
            for (path, value) in &cell.changes {
                overrides::set(&mut tree, path, value.clone())?;
            }
            let experiment = typed(&self.path, with_seeds(tree))?;
            Ok((cell, experiment))
        };
        overrides::cells(&self.experiment.arms, &self.experiment.matrix)
            .into_iter()
            .map(cell)
            .collect()
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

fn syntax(path: &Path, error: &serde_yaml::Error) -> ConfigError {
    let (line, column) = error.location().map_or((1, 1), |l| (l.line(), l.column()));
    ConfigError::Syntax {
        path: path.to_owned(),
        line,
        column,
        message: error.to_string(),
    }
}

fn typed<'de, D>(path: &Path, source: D) -> Result<Experiment, ConfigError>
where
    D: serde::Deserializer<'de, Error = serde_yaml::Error>,
{
    serde_path_to_error::deserialize::<_, Experiment>(source).map_err(|error| {
        let key = error.path().to_string();
        let inner = error.into_inner();
        ConfigError::Key {
            path: path.to_owned(),
            line: inner.location().map(|l| l.line()),
            key,
            message: with_nearest(&inner.to_string()),
        }
    })
}

/// Adds "did you mean" to serde's "unknown field `x`, expected one of `a`, `b`".
fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.contains("unknown field") || message.contains("unknown variant");
    let nearest = quoted.next().filter(|_| unknown).and_then(|wrong| {
        quoted
            .map(|known| (strsim::damerau_levenshtein(wrong, known), known))
            .min()
            .filter(|(distance, known)| *distance <= known.len().max(wrong.len()) / 2)
    });
    match nearest {
        Some((_, known)) => format!("{message}; did you mean `{known}`?"),
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
