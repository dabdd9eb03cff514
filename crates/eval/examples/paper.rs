//! Tables, figures and numbers of the report from what is committed: what `syncabel report` does.
//!
//! With the folder of released data named, the corpora are counted again first.
//!
//! ```text
//! cargo run --release -p syncabel-eval --example paper
//! cargo run --release -p syncabel-eval --example paper -- ../shared/data
//! ```

use std::path::Path;

use syncabel_eval::paper::{Datasets, Sources};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(data) = std::env::args().nth(1) {
        let counts = Datasets::count(Path::new(&data))?;
        std::fs::write("results/published/datasets.json", counts.to_json())?;
    }
    let tables = Sources::read(Path::new("results"), Path::new("paper"))?
        .write(Path::new("paper/generated"))?;
    println!("{tables} tables");
    Ok(())
}
