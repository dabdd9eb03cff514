//! The authors' numbers from the files they released, as JSON on stdout: what `syncabel report --recompute` writes.
//!
//! ```text
//! cargo run --release -p syncabel-eval --example recompute -- ../shared/data > results/published/recomputed.json
//! ```

use std::path::Path;

use syncabel_eval::{EvalOptions, published};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = std::env::args()
        .nth(1)
        .ok_or("name the folder of released data")?;
    let recomputed = published::recompute(Path::new(&data), &EvalOptions::default())?;
    print!("{}", recomputed.to_json()?);
    Ok(())
}
