//! A folder per test and the real binary.

#![allow(dead_code)] // each test file uses its part

use assert_cmd::Command;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Sandbox {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// The terminology as a KB, `terms.kb`, and the notes as `train.jsonl`.
    pub(crate) fn with_terms() -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("terms.tsv", TERMS);
        sandbox.write("train.jsonl", NOTES);
        sandbox.build_terms();
        sandbox
    }

    /// `tiny.yaml` with what it reads: the terminology, the notes for training and the same ones for testing.
    pub(crate) fn with_experiment(yaml: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("terms.tsv", TERMS);
        sandbox.write("notes.jsonl", NOTES);
        sandbox.write(
            "test.jsonl",
            NOTES.replace("\"n1", "\"t1").replace("\"n2", "\"t2"),
        );
        sandbox.write("tiny.yaml", yaml);
        sandbox
    }

    /// Makes `terms.kb` of `terms.tsv`.
    pub(crate) fn build_terms(&self) {
        self.run(&["kb", "build", "terms.tsv", "--out", "terms.kb"])
            .ok();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// `syncabel ARGS` with its stdout going to `sink`.
    pub(crate) fn run_into(&self, args: &[&str], sink: std::process::Stdio) -> Output {
        let output = std::process::Command::new(assert_cmd::cargo::cargo_bin("syncabel"))
            .current_dir(self.dir.path())
            .args(args)
            .stdout(sink)
            .output()
            .unwrap();
        Output {
            code: output.status.code(),
            stdout: String::new(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// `syncabel ARGS` in the sandbox's folder.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, &[])
    }

    /// The same with environment variables.
    pub(crate) fn run_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let output = Command::cargo_bin("syncabel")
            .unwrap()
            .current_dir(self.dir.path())
            .envs(variables.iter().copied())
            .args(args)
            .output()
            .unwrap();
        Output {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Exit code 0; returns stdout.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self.stdout
    }

    /// Exit code 2, no panic, and every one of `needles` on stderr.
    #[track_caller]
    pub(crate) fn refused(self, needles: &[&str]) {
        assert_eq!(
            self.code,
            Some(2),
            "stderr: {}\nstdout: {}",
            self.stderr,
            self.stdout
        );
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for needle in needles {
            assert!(
                self.stderr.contains(needle),
                "`{needle}` is not in: {}",
                self.stderr
            );
        }
    }
}

/// The repository's folder.
pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A terminology of four concepts in two groups.
pub(crate) const TERMS: &str = "code\tname\tsynonyms\tgroup\tsemantic_type\tdefinition\n\
    D006816\tHuntington Disease\tHuntington Chorea|Chronic Progressive Hereditary Chorea\tDisorders\t\tInherited.\n\
    D006689\tHodgkin Disease\tHodgkin Lymphoma\tDisorders\t\tA lymphoma.\n\
    D001249\tAsthma\tBronchial Asthma\tDisorders\t\tAirways.\n\
    D000068877\tImatinib Mesylate\tGleevec|STI-571\tChemicals\t\tA drug.\n";

/// Two documents in the project's own format.
pub(crate) const NOTES: &str = concat!(
    r#"{"id":"n1","text":"Known Huntington chorea, now with falls.","mentions":[{"id":"n1.1","spans":[[6,23]],"text":"Huntington chorea","label":"Disorders","gold":[["D006816"]]}]}"#,
    "\n",
    r#"{"id":"n2","text":"Wheezing; bronchial asthma since childhood.","mentions":[{"id":"n2.1","spans":[[10,26]],"text":"bronchial asthma","label":"Disorders","gold":[["D001249"]]}]}"#,
    "\n"
);
