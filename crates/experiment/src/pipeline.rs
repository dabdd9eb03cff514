//! One cell of an experiment, stage by stage: KB, human corpus, synthesis, starting model, training, trie, linking,
//! scores.

use crate::config::{Experiment, ExperimentFile, SynthConfig, resolve_path};
use crate::error::BadInput;
use crate::human::{self, HumanCorpus, HumanExamples, Shown};
use crate::import::Source;
use crate::lexical::NearestNames;
use crate::machine::{Machine, git_revision};
use crate::overrides::Cell;
use crate::progress;
use crate::round_trip::{self, RoundTrip};
use crate::stage::{StageDir, StageStore, write_atomically};
use crate::start::start_model;
use crate::synthesis::{self, Material};
use crate::weights::weights_digest;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use syncabel_corpus::marked::{self, Example, MarkedMention};
use syncabel_corpus::predictions::{Prediction, TsvWriter, read_tsv};
use syncabel_corpus::{Corpus, CorpusFormat};
use syncabel_decode::{LinkModel, Trie};
use syncabel_eval::{EvalOptions, EvalReport, TrainingSet};
use syncabel_kb::select::NameSelector;
use syncabel_kb::{Digest, Kb, SourceFormat};
use syncabel_model::{Checkpoint, ModelSource, TextTokenizer};
use syncabel_synth::quality::RoundTripFilter;
use syncabel_train::{Composition, Plan, TrainConfig};

/// What one cell showed, as written to `metrics.json` in its run folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CellResult {
    /// Folder name of the cell.
    pub label: String,
    /// Axis values, in the order of the file.
    pub settings: Vec<(String, String)>,
    /// Scores of the linker.
    pub metrics: EvalReport,
    /// What it took.
    pub cost: Cost,
}

/// A finished cell with what tables over several cells are made from.
pub struct CellOutput {
    /// Scores and costs.
    pub result: CellResult,
    /// The experiment's seed in this cell.
    pub seed: u64,
    /// Answers of the linker.
    pub predictions: Vec<Prediction>,
    /// The same mentions answered with the nearest name; empty where that is switched off.
    pub lexical: Vec<Prediction>,
    /// What human training data showed.
    pub training: TrainingSet,
    /// The KB.
    pub kb: Kb,
    /// Training loss by step, smoothed.
    pub loss: Vec<(f64, f64)>,
    /// The commits at which training and linking ended, as far as they are known.
    pub revisions: Vec<String>,
}

/// What a cell took.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Human training rows after composition.
    pub human_examples: usize,
    /// Synthetic training rows after composition.
    pub synthetic_examples: usize,
    /// Examples shown to the model, repeats included.
    pub examples_shown: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens shown, prompts included.
    pub tokens: u64,
    /// Wall-clock seconds of training, validation and checkpoints included.
    pub train_seconds: f64,
    /// Mentions linked per second, prompt to answer.
    pub mentions_per_second: f64,
    /// Highest resident memory while training, in MB.
    pub train_peak_mb: u64,
}

/// Where things lie on disk.
#[derive(Debug, Clone)]
pub struct Folders {
    /// `runs/<experiment>`.
    pub experiment: PathBuf,
}

impl Folders {
    /// Folders of the experiment `name` below `runs`.
    pub fn new(runs: &Path, name: &str) -> Self {
        Folders {
            experiment: runs.join(name),
        }
    }

    /// The stages that all cells share.
    pub fn stages(&self) -> StageStore {
        StageStore::new(self.experiment.join("stages"))
    }

    /// The run folder of a cell.
    pub fn cell(&self, cell: &Cell) -> PathBuf {
        self.experiment.join("cells").join(cell.label())
    }
}

/// A cell being run.
pub struct CellRun<'a> {
    file: &'a ExperimentFile,
    cell: &'a Cell,
    config: &'a Experiment,
    store: StageStore,
    folder: PathBuf,
}

/// What everything after the corpora needs.
struct Prepared {
    kb: Kb,
    /// Where it lies.
    kb_folder: PathBuf,
    human: HumanCorpus,
    train: Vec<Example>,
    validation: Vec<Example>,
    synthetic: Vec<Example>,
    test: Vec<MarkedMention>,
    /// Digest over everything that training reads besides the model.
    data_digest: Digest,
}

impl<'a> CellRun<'a> {
    /// A cell with its resolved configuration.
    pub fn new(
        file: &'a ExperimentFile,
        cell: &'a Cell,
        config: &'a Experiment,
        folders: &Folders,
    ) -> Self {
        CellRun {
            file,
            cell,
            config,
            store: folders.stages(),
            folder: folders.cell(cell),
        }
    }

    /// Runs every stage and scores the answers.
    ///
    /// # Errors
    /// Bad input, or a stage that failed; finished stages and checkpoints stay.
    pub fn run(&self) -> Result<CellOutput> {
        let prepared = self.prepare()?;
        let (trained, cost) = self.train(&prepared)?;
        let linked = self.link(&prepared, &trained)?;
        self.name_artefacts(&prepared, &trained)?;
        let cost = Cost {
            mentions_per_second: linked.mentions_per_second,
            ..cost
        };
        self.score(prepared, linked, &trained, cost)
    }

    /// Runs the stages up to training and returns the checkpoint's folder.
    ///
    /// # Errors
    /// As [`CellRun::run`].
    pub fn train_only(&self) -> Result<PathBuf> {
        let prepared = self.prepare()?;
        let (trained, _) = self.train(&prepared)?;
        self.name_artefacts(&prepared, &trained)?;
        Ok(trained.checkpoint)
    }

    /// Runs the stages up to the synthetic corpus and returns the number of its sentences; the log names its folder.
    ///
    /// # Errors
    /// As [`CellRun::run`].
    pub fn synth_only(&self) -> Result<usize> {
        let (kb, _) = self.kb()?;
        let human = human::read(self.file, &self.config.corpus, &kb)?;
        let selector = NameSelector::new(&kb, self.config.target.selection);
        let examples = human::examples(self.config, &human, &kb, &selector)?;
        let examples = examples.without_held_out(&self.config.composition)?;
        let shown = human::for_synthesis(&human.train, &examples.train, &self.config.composition)?;
        Ok(self
            .synthetic(&kb, &human, &examples, &shown)?
            .documents
            .len())
    }

    fn prepare(&self) -> Result<Prepared> {
        let (kb, kb_folder) = self.kb()?;
        let human = human::read(self.file, &self.config.corpus, &kb)?;
        let selector = NameSelector::new(&kb, self.config.target.selection);
        let examples = human::examples(self.config, &human, &kb, &selector)?;
        let examples = examples.without_held_out(&self.config.composition)?;
        let shown = human::for_synthesis(&human.train, &examples.train, &self.config.composition)?;
        let synthetic_corpus = self.synthetic(&kb, &human, &examples, &shown)?;
        let options = human::mark_options(&self.config.corpus);
        let (synthetic, dropped) = marked::examples(&synthetic_corpus, &kb, &selector, &options)?;
        let test = human::mentions(&human.test.documents, &kb, &options)?;
        if test.is_empty() {
            return Err(BadInput(format!(
                "{}: key `corpus.test`: no mention to link",
                self.file.path.display()
            ))
            .into());
        }
        let rows = Rows {
            train: &examples.train,
            validation: &examples.validation,
            synthetic: &synthetic,
        };
        let data_digest = rows.digest()?;
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot create {}", self.folder.display()))?;
        let report = json!({"human": examples.report, "synthetic": dropped});
        write_atomically(
            &self.folder.join("examples.json"),
            &serde_json::to_vec_pretty(&report)?,
        )?;
        Ok(Prepared {
            kb,
            kb_folder,
            human,
            train: examples.train,
            validation: examples.validation,
            synthetic,
            test,
            data_digest,
        })
    }

    /// The KB and the folder that holds it.
    fn kb(&self) -> Result<(Kb, PathBuf)> {
        let mut sources = Vec::new();
        for (i, source) in self.config.kb.sources.iter().enumerate() {
            let key = format!("kb.sources[{i}].path");
            let path = resolve_path(&self.file.path, self.file.folder(), &key, &source.path)?;
            let format = source.format.map_or_else(|| guess_source(&path), Ok)?;
            let digest = Digest::of_file(&path)
                .with_context(|| format!("cannot read {} ({key})", path.display()));
            sources.push((
                path,
                format,
                source.group.clone(),
                digest.map_err(as_bad_input)?,
            ));
        }
        let digests: Vec<Value> = sources
            .iter()
            .map(|(_, f, g, d)| json!([f, g, d.to_string()]))
            .collect();
        let inputs = json!({"sources": digests, "options": self.config.kb.options, "tool": env!("CARGO_PKG_VERSION")});
        let stage = self.store.run("kb", inputs, |folder| {
            let mut concepts = Vec::new();
            let mut digests = Vec::new();
            for (path, format, group, _) in &sources {
                let source = syncabel_kb::load(path, *format, group.as_deref())?;
                concepts.extend(source.concepts);
                digests.push(source.digest);
            }
            let (kb, report) = syncabel_kb::build(concepts, digests, &self.config.kb.options)?;
            write_atomically(
                &folder.join("report.json"),
                &serde_json::to_vec_pretty(&report)?,
            )?;
            kb.write(&folder.join("kb")).map_err(Into::into)
        })?;
        let folder = stage.path.join("kb");
        Ok((Kb::open(&folder)?, folder))
    }

    fn synthetic(
        &self,
        kb: &Kb,
        human: &HumanCorpus,
        examples: &HumanExamples,
        shown: &Shown,
    ) -> Result<Corpus> {
        let needed = self.config.composition.strategy != syncabel_train::Strategy::HumanOnly;
        let Some(synth) = self.config.synth.as_ref().filter(|_| needed) else {
            if needed {
                let strategy = self.config.composition.strategy;
                let message = format!(
                    "key `synth`: strategy `{strategy}` needs synthetic data; add a `synth` section"
                );
                return Err(BadInput(format!("{}: {message}", self.file.path.display())).into());
            }
            return Ok(Corpus {
                documents: Vec::new(),
            });
        };
        let sources = match synth {
            SynthConfig::Import(import) => import.sources(self.file)?,
            _ => Vec::new(),
        };
        let mut identity = synthesis::identity(synth, self.config.corpus.language)?;
        if let SynthConfig::Import(_) = synth {
            identity["sources"] = sources.iter().map(Source::identity).collect();
        }
        if let Some(weights) = synthesis::local_weights(synth, self.file)? {
            // What the file holds decides, not where it lies.
            identity["local"]["source"] = weights.into();
        }
        let inputs = json!({
            "kb": kb.digest().to_string(),
            "human": human.digest.to_string(),
            "withheld": shown.withheld,
            "groups": [&self.config.corpus.groups, &self.config.corpus.default_group],
            "language": self.config.corpus.language,
            "synth": identity,
            "seed": self.config.seed,
            "tool": env!("CARGO_PKG_VERSION"),
        });
        let material = Material {
            kb,
            train: shown.corpus(&human.train),
            human: &[&human.train, &human.validation, &human.test],
            corpus: &self.config.corpus,
            seed: self.config.seed,
        };
        let runs = self.store.root().parent().unwrap_or(self.store.root());
        let ledger = synthesis::ledger_folder(synth, self.file, runs, self.config.seed)?;
        let mut stage = self.store.run("synth", inputs, |folder| {
            synthesis::stage(&material, synth, self.file, &sources, &ledger, folder)
        })?;
        if let Some(filter) = &synth.filters().round_trip {
            stage = self.round_trip(&material, examples, &stage, filter)?;
        }
        tracing::info!(folder = %stage.path.display(), "synthetic corpus");
        let path = stage.path.join(synthesis::CORPUS);
        Ok(syncabel_corpus::read(&path, CorpusFormat::Jsonl, &Default::default())?.0)
    }

    /// What a linker trained on the cell's human data alone gives back of a synthetic corpus.
    fn round_trip(
        &self,
        material: &Material<'_>,
        examples: &HumanExamples,
        made: &StageDir,
        filter: &RoundTripFilter,
    ) -> Result<StageDir> {
        let kb = material.kb;
        let train = round_trip::train_config(self.config, filter);
        let train = train.map_err(|r| self.file.refuse(&r.key, r.message))?;
        let composition = Composition {
            strategy: syncabel_train::Strategy::HumanOnly,
            ..self.config.composition.clone()
        };
        let rows = Rows {
            train: &examples.train,
            validation: &examples.validation,
            synthetic: &[],
        };
        let start = self.start(kb, rows.train)?;
        let plan = syncabel_train::compose(rows.train, rows.synthetic, &composition)?;
        let trained = self.fit(start, rows, &plan, &composition, &train)?;
        let checkpoint = crate::training::chosen_checkpoint(&trained.path)?;
        let marking = human::mark_options(&self.config.corpus);
        crate::marking::write(&checkpoint, &marking)?;
        let link = round_trip::link_config(&self.config.link, filter.top_k);
        // By content: a stage that was made anew, by a server that answers otherwise, keeps its key.
        let corpus = made.path.join(synthesis::CORPUS);
        let inputs = json!({
            "synth": Digest::of_file(&corpus).with_context(|| format!("cannot read {}", corpus.display()))?.to_string(),
            "train": weights_digest(&checkpoint)?,
            "kb": kb.digest().to_string(),
            "marking": marking,
            "link": link,
            "top_k": filter.top_k,
            "device": self.config.model.device,
            "tool": env!("CARGO_PKG_VERSION"),
        });
        self.store.run("round_trip", inputs, |folder| {
            let source = ModelSource::Folder(checkpoint.clone());
            let device = &self.config.model.device;
            let mut model = LinkModel::load(&source, device, link.precision.into())?;
            let trie = self.trie(kb, model.tokenizer())?;
            let round_trip = RoundTrip {
                kb,
                trie: &trie,
                model: &mut model,
                marking: &marking,
                link: link.options(),
                top_k: filter.top_k,
            };
            synthesis::round_trip_stage(material, round_trip, &made.path, folder)
        })
    }

    fn start(&self, kb: &Kb, train: &[Example]) -> Result<Checkpoint> {
        let device = syncabel_model::device(&self.config.model.device)?;
        start_model(self.file, self.config, kb, train, &self.store, &device)
    }
}

/// What a model is trained on and chosen by.
#[derive(Clone, Copy)]
struct Rows<'a> {
    train: &'a [Example],
    validation: &'a [Example],
    synthetic: &'a [Example],
}

impl Rows<'_> {
    fn digest(&self) -> Result<Digest> {
        digest_of(&(self.train, self.validation, self.synthetic))
    }
}

/// A finished training stage.
struct Trained {
    /// Folder of the checkpoint to link with.
    checkpoint: PathBuf,
    /// Its step log.
    log: PathBuf,
    /// Digest of the tokenizer.
    tokenizer: String,
    /// The commit at which it ended.
    revision: Option<String>,
}

/// What the linker answered.
struct Linked {
    predictions: Vec<Prediction>,
    mentions_per_second: f64,
    /// The commit at which it ended.
    revision: Option<String>,
}

impl CellRun<'_> {
    fn train(&self, prepared: &Prepared) -> Result<(Trained, Cost)> {
        let plan = syncabel_train::compose(
            &prepared.train,
            &prepared.synthetic,
            &self.config.composition,
        )
        .map_err(|error| self.refusal(error))?;
        let start = self.start(&prepared.kb, &prepared.train)?;
        self.write_manifest(prepared, &start)?;
        let tokenizer = start.tokenizer.digest();
        let rows = Rows {
            train: &prepared.train,
            validation: &prepared.validation,
            synthetic: &prepared.synthetic,
        };
        let (composition, train) = (&self.config.composition, &self.config.train);
        let stage = self.fit(start, rows, &plan, composition, train)?;
        let log = stage.path.join("train_log.jsonl");
        self.copy_into_cell(&log)?;
        let cost = self.training_cost(&stage, &plan)?;
        let checkpoint = crate::training::chosen_checkpoint(&stage.path)?;
        crate::marking::write(&checkpoint, &human::mark_options(&self.config.corpus))?;
        Ok((
            Trained {
                checkpoint,
                revision: stage.record.git_revision,
                log,
                tokenizer,
            },
            cost,
        ))
    }

    /// The stage that trains `start` on a plan made of `rows`: cells that train alike share it.
    fn fit(
        &self,
        start: Checkpoint,
        rows: Rows<'_>,
        plan: &Plan,
        composition: &Composition,
        train: &TrainConfig,
    ) -> Result<StageDir> {
        let inputs = json!({
            "start": start.digest,
            "data": rows.digest()?.to_string(),
            "composition": composition,
            "train": train,
            "device": self.config.model.device,
            "tool": env!("CARGO_PKG_VERSION"),
        });
        if self.store.interrupted("train", &inputs) {
            tracing::info!(
                "an interrupted training run is there; it continues from its last checkpoint"
            );
        }
        self.store.run("train", inputs, |folder| {
            let mut bar = crate::training::TrainingBar::new(&self.cell.label());
            let outcome =
                syncabel_train::train(start, plan, rows.validation, train, folder, &mut bar)
                    .map_err(|error| self.refusal(error))?;
            crate::training::write_outcome(folder, &outcome)
        })
    }

    /// What the training crate will not do, with the file and the cell.
    fn refusal(&self, error: syncabel_train::Error) -> anyhow::Error {
        let place = format!("{}: cell `{}`", self.file.path.display(), self.cell.label());
        match error {
            syncabel_train::Error::Config { .. } | syncabel_train::Error::NoExamples { .. } => {
                BadInput(format!("{place}: {error}")).into()
            }
            error => anyhow::Error::new(error).context(place),
        }
    }

    fn training_cost(&self, stage: &StageDir, plan: &Plan) -> Result<Cost> {
        let outcome = crate::training::read_outcome(&stage.path)?;
        Ok(Cost {
            human_examples: plan.report.human_kept,
            synthetic_examples: plan.report.synthetic_kept,
            examples_shown: outcome.examples_shown,
            steps: outcome.steps,
            tokens: outcome.tokens,
            train_seconds: outcome.elapsed_s,
            train_peak_mb: outcome.peak_mb,
            ..Cost::default()
        })
    }

    fn write_manifest(&self, prepared: &Prepared, start: &Checkpoint) -> Result<()> {
        let manifest = json!({
            "experiment": self.config.name,
            "cell": self.cell.label(),
            "seed": self.config.seed,
            "git_revision": git_revision(self.file.folder()),
            "kb_digest": prepared.kb.digest().to_string(),
            "corpus_digest": prepared.human.digest.to_string(),
            "data_digest": prepared.data_digest.to_string(),
            "start_model_digest": start.digest,
            "tokenizer_digest": start.tokenizer.digest(),
            "machine": Machine::here(),
            "command": std::env::args().collect::<Vec<_>>(),
        });
        write_atomically(
            &self.folder.join("run.json"),
            &serde_json::to_vec_pretty(&manifest)?,
        )?;
        let resolved = serde_yaml::to_string(&self.config)?;
        write_atomically(&self.folder.join("config.yaml"), resolved.as_bytes())
    }

    /// Adds to `run.json` where the finished artefacts lie, for `syncabel link` and whoever looks for them.
    fn name_artefacts(&self, prepared: &Prepared, trained: &Trained) -> Result<()> {
        let path = self.folder.join("run.json");
        let text =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut manifest: Value = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged; run again", path.display()))?;
        let inputs = trie_inputs(&prepared.kb.digest().to_string(), &trained.tokenizer);
        let trie = self.store.folder("trie", &inputs).0.join(TRIE);
        manifest["artefacts"] = json!({
            "kb": prepared.kb_folder,
            "checkpoint": trained.checkpoint,
            // `syncabel train` links nothing and builds none
            "trie": trie.is_file().then_some(trie),
        });
        write_atomically(&path, &serde_json::to_vec_pretty(&manifest)?)
    }

    fn link(&self, prepared: &Prepared, trained: &Trained) -> Result<Linked> {
        let link = &self.config.link;
        let inputs = json!({
            "model": weights_digest(&trained.checkpoint)?,
            "kb": prepared.kb.digest().to_string(),
            "link": link,
            "test": digest_of(&prepared.test)?.to_string(),
            "device": self.config.model.device,
            "tool": env!("CARGO_PKG_VERSION"),
        });
        let stage = self.store.run("link", inputs, |folder| {
            let source = ModelSource::Folder(trained.checkpoint.clone());
            let device = &self.config.model.device;
            let mut model = LinkModel::load(&source, device, link.precision.into())?;
            let trie = self.trie(&prepared.kb, model.tokenizer())?;
            let trie = link.guided.then_some(&trie);
            let mut linker = model.linker(&prepared.kb, trie, link.options())?;
            let bar = progress::bar(prepared.test.len() as u64, "mentions")
                .with_prefix(self.cell.label());
            let path = folder.join("predictions.tsv");
            let pace_file = folder.join("pace.json");
            let mut pace = Pace::read(&pace_file);
            // rows of an interrupted run stay: the folder's key says that they came about in the same way
            let (mut writer, done) = if path.is_file() {
                TsvWriter::append(&path, &[])?
            } else {
                (TsvWriter::create(&path, &[])?, 0)
            };
            let rest = prepared.test.get(done..).unwrap_or_default();
            bar.set_position(done as u64);
            bar.reset_eta();
            // pieces large enough for sorting by length to pay, small enough for the bar to move
            for piece in rest.chunks(link.batch.saturating_mul(16)) {
                let start = std::time::Instant::now();
                for prediction in linker.link(piece)? {
                    writer.write(&prediction)?;
                }
                writer.flush()?;
                bar.inc(piece.len() as u64);
                pace.mentions += piece.len();
                pace.seconds += start.elapsed().as_secs_f64();
                write_atomically(&pace_file, &serde_json::to_vec(&pace)?)?;
            }
            writer.finish()?;
            bar.finish_and_clear();
            progress::warn_of_unproven(linker.work());
            Ok(())
        })?;
        self.copy_into_cell(&stage.path.join("predictions.tsv"))?;
        let rate = Pace::read(&stage.path.join("pace.json")).rate();
        Ok(Linked {
            predictions: read_tsv(&stage.path.join("predictions.tsv"))?,
            mentions_per_second: rate,
            revision: stage.record.git_revision,
        })
    }

    fn trie(&self, kb: &Kb, tokenizer: &TextTokenizer) -> Result<Trie> {
        let kb_digest = *kb.digest();
        let tokenizer_digest: Digest = tokenizer.digest().parse()?;
        let inputs = trie_inputs(&kb_digest.to_string(), &tokenizer_digest.to_string());
        let stage = self.store.run("trie", inputs, |folder| {
            let trie = Trie::for_tokenizer(kb, tokenizer)?;
            trie.write(&folder.join(TRIE)).map_err(Into::into)
        })?;
        Ok(Trie::open(
            &stage.path.join(TRIE),
            &kb_digest,
            &tokenizer_digest,
        )?)
    }

    fn score(
        &self,
        prepared: Prepared,
        linked: Linked,
        trained: &Trained,
        cost: Cost,
    ) -> Result<CellOutput> {
        let predictions = linked.predictions;
        let revisions = [trained.revision.clone(), linked.revision];
        let revisions = revisions.into_iter().flatten().collect();
        let training = training_set(&prepared, &self.config.composition)?;
        let eval = &self.config.eval;
        let options = EvalOptions {
            composite: eval.composite,
            seen: eval.seen,
            bootstrap: eval.bootstrap,
            ..EvalOptions::default()
        };
        let metrics =
            syncabel_eval::evaluate(&predictions, Some(&training), Some(&prepared.kb), &options)?;
        let lexical = if eval.lexical_baseline {
            let nearest = NearestNames::new(&prepared.kb, 1);
            let rows = predictions.iter().zip(&prepared.test);
            rows.map(|(row, mention)| nearest.answer_row(row, mention))
                .collect()
        } else {
            Vec::new()
        };
        let setting = |(key, _): &(String, serde_yaml::Value)| {
            (key.clone(), self.cell.value(key).unwrap_or_default())
        };
        let result = CellResult {
            label: self.cell.label(),
            settings: self.cell.settings.iter().map(setting).collect(),
            metrics,
            cost,
        };
        write_atomically(
            &self.folder.join("metrics.json"),
            &serde_json::to_vec_pretty(&result)?,
        )?;
        let loss = crate::training::read_log(&trained.log)?;
        let loss =
            crate::report::smoothed(&loss.iter().map(|r| (r.step, r.loss)).collect::<Vec<_>>());
        Ok(CellOutput {
            result,
            seed: self.config.seed,
            predictions,
            lexical,
            training,
            kb: prepared.kb,
            loss,
            revisions,
        })
    }

    fn copy_into_cell(&self, path: &Path) -> Result<()> {
        let Some(name) = path.file_name().filter(|_| path.is_file()) else {
            return Ok(());
        };
        let target = self.folder.join(name);
        std::fs::copy(path, &target)
            .with_context(|| format!("cannot write {}", target.display()))?;
        Ok(())
    }
}

/// Concepts and mention strings that human annotation shows in training: after concepts were held out, before a share is
/// taken, so that every point of a human-share sweep is scored on the same strata.
fn training_set(
    prepared: &Prepared,
    composition: &syncabel_train::Composition,
) -> Result<TrainingSet> {
    let held_out = syncabel_train::held_out(&prepared.train, composition)?;
    // From the documents, not from prompts: alternatives stay alternatives, and strings are those of the text.
    let kept: std::collections::HashSet<(&str, &str)> = prepared
        .train
        .iter()
        .filter(|e| !human::carries(e, &held_out))
        .map(|e| (e.document.as_str(), e.mention_id.as_str()))
        .collect();
    let documents = [&prepared.human.train, &prepared.human.validation];
    let documents = documents.into_iter().flat_map(|corpus| &corpus.documents);
    let mentions = documents.flat_map(|document| {
        let id = document.id.as_str();
        let kept = &kept;
        let mentions = document.mentions.iter();
        mentions.filter(move |mention| kept.contains(&(id, mention.id.as_str())))
    });
    Ok(TrainingSet::from_mentions(mentions, Some(&prepared.kb)))
}

/// Mentions linked and the time it took, over all sessions of a stage.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Pace {
    mentions: usize,
    seconds: f64,
}

impl Pace {
    /// What was written before; nothing where nothing was.
    fn read(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn rate(&self) -> f64 {
        self.mentions as f64 / self.seconds.max(1e-9)
    }
}

/// File of the trie stage.
const TRIE: &str = "names.trie";

/// What the key of the trie stage is made of.
fn trie_inputs(kb: &str, tokenizer: &str) -> Value {
    json!([
        kb,
        tokenizer,
        syncabel_decode::trie::FORMAT_VERSION,
        env!("CARGO_PKG_VERSION")
    ])
}

fn digest_of<T: Serialize>(value: &T) -> Result<Digest> {
    Ok(Digest::of_bytes(&serde_json::to_vec(value)?))
}

pub(crate) fn guess_source(path: &Path) -> Result<SourceFormat> {
    SourceFormat::guess(path).ok_or_else(|| {
        let message = "cannot tell the terminology format from the file name; say `format: medic`, `ctd`, `obo`, `tsv`, `jsonl` or `parquet`";
        BadInput(format!("{}: {message}", path.display())).into()
    })
}

fn as_bad_input(error: anyhow::Error) -> anyhow::Error {
    BadInput(crate::error::message(&error)).into()
}
