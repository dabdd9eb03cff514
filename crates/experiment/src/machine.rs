//! Where a run happened: written into every run folder, printed beside every cost.

use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;

/// The machine and the build, in words a reader of a results table can judge.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Machine {
    /// Processor model as the kernel names it.
    pub cpu: String,
    /// Logical processors this process may use.
    pub cpus: usize,
    /// Main memory in MiB; 0 where it cannot be read.
    pub memory_mib: u64,
    /// Operating system and architecture.
    pub os: String,
    /// Version of this program.
    pub syncabel: String,
    /// Version of the tensor library.
    pub burn: String,
}

impl Machine {
    /// Reads the description of this machine. Never fails: what cannot be read is left empty.
    pub fn here() -> Self {
        Machine {
            cpu: proc_field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: proc_field("/proc/meminfo", "MemTotal")
                .and_then(|v| v.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024),
            os: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            syncabel: env!("CARGO_PKG_VERSION").into(),
            burn: "0.22.1".into(),
        }
    }
}

fn proc_field(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|l| l.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The commit of the working tree that `folder` lies in, with `-dirty` where tracked files differ; `None` outside git.
pub fn git_revision(folder: &Path) -> Option<String> {
    let git = |args: &[&str]| {
        let out = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(args)
            .output()
            .ok()?;
        out.status
            .success()
            .then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let revision = git(&["rev-parse", "HEAD"])?;
    let dirty =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
    Some(if dirty {
        format!("{revision}-dirty")
    } else {
        revision
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_processors_and_memory() {
        let machine = Machine::here();
        assert!(machine.cpus >= 1);
        if cfg!(target_os = "linux") {
            assert!(machine.memory_mib > 0);
        }
    }
}
