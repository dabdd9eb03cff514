//! The `syncabel` command: arguments to subcommand, error to exit code.

use clap::Parser;
use std::io::Write;
use syncabel_experiment::cli::Cli;
use syncabel_experiment::error::{exit_code, message};

/// Keeps freed pages: burn's flex backend allocates large buffers at every operation, and giving them back to the
/// kernel costs about a tenth of a training step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    end_quietly_when_nobody_reads();
    let cli = Cli::parse();
    if let Err(error) = cli.run() {
        // a closed stderr is no reason to panic
        let _ = writeln!(std::io::stderr(), "error: {}", message(&error));
        std::process::exit(exit_code(&error));
    }
}

/// `println!` panics where stdout cannot be written. A reader that went away (`syncabel kb inspect X | head`) has seen
/// enough: exit code 0. Anything else, a full disk for one, is said in one line: exit code 2. All other panics are bugs
/// and keep their report.
fn end_quietly_when_nobody_reads() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        let Some(reason) = text.strip_prefix("failed printing to ") else {
            return report(panic);
        };
        if reason.contains("Broken pipe") {
            std::process::exit(0);
        }
        let _ = writeln!(std::io::stderr(), "error: cannot write to {reason}");
        std::process::exit(2);
    }));
}
