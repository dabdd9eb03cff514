//! Decoding with a key-value cache that is allocated once.
//!
//! A cache row belongs to a mention, not to a beam: first the prompt, stored once, then for every
//! step one slot per beam.
//!
//! ```text
//! keys of one (mention, head):  | prompt, padded to P | step 0: K slots | step 1: K slots | ...
//! ```
//!
//! Beams form a tree, and a beam sees the prompt and the slots on its own path. So when beams are
//! reordered nothing of the cache is copied: each row takes over what its parent may see, one number
//! a slot, which is the attention bias. A step writes `K` rows of the cache in place and reads it as one matrix per
//! (mention, head), with the queries of all beams and heads of a group stacked as rows. Slots of
//! other beams are computed and hidden; at `K = 5` that is a few percent of a step, less than
//! moving `B * K` histories each step would cost.

use std::borrow::Cow;

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::attention::{HIDDEN, causal_bias, grouped};
use crate::llama::Projected;
use crate::rope::Angles;
use crate::{Error, Llama, LlamaConfig, Rope};

/// Inference over a batch of prompts with several beams each.
///
/// [`prefill`](Session::prefill) reads the prompts, each once whatever the number of beams;
/// [`step`](Session::step) then feeds one token per beam. A new prefill starts over.
///
/// ```
/// use syncabel_model::{LlamaConfig, Session, device};
///
/// let device = device("auto")?;
/// let config = LlamaConfig::new(320, 32, 64, 2, 4, 2);
/// let model = config.init(&device);
/// let mut session = Session::new(&model, &config, &device);
/// // Two prompts of different length, two beams each, room for three steps.
/// let first = session.prefill(&[vec![5, 6, 7], vec![8]], 2, 3)?;
/// assert_eq!(first.dims(), [2, 320]);
/// // Row i belongs to prompt i / 2; after the prefill each row continues its prompt.
/// let next = session.step(&[10, 11, 12, 13], &[0, 0, 1, 1])?;
/// assert_eq!(next.dims(), [4, 320]);
/// // Both beams of the first prompt continue its second beam.
/// session.step(&[20, 21, 22, 23], &[1, 1, 2, 3])?;
/// # Ok::<(), syncabel_model::Error>(())
/// ```
#[derive(Debug)]
pub struct Session<'m> {
    model: Cow<'m, Llama>,
    config: LlamaConfig,
    device: Device,
    /// Of the weights, and of what is cached.
    dtype: DType,
    rope: Rope,
    batch: Option<Batch>,
}

/// What a prefill leaves for the steps.
#[derive(Debug)]
struct Batch {
    prompts: usize,
    beams: usize,
    /// Cells per prompt in the cache, padding included.
    width: usize,
    /// Tokens of each prompt, `[prompts, 1]`: the position of its first step.
    lengths: Tensor<2, Int>,
    steps_done: usize,
    max_steps: usize,
    cache: Vec<LayerCache>,
    /// What every row may see of the cache, 0, and what not, [`HIDDEN`]: its prompt without padding, and the slots on its path.
    /// `[prompts, beams, width + max_steps * beams]`
    sight: Tensor<3>,
    /// What the beams of one step see of each other: themselves. `[1, beams, beams]`
    selves: Tensor<3>,
}

/// Keys and values of one layer, each `[prompts, key_heads, width + max_steps * beams, head_dim]`.
/// Taken out while written, so that the backend owns the only handle and writes in place.
#[derive(Debug)]
struct LayerCache {
    key: Option<Tensor<4>>,
    value: Option<Tensor<4>>,
}

impl<'m> Session<'m> {
    /// A session of a model. A model that tracks gradients is used without them.
    #[must_use]
    pub fn new(model: &'m Llama, config: &LlamaConfig, device: &Device) -> Self {
        let (model, device) = if model.device().is_autodiff() {
            (Cow::Owned(model.valid()), device.clone().inner())
        } else {
            (Cow::Borrowed(model), device.clone())
        };
        Session {
            dtype: model.dtype(),
            model,
            config: config.clone(),
            rope: Rope::new(config, 0, &device),
            device,
            batch: None,
        }
    }

    /// Reads the prompts and prepares `beams` beams of at most `max_new_tokens` steps for each.
    ///
    /// # Shapes
    /// - output: `[prompts, vocab_size]`, the scores after each prompt's last token
    ///
    /// # Errors
    /// [`Error::Session`] for no prompt, an empty prompt or no beam; [`Error::Token`] for an id
    /// beyond the vocabulary; [`Error::Capacity`] where prompt and answer exceed the model's
    /// context.
    pub fn prefill(
        &mut self,
        prompts: &[Vec<u32>],
        beams: usize,
        max_new_tokens: usize,
    ) -> Result<Tensor<2>, Error> {
        self.batch = None;
        let lengths = self.check_prompts(prompts, beams, max_new_tokens)?;
        let width = *lengths.iter().max().expect("checked: there is a prompt");
        self.reserve_positions(width + max_new_tokens);
        let slots = width + max_new_tokens * beams;
        let mut sight = vec![HIDDEN; prompts.len() * slots];
        for (row, length) in sight.chunks_exact_mut(slots).zip(&lengths) {
            row[..*length].fill(0.0);
        }
        let mut selves = vec![HIDDEN; beams * beams];
        selves
            .iter_mut()
            .step_by(beams + 1)
            .for_each(|own| *own = 0.0);
        let floats = |values, shape: [usize; 3]| {
            Tensor::<3>::from_data(TensorData::new(values, shape), &self.device)
        };
        let lengths_as_ids: Vec<u32> = lengths.iter().map(|&length| length as u32).collect();
        let mut batch = Batch {
            prompts: prompts.len(),
            beams,
            width,
            steps_done: 0,
            max_steps: max_new_tokens,
            cache: (0..self.config.num_hidden_layers)
                .map(|_| LayerCache {
                    key: None,
                    value: None,
                })
                .collect(),
            sight: floats(sight, [prompts.len(), 1, slots]).repeat_dim(1, beams),
            selves: floats(selves, [1, beams, beams]),
            lengths: self.ids(&lengths_as_ids, [prompts.len(), 1]),
        };
        let last = self.read_prompts(prompts, &lengths, &mut batch);
        self.batch = Some(batch);
        Ok(self.head(last))
    }

    /// Feeds one token per row; row `i` continues what row `parents[i]` saw before, a row of the
    /// same prompt. In the first step after a prefill `parents[i]` is the prompt, `i / beams`.
    ///
    /// # Shapes
    /// - tokens, parents: `prompts * beams` entries, the beams of a prompt together
    /// - output: `[prompts * beams, vocab_size]`
    ///
    /// # Errors
    /// [`Error::Session`] before a prefill, for a wrong number of rows or a parent of another
    /// prompt; [`Error::Token`] for an id beyond the vocabulary; [`Error::Capacity`] beyond
    /// `max_new_tokens` steps. After an error the session is as before the call.
    pub fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<Tensor<2>, Error> {
        let batch = self.started()?;
        let own = batch.check(tokens, parents)?;
        self.check_tokens(tokens)?;
        let shape = [batch.prompts, batch.beams];
        let (tokens, parents) = (self.ids(tokens, shape), self.ids(&own, shape));
        self.step_on_device(tokens, parents)
    }

    /// [`Session::step`] without looking at what is fed: nothing leaves the device, and nothing is waited for. Entries of `parents`
    /// are beams of their own prompt, whatever step it is.
    ///
    /// # Shapes
    /// - tokens, parents: `[prompts, beams]`
    /// - output: `[prompts * beams, vocab_size]`
    ///
    /// # Errors
    /// [`Error::Session`] before a prefill; [`Error::Capacity`] beyond `max_new_tokens` steps. After an error the session is as
    /// before the call.
    ///
    /// # Panics
    /// For another shape, and as the backend does for tokens beyond the vocabulary or parents that are no beams.
    pub fn step_on_device(
        &mut self,
        tokens: Tensor<2, Int>,
        parents: Tensor<2, Int>,
    ) -> Result<Tensor<2>, Error> {
        self.started()?.has_room()?;
        let mut batch = self.batch.take().expect("it was started");
        batch.advance(parents);
        let logits = self.feed(tokens, &mut batch);
        self.batch = Some(batch);
        Ok(logits)
    }

    fn started(&self) -> Result<&Batch, Error> {
        self.batch.as_ref().ok_or_else(|| Error::Session {
            message: "a step before a prefill".to_owned(),
        })
    }

    fn check_prompts(
        &self,
        prompts: &[Vec<u32>],
        beams: usize,
        max_new_tokens: usize,
    ) -> Result<Vec<usize>, Error> {
        let refuse = |message: String| Err(Error::Session { message });
        if prompts.is_empty() || beams == 0 {
            return refuse(format!("{} prompts with {beams} beams", prompts.len()));
        }
        let capacity = self.config.max_position_embeddings;
        for (i, prompt) in prompts.iter().enumerate() {
            if prompt.is_empty() {
                return refuse(format!("prompt {i} is empty"));
            }
            let needed = prompt.len().saturating_add(max_new_tokens);
            if needed > capacity {
                return Err(Error::Capacity {
                    what: "prompt and answer",
                    needed,
                    capacity,
                    hint: "shorten the context around the mention or lower max_new_tokens",
                });
            }
            self.check_tokens(prompt)?;
        }
        Ok(prompts.iter().map(Vec::len).collect())
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), Error> {
        let vocab_size = self.model.vocab_size();
        match tokens.iter().find(|&&t| t as usize >= vocab_size) {
            Some(&token) => Err(Error::Token { token, vocab_size }),
            None => Ok(()),
        }
    }

    /// Grows the rotary table by doubling, so that batches of similar length share one.
    fn reserve_positions(&mut self, positions: usize) {
        if self.rope.positions() < positions {
            let size = positions
                .next_power_of_two()
                .min(self.config.max_position_embeddings);
            self.rope = Rope::new(&self.config, size, &self.device);
        }
    }

    /// Runs the padded prompts through the layers, filling the cache.
    ///
    /// # Shapes
    /// - output: `[prompts, hidden_size]`, states at each prompt's last token
    fn read_prompts(
        &self,
        prompts: &[Vec<u32>],
        lengths: &[usize],
        batch: &mut Batch,
    ) -> Tensor<2> {
        let (count, width) = (batch.prompts, batch.width);
        let padded: Vec<u32> = prompts
            .iter()
            .flat_map(|p| p.iter().copied().chain(std::iter::repeat(0)).take(width))
            .collect();
        let angles = self.rope.prefix(width).cast(self.dtype);
        // Padding is at the end, so causality alone keeps it out of sight.
        let bias = causal_bias(width, &self.device);
        let slots = width + batch.max_steps * batch.beams;
        let shape = [
            count,
            self.config.num_key_value_heads,
            slots,
            self.config.head_dim,
        ];
        let model = self.model.as_ref();
        let rows = model.embed(self.ids(&padded, [count, width]));
        let rows = model.layers(rows, |layer, heads| {
            let (query, key, value) = model.split_heads(heads, count, width, &angles);
            let cache = &mut batch.cache[layer];
            let empty = || Tensor::zeros(shape, (&self.device, self.dtype));
            cache.key = Some(write(empty(), 0, key.clone()));
            cache.value = Some(write(empty(), 0, value.clone()));
            model.merge_heads(grouped(query, key, value, bias.clone()))
        });
        let last: Vec<u32> = lengths
            .iter()
            .enumerate()
            .map(|(b, length)| (b * width + length - 1) as u32)
            .collect();
        rows.select(0, self.ids(&last, [1, count]).reshape([count]))
    }

    /// Runs one token per row through the layers.
    ///
    /// # Shapes
    /// - output: `[prompts * beams, vocab_size]`
    fn feed(&self, tokens: Tensor<2, Int>, batch: &mut Batch) -> Tensor<2> {
        let step = batch.steps_done - 1;
        let positions = batch.lengths.clone().add_scalar(step as i64);
        let angles = self.rope.at(positions).cast(self.dtype);
        let bias = batch.bias();
        let rows = batch.prompts * batch.beams;
        let model = self.model.as_ref();
        let rows = model.embed(tokens.reshape([rows, 1]));
        let rows = model.layers(rows, |layer, heads| {
            self.attend_cached(layer, heads, &angles, &bias, batch)
        });
        self.head(rows)
    }

    /// Writes this step's keys and values and attends over the cache.
    ///
    /// # Shapes
    /// - heads: rows are `prompts * beams`
    /// - bias: `[prompts, 1, beams, 1, filled]`
    /// - output: `[prompts * beams, query_heads * head_dim]`
    fn attend_cached(
        &self,
        layer: usize,
        heads: Projected,
        angles: &Angles,
        bias: &Tensor<5>,
        batch: &mut Batch,
    ) -> Tensor<2> {
        let (prompts, beams) = (batch.prompts, batch.beams);
        let key_heads = self.config.num_key_value_heads;
        let (group, dim) = (self.config.group_size(), self.config.head_dim);
        let split = |x: Tensor<2>, n: usize| x.reshape([prompts, beams, n, dim]);
        let query = angles
            .rotate(split(heads.query, key_heads * group))
            .reshape([prompts, beams, key_heads, group, dim])
            .swap_dims(1, 2);
        let new_key = angles.rotate(split(heads.key, key_heads)).swap_dims(1, 2);
        let new_value = split(heads.value, key_heads).swap_dims(1, 2);

        let filled = batch.filled();
        let start = filled - beams;
        let cache = &mut batch.cache[layer];
        let store = |slot: &mut Option<Tensor<4>>, new: Tensor<4>| {
            let whole = slot.take().expect("filled by the prefill");
            let whole = write(whole, start, new);
            *slot = Some(whole.clone());
            whole.narrow(2, 0, filled)
        };
        let key = store(&mut cache.key, new_key);
        let value = store(&mut cache.value, new_value);
        grouped(query, key, value, bias.clone())
            .swap_dims(1, 2)
            .reshape([prompts * beams, key_heads * group * dim])
    }

    /// # Shapes
    /// - rows: `[rows, hidden_size]`, not normalised
    /// - output: `[rows, vocab_size]`
    fn head(&self, rows: Tensor<2>) -> Tensor<2> {
        let model = self.model.as_ref();
        model.logits(model.model.norm.forward(rows))
    }

    fn ids(&self, ids: &[u32], shape: [usize; 2]) -> Tensor<2, Int> {
        let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        Tensor::from_data(TensorData::new(ids, shape), &self.device)
    }
}

impl Batch {
    /// Cells of the cache in use, per mention and head.
    fn filled(&self) -> usize {
        self.width + self.steps_done * self.beams
    }

    fn has_room(&self) -> Result<(), Error> {
        if self.steps_done == self.max_steps {
            return Err(Error::Capacity {
                what: "decoding steps",
                needed: self.steps_done + 1,
                capacity: self.max_steps,
                hint: "prefill with a larger max_new_tokens",
            });
        }
        Ok(())
    }

    /// The beam of each parent within its prompt.
    fn check(&self, tokens: &[u32], parents: &[u32]) -> Result<Vec<u32>, Error> {
        let rows = self.prompts * self.beams;
        if tokens.len() != rows || parents.len() != rows {
            return Err(Error::Session {
                message: format!(
                    "{} tokens and {} parents for {rows} rows",
                    tokens.len(),
                    parents.len()
                ),
            });
        }
        self.has_room()?;
        let first = self.steps_done == 0;
        let beam = |(row, &parent): (usize, &u32)| {
            let prompt = row / self.beams;
            let (found, beam) = match first {
                true => (parent as usize, 0),
                false => (parent as usize / self.beams, parent as usize % self.beams),
            };
            if found != prompt {
                return Err(Error::Session {
                    message: format!(
                        "row {row} belongs to prompt {prompt}, its parent {parent} to prompt {found}"
                    ),
                });
            }
            Ok(beam as u32)
        };
        parents.iter().enumerate().map(beam).collect()
    }

    /// Lets every row see what its parent saw, and its own new slot.
    ///
    /// # Shapes
    /// - parents: `[prompts, beams]`
    fn advance(&mut self, parents: Tensor<2, Int>) {
        let (prompts, beams) = (self.prompts, self.beams);
        let slots = self.sight.dims()[2];
        let parents = parents
            .reshape([prompts, beams, 1])
            .expand([prompts, beams, slots]);
        let start = self.filled();
        let selves = self.selves.clone().expand([prompts, beams, beams]);
        self.sight = self
            .sight
            .clone()
            .gather(1, parents)
            .slice_assign([0..prompts, 0..beams, start..start + beams], selves);
        self.steps_done += 1;
    }

    /// What each row may see of what is filled.
    ///
    /// # Shapes
    /// - output: `[prompts, 1, beams, 1, filled]`
    fn bias(&self) -> Tensor<5> {
        let filled = self.filled();
        let seen = self.sight.clone().narrow(2, 0, filled);
        seen.reshape([self.prompts, 1, self.beams, 1, filled])
    }
}

/// Writes `new` into cells `start..` of a cache.
///
/// # Shapes
/// - whole: `[prompts, key_heads, cells, head_dim]`
/// - new: `[prompts, key_heads, n, head_dim]`
fn write(whole: Tensor<4>, start: usize, new: Tensor<4>) -> Tensor<4> {
    let [prompts, key_heads, n, dim] = new.dims();
    whole.slice_assign([0..prompts, 0..key_heads, start..start + n, 0..dim], new)
}
