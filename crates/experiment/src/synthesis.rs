//! Synthetic corpora for an experiment or the command line: generator, filters, and the files they leave.
//!
//! ```text
//! FOLDER/
//!     synthetic.jsonl     the corpus, filtered
//!     report.json         counts and failures of the generation
//!     filters.json        what each filter rejected, with samples; `round_trip` has a stage of its own ([`crate::round_trip`])
//!     card.json, card.md, and as .svg and .png: sentence_lengths, novelty, names_used
//! ```

use crate::config::{
    ConceptChoice, CorpusConfig, ExperimentFile, LinkPrecision, ModelSourceConfig, SynthConfig,
};
use crate::corpus_file;
use crate::error::BadInput;
use crate::import::{self, Source};
use crate::local::LocalChat;
use crate::round_trip::{self, RoundTrip};
use crate::stage::write_atomically;
use crate::weights::weights_digest;
use crate::{card, human, progress, start};
use anyhow::{Context, Result};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::path::{Path, PathBuf};
use std::time::Duration;
use syncabel_corpus::{Corpus, CorpusFormat, Language, Split, jsonl};
use syncabel_kb::Kb;
use syncabel_llm::{ChatBackend, OpenAiClient, OpenAiConfig, RunOptions, Sampling};
use syncabel_model::ModelSource;
use syncabel_synth::quality::{FilterReport, Filters, Quality, ROUND_TRIP};
use syncabel_synth::{
    Generator, ModelOptions, OpenAi, PromptOptions, Prompts, Sample, Selection, SynthOptions,
    SynthReport, TrainSentences, Transplant, synthesise_into,
};

/// `synth: {generator: openai, ...}` and `{generator: local, ...}`: sentences from a language model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSynth {
    /// `openai`: an OpenAI-compatible server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<OpenAiConfig>,
    /// `local`: a model that is run in this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalConfig>,
    /// Name of the model, as the server calls it; of a local one, the name under which its answers are kept.
    pub model: String,
    /// Sentences per concept.
    #[serde(default = "default_per_concept")]
    pub per_concept: usize,
    /// Which concepts.
    #[serde(default, with = "serde_yaml::with::singleton_map")]
    pub concepts: ConceptChoice,
    /// Seed; the experiment's where left out.
    #[serde(default)]
    pub seed: Option<u64>,
    /// How answers are drawn; the paper's parameters where left out.
    #[serde(default)]
    pub sampling: Sampling,
    /// Send a seed with every request.
    #[serde(default = "default_seeded")]
    pub seeded: bool,
    /// Most answers to one concept.
    #[serde(default = "default_max_answers")]
    pub max_answers: usize,
    /// In a line without brackets, take the longest name of the concept that stands in it for the mention.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub find_names: bool,
    /// What is asked for.
    #[serde(default)]
    pub prompt: PromptOptions,
    /// How hard the server is pressed.
    #[serde(default)]
    pub run: RunOptions,
    /// Folder of the ledger, relative to the YAML file; one for each seed in the experiment's run folder where left out. Every
    /// answer ever paid for stays there, also when concepts, filters or counts change.
    #[serde(default)]
    pub ledger: Option<String>,
    /// Quality filters.
    #[serde(default)]
    pub filters: FilterChoice,
}

/// Weights for a model in this process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalConfig {
    /// Where they are.
    #[serde(with = "serde_yaml::with::singleton_map")]
    pub source: ModelSourceConfig,
    /// How they are kept: `f32` or `bf16`.
    #[serde(default)]
    pub precision: LinkPrecision,
}

fn default_per_concept() -> usize {
    SynthOptions::default().sentences_per_concept
}

fn default_seeded() -> bool {
    true
}

fn default_max_answers() -> usize {
    ModelOptions::new("").max_answers
}

/// Which filters are on: `none`, `all` (each with its defaults), `all_with_round_trip`, or a map of those that are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FilterChoice(pub Filters);

impl FilterChoice {
    /// `none`, `all` or `all_with_round_trip`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "none" => Some(FilterChoice::default()),
            "all" => Some(FilterChoice(Filters::all())),
            "all_with_round_trip" => Some(FilterChoice(Filters::all_with_round_trip())),
            _ => None,
        }
    }
}

impl Serialize for FilterChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FilterChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;
        impl<'de> serde::de::Visitor<'de> for Choice {
            type Value = FilterChoice;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`none`, `all`, `all_with_round_trip`, or a map of filters")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<FilterChoice, E> {
                FilterChoice::named(name).ok_or_else(|| {
                    E::unknown_variant(name, &["none", "all", "all_with_round_trip"])
                })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<FilterChoice, A::Error> {
                Filters::deserialize(MapAccessDeserializer::new(map)).map(FilterChoice)
            }
        }
        deserializer.deserialize_any(Choice)
    }
}

impl ModelSynth {
    /// Name of the generator.
    fn generator(&self) -> &'static str {
        if self.local.is_some() {
            "local"
        } else {
            "openai"
        }
    }

    /// What answers.
    ///
    /// # Errors
    /// A server's configuration or a model's files that cannot be used.
    fn backend(&self, file: &ExperimentFile) -> Result<Box<dyn ChatBackend>> {
        match (&self.local, &self.server) {
            (Some(local), _) => {
                let source = start::pretrained_source(file, "synth.local.source", &local.source)?;
                let batch = self.run.in_flight;
                Ok(Box::new(LocalChat::load(&source, local.precision, batch)?))
            }
            (None, Some(server)) => Ok(Box::new(self.client(server)?)),
            (None, None) => unreachable!("the file was checked: a generator has what it needs"),
        }
    }

    /// The client of a server.
    ///
    /// # Errors
    /// An address or a key that cannot be used.
    pub fn client(&self, server: &OpenAiConfig) -> Result<OpenAiClient> {
        Ok(OpenAiClient::new(&OpenAiConfig {
            // Single requests are repeated by the run, over all threads.
            retry: self.run.retry,
            ..server.clone()
        })?)
    }
}

/// What a synthetic corpus is made from.
#[derive(Debug, Clone, Copy)]
pub struct Material<'a> {
    /// The knowledge base.
    pub kb: &'a Kb,
    /// Human documents of the training split.
    pub train: &'a Corpus,
    /// All human documents, which filters compare with.
    pub human: &'a [&'a Corpus],
    /// How labels become groups, and the language.
    pub corpus: &'a CorpusConfig,
    /// Seed where the generator names none.
    pub seed: u64,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// Counts and failures of the generation.
    pub report: SynthReport,
    /// What the filters did.
    pub filters: FilterReport,
}

impl Material<'_> {
    /// Names of concepts in human training sentences of the same group.
    ///
    /// # Errors
    /// A selection without concepts, a corpus without sentences.
    pub fn transplant(
        &self,
        per_concept: usize,
        concepts: &ConceptChoice,
        seed: Option<u64>,
        filters: &Filters,
        out: &Path,
    ) -> Result<Made> {
        let options = self.options(per_concept, concepts, seed);
        self.write(&Transplant, &options, &filters.for_transplant(), out)
    }

    /// Sentences from a language model; answers are kept in `ledger`. With `wait`, a ledger that another process
    /// writes to is waited for.
    ///
    /// # Errors
    /// As [`Material::transplant`]; a model that cannot be used; concepts that are left without an answer.
    pub fn written(
        &self,
        synth: &ModelSynth,
        backend: &dyn ChatBackend,
        ledger: &Path,
        wait: bool,
        out: &Path,
    ) -> Result<Made> {
        let mut options = self.options(synth.per_concept, &synth.concepts, synth.seed);
        options.records = false;
        let concepts = options.selection.resolve(self.kb)?.len();
        loop {
            let prompts = Prompts::new(self.corpus.language, &synth.prompt)?;
            let bar = progress::bar(concepts as u64, "concepts").with_prefix("synth");
            let shown = bar.clone();
            let model = ModelOptions {
                model: synth.model.clone(),
                sampling: synth.sampling.clone(),
                seeded: synth.seeded,
                max_answers: synth.max_answers,
                find_names: synth.find_names,
            };
            let generator = OpenAi::new(backend, prompts, model, synth.run, ledger.to_owned());
            let generator = generator.named(synth.generator()).watched(move |p| {
                shown.set_position(p.finished as u64);
                shown.set_message(format!(
                    "{} failed, {} faults, {} tokens",
                    p.failed, p.faults, p.tokens
                ));
                true
            });
            let made = self.write(&generator, &options, &synth.filters.0, out);
            bar.finish_and_clear();
            match made {
                Err(error) if wait && is_in_use(&error) => {
                    tracing::info!(%error, "waiting");
                    std::thread::sleep(Duration::from_secs(2));
                }
                made => return made,
            }
        }
    }

    fn options(
        &self,
        per_concept: usize,
        concepts: &ConceptChoice,
        seed: Option<u64>,
    ) -> SynthOptions {
        let seed = seed.unwrap_or(self.seed);
        SynthOptions {
            selection: selection(concepts, seed),
            sentences_per_concept: per_concept,
            seed,
            ..SynthOptions::default()
        }
    }

    /// Generates, filters and writes, one document at a time.
    fn write(
        &self,
        generator: &dyn Generator,
        options: &SynthOptions,
        filters: &Filters,
        out: &Path,
    ) -> Result<Made> {
        let contexts =
            TrainSentences::from_corpus(self.train, self.kb, &human::mark_options(self.corpus))?;
        let mut quality = Quality::new(self.kb, self.human, &filters.without_model());
        let mut file = jsonl::Writer::create(out)?;
        let report = synthesise_into(generator, self.kb, &contexts, options, &mut |document| {
            if quality.keep(&document) {
                file.write(&document)?;
            }
            Ok(())
        })?;
        file.finish()?;
        let filters = quality.finish();
        Ok(Made { report, filters })
    }
}

/// The stage of a runner: corpus, report and counts in a folder.
///
/// # Errors
/// As the generator.
pub fn stage(
    material: &Material<'_>,
    synth: &SynthConfig,
    file: &ExperimentFile,
    sources: &[Source],
    ledger: &Path,
    folder: &Path,
) -> Result<()> {
    let out = folder.join(CORPUS);
    let made = match synth {
        SynthConfig::Transplant {
            per_concept,
            concepts,
            seed,
            filters,
        } => material.transplant(*per_concept, concepts, *seed, &filters.0, &out)?,
        SynthConfig::Openai(synth) | SynthConfig::Local(synth) => {
            let backend = synth.backend(file)?;
            material.written(synth, &*backend, ledger, true, &out)?
        }
        SynthConfig::Import(synth) => import::make(material, sources, &synth.filters.0, &out)?,
    };
    write_json(&folder.join(REPORT), &made.report)?;
    write_json(&folder.join(FILTERS), &made.filters)?;
    if made.report.sentences == 0 {
        let message = "no sentence was made; report.json there says why, concept by concept";
        return Err(BadInput(format!("key `synth`: {message} ({})", folder.display())).into());
    }
    write_card(material, &made.report.generator, &made.filters, folder)
}

/// The stage behind it that filters once more with a trained linker; `made` is the folder of the first.
///
/// # Errors
/// As [`RoundTrip::filter`]; no sentence that passes.
pub fn round_trip_stage(
    material: &Material<'_>,
    linker: RoundTrip<'_>,
    made: &Path,
    folder: &Path,
) -> Result<()> {
    let report: FilterReport = read_json(&made.join(FILTERS))?;
    let filters = linker.filter(
        &made.join(CORPUS),
        report,
        &folder.join(round_trip::RANKS),
        &folder.join(CORPUS),
    )?;
    write_json(&folder.join(FILTERS), &filters)?;
    let made: SynthReport = read_json(&made.join(REPORT))?;
    write_card(material, &made.generator, &filters, folder)
}

/// The data card of the corpus in a stage's folder.
fn write_card(
    material: &Material<'_>,
    generator: &str,
    filters: &FilterReport,
    folder: &Path,
) -> Result<()> {
    if filters.kept == 0 {
        let message =
            "no synthetic sentence passed the filters; filters.json beside the corpus says why";
        return Err(BadInput(format!(
            "key `synth.filters`: {message} ({})",
            folder.display()
        ))
        .into());
    }
    let path = folder.join(CORPUS);
    let documents = corpus_file::documents(&path, CorpusFormat::Jsonl, &Default::default())?;
    let synthetic = [(generator.to_owned(), documents)];
    let human = material.human.iter().map(|&corpus| {
        let first = corpus.documents.first();
        let split = first.and_then(|d| d.split).unwrap_or(Split::Train);
        (format!("human, {split}"), corpus)
    });
    card::write(material.kb, human, synthetic, folder)?;
    Ok(())
}

/// Name of the file with the generator's counts in a stage's folder.
const REPORT: &str = "report.json";

/// Name of the file with the filters' counts in a stage's folder.
pub const FILTERS: &str = "filters.json";

/// Name of the corpus file in a stage's folder.
pub const CORPUS: &str = "synthetic.jsonl";

/// Digest of the weights that write in this process; `None` for other generators, and for a model of the Hub, which its revision
/// names.
///
/// # Errors
/// A model that is not there.
pub fn local_weights(synth: &SynthConfig, file: &ExperimentFile) -> Result<Option<String>> {
    let SynthConfig::Local(generator) = synth else {
        return Ok(None);
    };
    let Some(local) = &generator.local else {
        return Ok(None);
    };
    match start::pretrained_source(file, "synth.local.source", &local.source)? {
        ModelSource::Folder(path) | ModelSource::Gguf(path) => weights_digest(&path).map(Some),
        ModelSource::Hub { .. } => Ok(None),
    }
}

/// What decides the corpus: everything but where the server is and how hard it is pressed.
///
/// # Errors
/// Templates of one's own that cannot be read.
pub fn identity(synth: &SynthConfig, language: Language) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(synth)?;
    if let Some(filters) = value.get_mut("filters").and_then(|f| f.as_object_mut()) {
        filters.remove(ROUND_TRIP);
    }
    if let (SynthConfig::Import(_), Some(fields)) = (synth, value.as_object_mut()) {
        // the contents decide, which are digested, not where they lie
        for place in ["files", "hub", "include"] {
            fields.remove(place);
        }
    }
    if let SynthConfig::Openai(openai) | SynthConfig::Local(openai) = synth {
        let prompts = Prompts::new(language, &openai.prompt)?;
        if let Some(fields) = value.as_object_mut() {
            for way in ["server", "run", "ledger"] {
                fields.remove(way);
            }
            if openai.run.retry_failed {
                fields.insert("retry_failed".into(), true.into());
            }
            if openai.prompt.templates.is_some() {
                fields.insert("templates".into(), prompts.digest().into());
            }
        }
    }
    Ok(value)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write_atomically(path, &serde_json::to_vec_pretty(value)?)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} is damaged; delete its folder and run again",
            path.display()
        )
    })
}

fn selection(concepts: &ConceptChoice, seed: u64) -> Selection {
    let all = Selection::default();
    match concepts {
        ConceptChoice::All => all,
        ConceptChoice::WithDefinition => Selection {
            with_definition: true,
            ..all
        },
        ConceptChoice::Sample(concepts) => Selection {
            sample: Some(Sample {
                concepts: *concepts,
                seed,
            }),
            ..all
        },
        ConceptChoice::Groups(groups) => Selection {
            groups: Some(groups.clone()),
            ..all
        },
        ConceptChoice::Codes(codes) => Selection {
            codes: Some(codes.clone()),
            ..all
        },
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    use syncabel_synth::Error::Llm;
    matches!(
        error.downcast_ref(),
        Some(Llm(syncabel_llm::Error::LedgerInUse { .. }))
    )
}

/// The ledger of a generation: what the YAML file says, else one for each seed below the run folder.
///
/// # Errors
/// A path with a variable that is not set.
pub fn ledger_folder(
    synth: &SynthConfig,
    file: &crate::config::ExperimentFile,
    runs: &Path,
    seed: u64,
) -> Result<PathBuf> {
    match synth {
        SynthConfig::Openai(synth) | SynthConfig::Local(synth) => match &synth.ledger {
            Some(path) => Ok(crate::config::resolve_path(
                &file.path,
                file.folder(),
                "synth.ledger",
                path,
            )?),
            None => Ok(runs
                .join("ledgers")
                .join(format!("synth-{}", synth.seed.unwrap_or(seed)))),
        },
        _ => Ok(runs.to_owned()),
    }
}
