//! Tests of the public surface, one program: linking burn takes longer than running them.

mod checkpoint;
mod common;
mod malformed;
mod parity;
mod session;
mod smollm2;
#[cfg(feature = "tch")]
mod tch;
