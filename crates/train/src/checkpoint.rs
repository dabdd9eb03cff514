//! Checkpoints that survive `kill -9` and full disks.
//!
//! ```text
//! run folder/
//!   train_log.jsonl            one line a step
//!   checkpoints/
//!     step-00000120/           the last complete state: everything that a bit-exact resume needs
//!       config.json, model.safetensors, tokenizer.json, tokenizer_config.json    any tool reads these
//!       optimizer.safetensors  AdamW's moments in float32, `first.NAME` and `second.NAME`
//!       train_log.jsonl        the log up to this step
//!       state.json             position, digests of what the run was made of, evaluations, checksums
//!     best-00000080/           the best model on the validation part
//!     .tmp-...                 being written; ignored, and removed by the next run
//! ```
//!
//! A checkpoint is written under a temporary name, flushed to the disk, and renamed; only then is its predecessor
//! removed. So at every moment there is a complete one (but for the time before the first), and a folder that has its
//! final name is complete.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use syncabel_model::{Checkpoint, Llama, LlamaConfig, ModelSource, TextTokenizer};

use crate::Error;
use crate::compose::PhaseName;
use crate::engine::Moments;
use crate::engine::params::{self, ParamSpec, bytes_of};
use crate::log::{Evaluation, LOG_FILE, Point};

const FORMAT_VERSION: u32 = 1;
const STATE_FILE: &str = "state.json";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";

/// Everything of a run's state that is not a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) format_version: u32,
    /// Index of the phase that the run is in.
    pub(crate) phase: usize,
    pub(crate) phase_name: PhaseName,
    /// Complete steps of that phase. With the seed, this is also the position in the data.
    pub(crate) phase_step: u64,
    /// Complete steps of the run.
    pub(crate) step: u64,
    pub(crate) tokens: u64,
    pub(crate) elapsed_s: f64,
    /// The best evaluation so far; its model lies beside this checkpoint.
    pub(crate) best: Option<Evaluation>,
    pub(crate) evaluations: Vec<Evaluation>,
    pub(crate) ingredients: Ingredients,
    /// Checksums of what a resume reads.
    pub(crate) model_digest: String,
    pub(crate) optimizer_digest: String,
}

/// Digests of what a run is made of: all must agree for a resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ingredients {
    pub(crate) configuration: String,
    pub(crate) training_data: String,
    pub(crate) validation_data: String,
    pub(crate) initial_model: String,
    pub(crate) engine: String,
}

impl Ingredients {
    fn parts(&self) -> [(&'static str, &str); 5] {
        [
            ("initial model", &self.initial_model),
            ("training data", &self.training_data),
            ("validation data", &self.validation_data),
            ("configuration", &self.configuration),
            ("engine", &self.engine),
        ]
    }
}

/// A state read back.
pub(crate) struct Resumed {
    pub(crate) state: State,
    pub(crate) model: Llama,
    pub(crate) moments: Moments,
    pub(crate) log: Vec<u8>,
}

/// What is saved, beside [`State`].
pub(crate) struct Snapshot<'a> {
    pub(crate) config: &'a LlamaConfig,
    pub(crate) tokenizer: &'a TextTokenizer,
    pub(crate) model: &'a Llama,
}

/// The `checkpoints` folder of a run.
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens or makes the folder, and removes what an interrupted run has left half written.
    pub(crate) fn open(run_dir: &Path) -> Result<Self, Error> {
        let folder = run_dir.join("checkpoints");
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let store = Self { folder };
        for name in store.names()? {
            if name.starts_with(".tmp-") {
                store.remove(&name)?;
            }
        }
        Ok(store)
    }

    pub(crate) fn step_path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("step-{step:08}"))
    }

    pub(crate) fn best_path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("best-{step:08}"))
    }

    /// Reads the newest checkpoint, after making sure that it belongs to this run.
    pub(crate) fn resume(
        &self,
        initial: &Checkpoint,
        ingredients: &Ingredients,
    ) -> Result<Option<Resumed>, Error> {
        let Some(newest) = self
            .names()?
            .into_iter()
            .filter(|n| n.starts_with("step-"))
            .max()
        else {
            return Ok(None);
        };
        let path = self.folder.join(newest);
        let state = read_state(&path)?;
        for ((part, found), (_, expected)) in
            state.ingredients.parts().iter().zip(ingredients.parts())
        {
            if *found != expected {
                let (part, found) = ((*part).to_owned(), (*found).to_owned());
                return Err(Error::OtherRun {
                    path,
                    part,
                    found,
                    expected: expected.to_owned(),
                });
            }
        }
        let device = initial.model.device();
        let saved = syncabel_model::load(&ModelSource::Folder(path.clone()), &device)?;
        let specs = params::specs(&initial.model);
        same_architecture(&path, &specs, &params::specs(&saved.model))?;
        if saved.digest != state.model_digest {
            let problem = format!(
                "the model has digest {}, state.json says {}",
                saved.digest, state.model_digest
            );
            return Err(Error::Corrupt { path, problem });
        }
        let moments = read_moments(&path.join(OPTIMIZER_FILE), &specs, &state.optimizer_digest)?;
        let log_path = path.join(LOG_FILE);
        let log = fs::read(&log_path).map_err(Error::io("read", &log_path))?;
        self.remove_others(&state)?;
        Ok(Some(Resumed {
            state,
            model: saved.model,
            moments,
            log,
        }))
    }

    /// Writes the state of a run and removes its predecessor. `proceed` is asked at each [`Point`] on the way.
    pub(crate) fn write(
        &self,
        state: &mut State,
        snapshot: &Snapshot<'_>,
        moments: &Moments,
        log: &Path,
        proceed: &mut dyn FnMut(Point) -> Result<(), Error>,
    ) -> Result<PathBuf, Error> {
        let step = state.step;
        let temporary = self.folder.join(format!(".tmp-step-{step:08}"));
        let path = self.step_path(step);
        let written = self.staged(&temporary, || {
            syncabel_model::save(
                &temporary,
                snapshot.config,
                snapshot.model,
                snapshot.tokenizer,
            )?;
            proceed(Point::CheckpointModelWritten(step))?;
            state.model_digest = digest_of(snapshot)?;
            let optimizer = temporary.join(OPTIMIZER_FILE);
            state.optimizer_digest =
                write_moments(&optimizer, &params::specs(snapshot.model), moments)?;
            let copy = temporary.join(LOG_FILE);
            fs::copy(log, &copy).map_err(Error::io("write", &copy))?;
            sync(&copy)?;
            let text = serde_json::to_string_pretty(&state).expect("a state always serialises");
            write_text(&temporary.join(STATE_FILE), &text)?;
            sync(&temporary)?;
            proceed(Point::CheckpointWritten(step))
        });
        written?;
        self.rename(&temporary, &path)?;
        proceed(Point::CheckpointRenamed(step))?;
        self.remove_others(state)?;
        Ok(path)
    }

    /// Writes the best model so far. The previous one stays until the next [`Store::write`].
    pub(crate) fn write_best(
        &self,
        evaluation: &Evaluation,
        snapshot: &Snapshot<'_>,
    ) -> Result<PathBuf, Error> {
        let temporary = self
            .folder
            .join(format!(".tmp-best-{:08}", evaluation.step));
        let path = self.best_path(evaluation.step);
        self.staged(&temporary, || {
            syncabel_model::save(
                &temporary,
                snapshot.config,
                snapshot.model,
                snapshot.tokenizer,
            )?;
            let text = serde_json::to_string_pretty(evaluation).expect("numbers always serialise");
            write_text(&temporary.join("evaluation.json"), &text)?;
            sync(&temporary)
        })?;
        self.rename(&temporary, &path)?;
        Ok(path)
    }

    /// Runs `fill` on a fresh temporary folder; gives the room back when it fails, but not when the run was only
    /// asked to stop (then the folder looks as after a crash, which is what tests want to see handled).
    fn staged(
        &self,
        temporary: &Path,
        fill: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        if temporary.exists() {
            fs::remove_dir_all(temporary).map_err(Error::io("remove", temporary))?;
        }
        fs::create_dir_all(temporary).map_err(Error::io("create", temporary))?;
        let outcome = fill();
        if outcome
            .as_ref()
            .is_err_and(|error| !matches!(error, Error::Stopped { .. }))
        {
            let _ = fs::remove_dir_all(temporary);
        }
        outcome
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        if to.exists() {
            // A run that was killed after this very rename writes the same bytes again.
            fs::remove_dir_all(to).map_err(Error::io("remove", to))?;
        }
        fs::rename(from, to).map_err(Error::io("rename", to))?;
        sync(&self.folder)
    }

    /// Removes every checkpoint but the state's own and its best model.
    fn remove_others(&self, state: &State) -> Result<(), Error> {
        let keep = [
            Some(self.step_path(state.step)),
            state.best.as_ref().map(|best| self.best_path(best.step)),
        ];
        for name in self.names()? {
            let ours = name.starts_with("step-") || name.starts_with("best-");
            if ours && !keep.contains(&Some(self.folder.join(&name))) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Removes a folder in two moves, so that being killed half way leaves no half folder under a final name.
    fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.folder.join(name);
        let doomed = self.folder.join(format!(".tmp-removed-{name}"));
        fs::rename(&path, &doomed).map_err(Error::io("rename", &path))?;
        fs::remove_dir_all(&doomed).map_err(Error::io("remove", &doomed))
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let read = || -> std::io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                names.extend(entry?.file_name().into_string());
            }
            names.sort_unstable();
            Ok(names)
        };
        read().map_err(Error::io("read", &self.folder))
    }
}

fn digest_of(snapshot: &Snapshot<'_>) -> Result<String, Error> {
    let checkpoint = Checkpoint::new(
        snapshot.config.clone(),
        snapshot.model.clone(),
        snapshot.tokenizer.clone(),
    )?;
    Ok(checkpoint.digest)
}

fn read_state(folder: &Path) -> Result<State, Error> {
    let path = folder.join(STATE_FILE);
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let corrupt = |problem: String| Error::Corrupt {
        path: path.clone(),
        problem,
    };
    let version = serde_json::from_str::<serde_json::Value>(&text)
        .map_err(|error| corrupt(error.to_string()))?
        .get("format_version")
        .and_then(serde_json::Value::as_u64);
    if version != Some(u64::from(FORMAT_VERSION)) {
        return Err(corrupt(format!(
            "format version {version:?}, this program reads {FORMAT_VERSION}"
        )));
    }
    serde_json::from_str(&text).map_err(|error| corrupt(error.to_string()))
}

impl State {
    pub(crate) fn new(ingredients: Ingredients, phase_name: PhaseName) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            phase: 0,
            phase_name,
            phase_step: 0,
            step: 0,
            tokens: 0,
            elapsed_s: 0.0,
            best: None,
            evaluations: Vec::new(),
            ingredients,
            model_digest: String::new(),
            optimizer_digest: String::new(),
        }
    }
}

fn same_architecture(
    path: &Path,
    expected: &[ParamSpec],
    found: &[ParamSpec],
) -> Result<(), Error> {
    let differ = |tensor: &str, problem: String| {
        Err(Error::OtherArchitecture {
            path: path.to_owned(),
            tensor: tensor.to_owned(),
            problem,
        })
    };
    for (i, spec) in expected.iter().enumerate() {
        match found.get(i) {
            Some(other) if other.name == spec.name && other.shape == spec.shape => {}
            Some(other) if other.name == spec.name => {
                return differ(
                    &spec.name,
                    format!("has shape {:?} instead of {:?}", other.shape, spec.shape),
                );
            }
            _ => return differ(&spec.name, "is missing".to_owned()),
        }
    }
    match found.get(expected.len()) {
        Some(extra) => differ(&extra.name, "is not part of the model".to_owned()),
        None => Ok(()),
    }
}

/// Header of a safetensors file with both moments, and its length prefix.
fn moments_header(specs: &[ParamSpec]) -> Vec<u8> {
    let mut entries = serde_json::Map::new();
    let mut start = 0;
    for kind in ["first", "second"] {
        for spec in specs {
            let end = start + 4 * spec.len();
            let entry = serde_json::json!({"dtype": "F32", "shape": spec.shape, "data_offsets": [start, end]});
            entries.insert(format!("{kind}.{}", spec.name), entry);
            start = end;
        }
    }
    let mut text = serde_json::to_vec(&entries).expect("a map always serialises");
    // Data begin at a multiple of 8 bytes, so that readers can map them.
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}

fn write_moments(path: &Path, specs: &[ParamSpec], moments: &Moments) -> Result<String, Error> {
    let header = moments_header(specs);
    let mut hasher = blake3::Hasher::new();
    let mut write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for bytes in [
            &header[..],
            &bytes_of(&moments.first),
            &bytes_of(&moments.second),
        ] {
            hasher.update(bytes);
            file.write_all(bytes)?;
        }
        file.flush()?;
        file.get_ref().sync_all()
    };
    write().map_err(Error::io("write", path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn read_moments(path: &Path, specs: &[ParamSpec], digest: &str) -> Result<Moments, Error> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let header = moments_header(specs);
    let count: usize = specs.iter().map(ParamSpec::len).sum();
    let corrupt = |problem: String| Error::Corrupt {
        path: path.to_owned(),
        problem,
    };
    if blake3::hash(&bytes).to_hex().as_str() != digest {
        return Err(corrupt(format!(
            "its checksum is not {digest}, the file has been changed or damaged"
        )));
    }
    if !bytes.starts_with(&header) || bytes.len() != header.len() + 8 * count {
        return Err(corrupt("its tensors are not those of the model".to_owned()));
    }
    let numbers: Vec<f32> = bytes[header.len()..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    let (first, second) = numbers.split_at(count);
    Ok(Moments {
        first: first.to_vec(),
        second: second.to_vec(),
    })
}

fn write_text(path: &Path, text: &str) -> Result<(), Error> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(Error::io("write", path))
}

/// Flushes a file or a folder to the disk.
fn sync(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("flush", path))
}
