//! Training: from human and synthetic examples to a checkpoint.

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
    Sources, Strategy, compose,
};
pub use config::{BestMetric, EngineChoice, PhaseConfig, TrainConfig};
pub use encode::{EncodeReport, Encoded, encode_examples};
pub use error::Error;
pub use log::{Evaluation, Point, Progress, StepRecord, StepUpdate};
pub use packing::{Rows, Slot, pack};
pub use schedule::Schedule;
pub use train::{TrainOutcome, train};
