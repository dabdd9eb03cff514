//! What a person watches: logs and bars, all on stderr.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use syncabel_decode::Work;
use tracing_subscriber::EnvFilter;

/// Starts logging to stderr. `RUST_LOG` wins over the verbosity.
pub fn init_logs(verbosity: u8) {
    let level = match verbosity {
        0 => "warn,syncabel_experiment=info",
        1 => "info,burn=warn,cubecl=warn",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // a second call (tests that run the library twice) keeps the first logger
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}

/// Says so where best-first search stopped at its limit.
pub fn warn_of_unproven(work: Work) {
    let unproven = work.unproven;
    if unproven > 0 {
        tracing::warn!(
            "{unproven} mentions: best-first search stopped at its limit of tokens, so their names are not proved to be \
             the best; fewer beams, a smaller reach (within) or beam search need less work"
        );
    }
}

/// A bar with rate and time left. Without a terminal (CI, a log file) nothing is drawn.
pub fn bar(total: u64, unit: &'static str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(4)
    } else {
        ProgressDrawTarget::hidden()
    };
    let template =
        format!("{{prefix}} {{bar:30}} {{pos}}/{{len}} {unit} {{per_sec}} ETA {{eta}} {{msg}}");
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(total), target).with_style(style)
}
