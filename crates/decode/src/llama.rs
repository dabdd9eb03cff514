//! The Llama of `syncabel_model` as a [`StepModel`], its tokenizer as a [`Tokenizer`], its checkpoint in a [`Linker`].

use burn::tensor::{DType, Int, Tensor, TensorData};
use syncabel_kb::{Digest, Kb};
use syncabel_model::{
    Checkpoint, CpuModel, Llama, LlamaConfig, ModelSource, Precision, Session, TextTokenizer,
};

use crate::{
    DeviceBeams, Error, LinkOptions, Linker, SpecialTokens, StepModel, Strategy, Tokenizer, Trie,
};

/// Decoding with a Llama and its key-value cache.
///
/// The session works on a full rectangle of prompts x beams; rows that the search does not have are fed a filler token
/// there and their logits never leave the device.
pub struct LlamaSteps<'m> {
    session: Session<'m>,
    vocab: usize,
    positions: usize,
    prompts: usize,
    beams: usize,
    /// For each row of the last call its place in the rectangle; after a prefill, its prompt.
    places: Vec<usize>,
    after_prefill: bool,
}

/// What a place without a row is fed. Any token does: nothing reads it.
const FILLER: u32 = 0;

impl<'m> LlamaSteps<'m> {
    /// Steps of a model, on the device where its weights are.
    pub fn new(model: &'m Llama, config: &LlamaConfig) -> Self {
        Self {
            session: Session::new(model, config, &model.device()),
            vocab: model.vocab_size(),
            positions: config.max_position_embeddings,
            prompts: 0,
            beams: 0,
            places: Vec::new(),
            after_prefill: true,
        }
    }

    /// Moves the rows that the search has off the device.
    ///
    /// # Shapes
    /// - logits: `[prompts * beams, vocab]`
    /// - output: `[places, vocab]`
    fn rows(&self, logits: Tensor<2>) -> Result<Vec<f32>, Error> {
        let [all, _vocab] = logits.dims();
        let wanted = if self.places.len() == all {
            logits
        } else {
            let places: Vec<i32> = self.places.iter().map(|&place| place as i32).collect();
            let device = logits.device();
            let count = places.len();
            logits.select(
                0,
                Tensor::<1, Int>::from_data(TensorData::new(places, [count]), &device),
            )
        };
        wanted
            .into_data()
            .try_into_vec_as::<f32>()
            .map_err(|error| Error::Model(format!("{error:?}").into()))
    }
}

impl StepModel for LlamaSteps<'_> {
    fn vocab_size(&self) -> usize {
        self.vocab
    }

    fn positions(&self) -> usize {
        self.positions
    }

    fn prefill(
        &mut self,
        prompts: &[Vec<u32>],
        beams: usize,
        max_new_tokens: usize,
    ) -> Result<Vec<f32>, Error> {
        let logits = self
            .session
            .prefill(prompts, beams, max_new_tokens)
            .map_err(model_error)?;
        (self.prompts, self.beams) = (prompts.len(), beams);
        self.places = (0..prompts.len()).collect();
        self.after_prefill = true;
        self.rows(logits)
    }

    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<Vec<f32>, Error> {
        let size = self.prompts * self.beams;
        let mut all_tokens = vec![FILLER; size];
        let mut all_parents: Vec<u32> =
            (0..size).map(|place| if self.after_prefill { place / self.beams } else { place } as u32).collect();
        let mut used = vec![0; self.prompts];
        let mut places = Vec::with_capacity(tokens.len());
        for (&token, &parent) in tokens.iter().zip(parents) {
            let parent = self.places[parent as usize];
            let prompt = if self.after_prefill {
                parent
            } else {
                parent / self.beams
            };
            let place = prompt * self.beams + used[prompt];
            used[prompt] += 1;
            all_tokens[place] = token;
            all_parents[place] = parent as u32;
            places.push(place);
        }
        let logits = self
            .session
            .step(&all_tokens, &all_parents)
            .map_err(model_error)?;
        self.places = places;
        self.after_prefill = false;
        self.rows(logits)
    }
}

impl Tokenizer for TextTokenizer {
    fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        TextTokenizer::encode(self, text).map_err(|source| Error::Tokenizer {
            text: text.to_owned(),
            source: Box::new(source),
        })
    }

    fn decode(&self, tokens: &[u32]) -> String {
        TextTokenizer::decode(self, tokens)
    }

    fn special(&self) -> SpecialTokens {
        SpecialTokens {
            eos: self.eos_id(),
            sep: self.sep_id(),
        }
    }

    fn digest(&self) -> Digest {
        TextTokenizer::digest(self)
            .parse()
            .expect("the model crate writes digests as 64 hexadecimal digits")
    }
}

impl<'a> Linker<'a> {
    /// A linker over a checkpoint: guided by `trie`, or free without one.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a trie of another knowledge base or tokenizer, [`Error::Option`] for an empty batch.
    pub fn new(
        checkpoint: &'a Checkpoint,
        kb: &'a Kb,
        trie: Option<&'a Trie>,
        options: LinkOptions,
    ) -> Result<Self, Error> {
        let Checkpoint {
            model,
            config,
            tokenizer,
            ..
        } = checkpoint;
        if let (Some(trie), Strategy::Beam) = (trie, options.search.strategy) {
            trie.check_digests(kb.digest(), &Tokenizer::digest(tokenizer))?;
            let beams = DeviceBeams::new(model, config, trie)?;
            return Self::with_batches(Box::new(beams), tokenizer, kb, trie, options);
        }
        let steps = LlamaSteps::new(model, config);
        Self::with_model(Box::new(steps), tokenizer, kb, trie, options)
    }
}

/// A loaded model, on whatever fits its device best: the CPU engine, or the tensor library on a GPU.
#[derive(Debug)]
pub enum LinkModel {
    /// On the CPU.
    Cpu(Box<CpuModel>),
    /// On another device.
    Device(Box<Checkpoint>),
}

impl LinkModel {
    /// Loads a model for a device by its name, as [`syncabel_model::device`] knows them, and `cpu`. `precision` says how
    /// weights are kept.
    ///
    /// # Errors
    /// As [`syncabel_model::load`] and [`syncabel_model::device`].
    pub fn load(
        source: &ModelSource,
        device: &str,
        precision: Precision,
    ) -> Result<Self, syncabel_model::Error> {
        if syncabel_model::is_cpu(device) {
            let model = syncabel_model::load_cpu(source, precision)?;
            return Ok(Self::Cpu(Box::new(model)));
        }
        let name = device;
        let device = syncabel_model::device(name)?;
        if precision == Precision::Bf16 && !device.supports_dtype(DType::BF16) {
            return Err(syncabel_model::Error::Device {
                name: name.to_owned(),
                message: "it does not compute in bfloat16; take float32 (`precision: f32`)"
                    .to_owned(),
            });
        }
        let mut checkpoint = syncabel_model::load(source, &device)?;
        if precision == Precision::Bf16 {
            checkpoint.model = checkpoint.model.cast(DType::BF16);
        }
        Ok(Self::Device(Box::new(checkpoint)))
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        match self {
            Self::Cpu(model) => &model.tokenizer,
            Self::Device(checkpoint) => &checkpoint.tokenizer,
        }
    }

    /// A linker: guided by `trie`, or free without one.
    ///
    /// # Errors
    /// As [`Linker::with_model`].
    pub fn linker<'a>(
        &'a mut self,
        kb: &'a Kb,
        trie: Option<&'a Trie>,
        options: LinkOptions,
    ) -> Result<Linker<'a>, Error> {
        match self {
            Self::Cpu(model) => {
                let CpuModel {
                    engine, tokenizer, ..
                } = &mut **model;
                Linker::with_pool(Box::new(engine), &*tokenizer, kb, trie, options)
            }
            Self::Device(checkpoint) => Linker::new(checkpoint, kb, trie, options),
        }
    }
}

fn model_error(error: syncabel_model::Error) -> Error {
    Error::Model(Box::new(error))
}
