//! Training: from human and synthetic examples to a checkpoint.
//!
//! Three steps, each usable alone:
//!
//! 1. [`compose`] selects examples and lays out phases: five [`Strategy`]s, a share of the human data, concepts held out
//!    of it. The [`Plan`] says in its report what was kept and dropped.
//! 2. [`train`] turns a [`Plan`] and a model into checkpoints: loss on the completion only, packed batches whose examples
//!    cannot see each other, AdamW under a [`Schedule`] with global-norm clipping, a log line a step, and the best model
//!    on a validation part. After `kill -9` at any moment, calling it again goes on from the last checkpoint and ends with
//!    the same bytes.
//! 3. [`Progress`] follows a run and can stop it.
//!
//! # Cost
//! Composing and encoding are linear in the examples (a million in seconds, a few hundred bytes each). A step costs three
//! times the arithmetic of a forward pass over the tokens that are really there, plus the head at completion tokens only.
//! On the CPU this crate has passes of its own for Llama ([`EngineChoice::Fused`]); other devices go through burn's
//! autodiff ([`EngineChoice::Burn`]). Memory is 16 bytes a parameter plus activations of
//! [`micro_batch_tokens`](TrainConfig::micro_batch_tokens). The bench `training_step` measures both engines.
//!
//! # Example
//! ```
//! use syncabel_corpus::Origin;
//! use syncabel_corpus::marked::Example;
//! use syncabel_train::{Composition, Strategy, compose};
//!
//! let example = |code: &str, origin: Origin| Example {
//!     document: "d1".into(),
//!     mention_id: format!("d1.{code}"),
//!     group: "Disorders".into(),
//!     prompt: "Treated for [AS]{Disorders}.<SEP>[AS] is".into(),
//!     completion: " Ankylosing spondylitis".into(),
//!     codes: vec![code.into()],
//!     origin,
//! };
//! let human = [example("D013167", Origin::Human)];
//! let transplanted = Origin::Synthetic { generator: "transplant".into() };
//! let synthetic = ["D001", "D002", "D003"].map(|code| example(code, transplanted.clone()));
//!
//! let composition = Composition { strategy: Strategy::Interleaved, ..Composition::default() };
//! let plan = compose(&human, &synthetic, &composition)?;
//! // Human, synthetic, human, ...: the one human example is repeated until the three synthetic ones are used up.
//! assert_eq!(plan.phases[0].epoch_len(), 6);
//! # Ok::<(), syncabel_train::Error>(())
//! ```

mod checkpoint;
mod compose;
mod config;
mod encode;
mod engine;
mod error;
mod log;
mod packing;
mod random;
mod schedule;
mod train;

pub use compose::{
    ComposeReport, Composition, ExampleId, HumanShareRule, Phase, PhaseName, PhaseReport, Plan,
    Sources, Strategy, compose, held_out, human_for_synthesis,
};
pub use config::{BestMetric, EngineChoice, PhaseConfig, Precision, TrainConfig};
pub use encode::{EncodeReport, Encoded, encode_examples};
pub use error::Error;
pub use log::{Evaluation, Point, Progress, StepRecord, StepUpdate};
pub use packing::{Rows, Slot, pack};
pub use schedule::Schedule;
pub use train::{TrainOutcome, train};
