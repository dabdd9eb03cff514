//! The `syncabel` command: arguments to subcommand, error to exit code.

use clap::Parser;
use syncabel_experiment::cli::Cli;
use syncabel_experiment::error::exit_code;

/// Keeps freed pages: burn's flex backend allocates large buffers at every operation, and giving them back to the
/// kernel costs about a tenth of a training step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let cli = Cli::parse();
    if let Err(error) = cli.run() {
        eprintln!("error: {error:#}");
        std::process::exit(exit_code(&error));
    }
}
