//! A model on disk: configuration, weights and tokenizer together.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use burn::tensor::Device;

use crate::tokenizer::TOKENIZER_CONFIG;
use crate::weights::safetensors::{self, Folder, WriteError};
use crate::weights::{HEAD, TensorSource, build, gguf, tensors};
use crate::{Error, Llama, LlamaConfig, TextTokenizer};

/// A model with everything needed to use it.
#[derive(Debug)]
pub struct Checkpoint {
    /// The shape.
    pub config: LlamaConfig,
    /// The network.
    pub model: Llama,
    /// Its tokenizer.
    pub tokenizer: TextTokenizer,
    /// BLAKE3 over configuration, tokenizer and every weight in float32, in hex. The same model
    /// has the same digest whatever file it came from.
    pub digest: String,
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// A folder as Hugging Face lays it out: `config.json`, `model.safetensors` (or shards with
    /// their index), `tokenizer.json`.
    Folder(PathBuf),
    /// A GGUF file.
    Gguf(PathBuf),
    /// A repository of the Hugging Face Hub, or its copy in the local cache.
    Hub {
        /// `organisation/name`.
        repo: String,
        /// Branch, tag or commit; `main` by default.
        revision: Option<String>,
    },
}

impl Checkpoint {
    /// Puts a checkpoint together and computes its digest.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] if the tokenizer has tokens without an embedding,
    /// [`Error::Execution`] if the device does not hand out the weights.
    pub fn new(config: LlamaConfig, model: Llama, tokenizer: TextTokenizer) -> Result<Self, Error> {
        let (tokens, rows) = (tokenizer.vocab_size(), model.vocab_size());
        if tokens > rows {
            return Err(Error::Vocabulary { tokens, rows });
        }
        let digest = digest(&config, &model, &tokenizer)?;
        Ok(Checkpoint {
            config,
            model,
            tokenizer,
            digest,
        })
    }

    /// Makes sure that the tokenizer has `<SEP>` and the model a row for it, and returns its id.
    /// Does nothing to a checkpoint that has both.
    ///
    /// # Errors
    /// As [`TextTokenizer::add_sep`], and [`Error::Execution`] if the device does not hand out the weights.
    pub fn add_sep(self) -> Result<(Self, u32), Error> {
        let Checkpoint {
            mut config,
            model,
            mut tokenizer,
            digest,
        } = self;
        if let Some(id) = tokenizer.sep_id() {
            let unchanged = Checkpoint {
                config,
                model,
                tokenizer,
                digest,
            };
            return Ok((unchanged, id));
        }
        let id = tokenizer.add_sep()?;
        let model = model.resize_vocabulary(tokenizer.vocab_size());
        config.vocab_size = model.vocab_size();
        Ok((Self::new(config, model, tokenizer)?, id))
    }

    /// Writes the checkpoint; see [`save`].
    ///
    /// # Errors
    /// As [`save`].
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        save(dir, &self.config, &self.model, &self.tokenizer)
    }
}

/// Loads a model.
///
/// # Errors
/// Every defect of the files is an error that names the file and the key or tensor; nothing is
/// allocated on the word of a header alone.
pub fn load(source: &ModelSource, device: &Device) -> Result<Checkpoint, Error> {
    with_files(source, |config, tokenizer, weights| {
        let model = build(&config, weights, device)?;
        Checkpoint::new(config, model, tokenizer)
    })
}

/// Opens the files of a model and hands out what is in them: whoever builds a network reads its tensors from there.
pub(crate) fn with_files<T>(
    source: &ModelSource,
    build: impl FnOnce(LlamaConfig, TextTokenizer, &dyn TensorSource) -> Result<T, Error>,
) -> Result<T, Error> {
    match source {
        ModelSource::Folder(dir) => with_folder(dir, build),
        ModelSource::Gguf(path) => with_gguf(path, build),
        ModelSource::Hub { repo, revision } => {
            with_folder(&crate::hub::fetch(repo, revision.as_deref())?, build)
        }
    }
}

/// Writes a model as a folder that this crate, transformers and other tools read: `config.json`,
/// `model.safetensors` in float32, `tokenizer.json`, `tokenizer_config.json`.
///
/// All files are first written in full and flushed to the disk under temporary names, then
/// renamed. If anything fails before the renames (a full disk, say), what was in the folder stays
/// as it was; other files in the folder are never touched.
///
/// # Errors
/// [`Error::Write`] naming the file, [`Error::HalfWritten`] if some files were renamed and another could not be,
/// [`Error::Execution`] if the device does not hand out the weights.
pub fn save(
    dir: &Path,
    config: &LlamaConfig,
    model: &Llama,
    tokenizer: &TextTokenizer,
) -> Result<(), Error> {
    save_through(dir, config, model, tokenizer, &|path| {
        File::create(path).map(DiskFile::new)
    })
}

/// A file being written: takes bytes, and in the end makes sure that they are on the disk.
trait Sink: Write {
    fn finish(&mut self) -> std::io::Result<()>;
}

struct DiskFile(BufWriter<File>);

impl DiskFile {
    fn new(file: File) -> Self {
        DiskFile(BufWriter::with_capacity(1 << 20, file))
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Sink for DiskFile {
    fn finish(&mut self) -> std::io::Result<()> {
        self.0.flush()?;
        self.0.get_ref().sync_all()
    }
}

/// [`save`] with the opening of files left to the caller, so that tests can fill the disk.
fn save_through<S: Sink>(
    dir: &Path,
    config: &LlamaConfig,
    model: &Llama,
    tokenizer: &TextTokenizer,
    open: &dyn Fn(&Path) -> std::io::Result<S>,
) -> Result<(), Error> {
    std::fs::create_dir_all(dir).map_err(|source| Error::Write {
        path: dir.to_owned(),
        source,
    })?;
    let config = with_tokens(config, tokenizer);
    let mut staged = Staged {
        dir,
        open,
        names: Vec::new(),
    };
    // The weights are renamed last: whoever sees them sees a complete folder.
    staged.text("tokenizer.json", &tokenizer.to_json()?)?;
    staged.text(TOKENIZER_CONFIG, &tokenizer.companion_json())?;
    staged.text("config.json", &config.to_json())?;
    staged.write(safetensors::SINGLE, |out| safetensors::write(model, out))?;
    staged.commit()
}

/// The end and padding tokens belong into `config.json` too: generation code looks for them there.
fn with_tokens(config: &LlamaConfig, tokenizer: &TextTokenizer) -> LlamaConfig {
    LlamaConfig {
        eos_token_id: Some(tokenizer.eos_id()),
        pad_token_id: Some(tokenizer.pad_id()),
        ..config.clone()
    }
}

/// Files written under temporary names, those that are not renamed removed again.
struct Staged<'a, S: Sink> {
    dir: &'a Path,
    open: &'a dyn Fn(&Path) -> std::io::Result<S>,
    names: Vec<&'static str>,
}

impl<S: Sink> Staged<'_, S> {
    fn temporary(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.tmp"))
    }

    fn text(&mut self, name: &'static str, text: &str) -> Result<(), Error> {
        self.write(name, |out| Ok(out.write_all(text.as_bytes())?))
    }

    fn write(
        &mut self,
        name: &'static str,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
    ) -> Result<(), Error> {
        let path = self.temporary(name);
        self.names.push(name);
        let outcome = (self.open)(&path)
            .map_err(WriteError::File)
            .and_then(|mut file| {
                fill(&mut file)?;
                Ok(file.finish()?)
            });
        outcome.map_err(|error| match error {
            WriteError::Model(error) => error,
            WriteError::File(source) => Error::Write {
                path: self.dir.join(name),
                source,
            },
        })
    }

    fn commit(mut self) -> Result<(), Error> {
        let count = self.names.len();
        // What is renamed leaves the list, so that dropping it removes what is left of a failure.
        while let Some(&name) = self.names.first() {
            let path = self.dir.join(name);
            if let Err(source) = std::fs::rename(self.temporary(name), &path) {
                return Err(if self.names.len() == count {
                    Error::Write { path, source }
                } else {
                    Error::HalfWritten { path, source }
                });
            }
            self.names.remove(0);
        }
        // The renames themselves are durable only when the folder is; not every file system
        // allows to ask for it.
        if let Ok(dir) = File::open(self.dir) {
            let _ = dir.sync_all();
        }
        Ok(())
    }
}

impl<S: Sink> Drop for Staged<'_, S> {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = std::fs::remove_file(self.temporary(name));
        }
    }
}

fn with_folder<T>(
    dir: &Path,
    build: impl FnOnce(LlamaConfig, TextTokenizer, &dyn TensorSource) -> Result<T, Error>,
) -> Result<T, Error> {
    let path = dir.join("config.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Missing {
                path,
                hint: "a model folder has config.json, tokenizer.json and model.safetensors; \
                       a single GGUF file is given by its own path"
                    .to_owned(),
            });
        }
        Err(source) => return Err(Error::Read { path, source }),
    };
    let mut config = LlamaConfig::from_json(&text).map_err(|e| name_architecture(e, &path))?;
    let tokenizer_path = dir.join("tokenizer.json");
    if !tokenizer_path.is_file() {
        return Err(Error::Missing {
            path: tokenizer_path,
            hint: "a model folder has a tokenizer.json (sentencepiece files alone are not read)"
                .to_owned(),
        });
    }
    let tokenizer = TextTokenizer::from_file(&tokenizer_path)?;
    let weights = Folder::open(dir)?;
    // Older exports leave the flag out or wrong; the file itself knows whether there is a head.
    if !config.tie_word_embeddings && !weights.contains(HEAD) && untied_is_default(&text) {
        config.tie_word_embeddings = true;
    }
    build(config, tokenizer, &weights).map_err(|e| e.in_file(dir))
}

/// Whether the text leaves `tie_word_embeddings` to its default.
fn untied_is_default(config: &str) -> bool {
    !config.contains("\"tie_word_embeddings\"")
}

fn name_architecture(error: Error, path: &Path) -> Error {
    match error {
        Error::Config { key, message } if key == "model_type" => {
            match message
                .split('`')
                .nth(1)
                .filter(|_| message.starts_with('`'))
            {
                Some(found) => Error::Architecture {
                    path: path.to_owned(),
                    found: found.to_owned(),
                },
                None => Error::Config { key, message }.in_file(path),
            }
        }
        other => other.in_file(path),
    }
}

fn with_gguf<T>(
    path: &Path,
    build: impl FnOnce(LlamaConfig, TextTokenizer, &dyn TensorSource) -> Result<T, Error>,
) -> Result<T, Error> {
    let file = gguf::GgufFile::open(path)?;
    let config = file.config()?;
    let tokenizer = file.tokenizer()?;
    let weights = file.weights(&config);
    build(config.clone(), tokenizer, &weights).map_err(|e| e.in_file(path))
}

fn digest(config: &LlamaConfig, model: &Llama, tokenizer: &TextTokenizer) -> Result<String, Error> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(with_tokens(config, tokenizer).to_json().as_bytes());
    hasher.update(tokenizer.digest().as_bytes());
    for (spec, parameter) in tensors(model) {
        hasher.update(spec.name.as_bytes());
        hasher.update(bytemuck::cast_slice(&parameter.file_values()?));
    }
    Ok(hasher.finalize().to_hex().to_string())
}

impl ModelSource {
    /// What a string on a command line or in a configuration means: a path that ends in `.gguf`, a
    /// folder that exists, or a Hub repository `organisation/name[@revision]`, optionally with
    /// `hub:` in front. Anything else is taken for a folder, whose absence loading then reports.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if let Some(hub) = text.strip_prefix("hub:") {
            return Self::hub(hub);
        }
        let path = Path::new(text);
        let gguf = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
        if gguf {
            ModelSource::Gguf(path.to_owned())
        } else if !path.exists() && looks_like_repository(text) {
            Self::hub(text)
        } else {
            ModelSource::Folder(path.to_owned())
        }
    }

    fn hub(text: &str) -> Self {
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision.to_owned())),
            None => (text, None),
        };
        ModelSource::Hub {
            repo: repo.to_owned(),
            revision,
        }
    }
}

/// Exactly one slash, and no part that only a path has.
fn looks_like_repository(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    parts.len() == 2
        && parts
            .iter()
            .all(|part| !part.is_empty() && !part.starts_with('.') && !part.starts_with('~'))
}

impl FromStr for ModelSource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::parse(text))
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelSource::Folder(path) | ModelSource::Gguf(path) => path.display().fmt(f),
            ModelSource::Hub { repo, revision } => {
                write!(f, "hub:{repo}")?;
                revision
                    .as_ref()
                    .map_or(Ok(()), |revision| write!(f, "@{revision}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A disk with room for so many more bytes.
    struct FullDisk<'a> {
        left: &'a Cell<usize>,
        file: File,
    }

    impl Write for FullDisk<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.left.get() < bytes.len() {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.left.set(self.left.get() - bytes.len());
            self.file.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            self.file.flush()
        }
    }

    impl Sink for FullDisk<'_> {
        fn finish(&mut self) -> std::io::Result<()> {
            self.file.sync_all()
        }
    }

    fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, std::fs::read(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_full_disk_leaves_the_previous_checkpoint() {
        let device = crate::device("auto").unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tied");
        let old = load(&ModelSource::Folder(fixture), &device).unwrap();
        let dir = tempfile::tempdir().unwrap();
        old.save(dir.path()).unwrap();
        std::fs::write(dir.path().join("optimizer.bin"), "another's").unwrap();
        let before = files(dir.path());
        let new = old.config.init_seeded(9, &device);

        // Everything fits in 116,000 bytes or so: fill the disk in each file, and in the weights
        // at the beginning and near the end.
        for room in [0, 5_000, 9_000, 9_500, 20_000, 100_000] {
            let left = Cell::new(room);
            let open = |path: &Path| {
                let file = File::create(path)?;
                Ok(FullDisk { left: &left, file })
            };
            let error = save_through(dir.path(), &old.config, &new, &old.tokenizer, &open)
                .expect_err("the disk is full");
            assert!(matches!(error, Error::Write { .. }), "{error}");
            assert!(error.to_string().contains("untouched"), "{error}");
            assert_eq!(files(dir.path()), before, "{room} bytes of room");
        }
        let left = Cell::new(1 << 20);
        let open = |path: &Path| {
            let file = File::create(path)?;
            Ok(FullDisk { left: &left, file })
        };
        save_through(dir.path(), &old.config, &new, &old.tokenizer, &open).unwrap();
        assert_ne!(files(dir.path()), before);
    }

    #[test]
    fn a_rename_that_fails_is_told_as_it_is() {
        let device = crate::device("auto").unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tied");
        let model = load(&ModelSource::Folder(fixture), &device).unwrap();
        // Files are renamed in this order; one of them is a folder, which no file can replace.
        let order = [
            "tokenizer.json",
            TOKENIZER_CONFIG,
            "config.json",
            safetensors::SINGLE,
        ];
        for (renamed, blocked) in order.iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join(blocked)).unwrap();
            let error = model.save(dir.path()).unwrap_err();
            let message = error.to_string();
            let path = dir.path().join(blocked);
            assert!(message.contains(path.to_str().unwrap()), "{message}");
            assert_eq!(
                matches!(error, Error::HalfWritten { .. }),
                renamed > 0,
                "{message}"
            );
            assert_eq!(message.contains("untouched"), renamed == 0, "{message}");
            let mut names: Vec<String> = std::fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            let mut expected = order[..=renamed].to_vec();
            expected.sort_unstable();
            assert_eq!(names, expected, "{message}");
        }
    }
}
