//! `syncabel report`: tables and figures again, from what is committed.

use crate::error::BadInput;
use crate::report;
use anyhow::Result;
use std::path::PathBuf;

/// Draws the tables and figures of finished experiments again from their `summary.json`, without running anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: syncabel report results/quickstart")]
pub(super) struct Args {
    /// Results folders.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<()> {
    for folder in &args.folders {
        if !folder.join("summary.json").is_file() {
            let message = format!(
                "{} holds no summary.json; `syncabel run` writes one",
                folder.display()
            );
            return Err(BadInput(message).into());
        }
        println!("{}", report::redraw(folder)?);
    }
    Ok(())
}
