//! Tables, figures and numbers of the report from what is committed: what `syncabel report` does.
//!
//! ```text
//! cargo run --release -p syncabel-eval --example paper
//! ```

use std::path::Path;

use syncabel_eval::paper::Sources;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tables = Sources::read(Path::new("results"), Path::new("paper"))?
        .write(Path::new("paper/generated"))?;
    println!("{tables} tables");
    Ok(())
}
