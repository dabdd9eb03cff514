//! Speed and memory that scripts measured beside other programs, read from the tables they wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Sources;
use super::tables::NOT_KNOWN;
use crate::Error;
use crate::figures::Bar;
use crate::tables::Table;

/// A table that a script measured and wrote as Markdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The folder that it lies in.
    pub folder: String,
    /// Where it was measured, as the README beside it says.
    pub machine: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

/// What was measured of linking and of training; empty where nothing was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Speeds {
    /// `results/linking/*/speed.md`, in alphabetical order.
    pub linking: Vec<Measured>,
    /// `results/training_speed/README.md`.
    pub training: Option<Measured>,
}

impl Speeds {
    /// Reads what is there.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] for a file without the table or the machine.
    pub(super) fn read(results: &Path) -> Result<Self, Error> {
        let linking = results.join("linking");
        let readme = linking.join("README.md");
        let mut speeds = Speeds::default();
        for folder in folders(&linking)? {
            let path = folder.join("speed.md");
            if path.is_file() {
                speeds.linking.push(Measured::read(&path, &readme)?);
            }
        }
        let training = results.join("training_speed/README.md");
        if training.is_file() {
            speeds.training = Some(Measured::read(&training, &training)?);
        }
        Ok(speeds)
    }

    /// Numbers that the text of the report quotes.
    pub(super) fn numbers(&self) -> BTreeMap<String, String> {
        let mut numbers = BTreeMap::new();
        for measured in &self.linking {
            measured.add_numbers("linking", &mut numbers);
        }
        if let Some(training) = &self.training {
            training.add_numbers("training", &mut numbers);
        }
        numbers
    }
}

impl Measured {
    fn read(path: &Path, readme: &Path) -> Result<Self, Error> {
        let damaged = |reason: &str| Error::Damaged {
            path: path.to_path_buf(),
            reason: reason.to_owned(),
        };
        let text = fs::read_to_string(path).map_err(Error::io(path))?;
        let about = fs::read_to_string(readme).map_err(Error::io(readme))?;
        let mut lines = text.lines().filter(|line| line.starts_with('|')).map(cells);
        let columns = lines.next().ok_or_else(|| damaged("no table"))?;
        let rows: Vec<_> = lines.skip(1).collect();
        if rows.iter().any(|row| row.len() != columns.len()) {
            return Err(damaged("a row of the table has another number of cells"));
        }
        let folder = path.parent().and_then(Path::file_name);
        Ok(Measured {
            folder: folder.map_or_else(String::new, |f| f.to_string_lossy().into_owned()),
            machine: machine(&about).ok_or_else(|| damaged("no word on how many cores"))?,
            columns,
            rows,
        })
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c == name)
    }

    fn cell<'m>(&'m self, row: &'m [String], column: &str) -> &'m str {
        self.column(column).map_or("", |index| row[index].as_str())
    }

    fn add_numbers(&self, what: &str, numbers: &mut BTreeMap<String, String>) {
        numbers.insert(
            format!("{what}_{}_machine", self.folder),
            self.machine.clone(),
        );
        for row in &self.rows {
            for (column, cell) in self.columns.iter().zip(row).skip(1) {
                let key = [what, &self.folder, &row[0], column].map(key).join("_");
                numbers.insert(key, cell.clone());
            }
        }
    }
}

/// A name as part of a key: small letters and digits, everything else one underscore.
fn key(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join("_").to_lowercase()
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|');
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    inner
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

/// The clause about cores: from the colon before it, or the start of its line, to the end of the clause.
fn machine(readme: &str) -> Option<String> {
    let line = readme.lines().find(|line| line.contains(" cores"))?;
    let cores = line.find(" cores")?;
    let start = line[..cores].rfind(": ").map_or(0, |colon| colon + 2);
    let end = line[cores..]
        .find([';', '.'])
        .map_or(line.len(), |end| cores + end);
    Some(line[start..end].trim().to_owned())
}

fn folders(parent: &Path) -> Result<Vec<PathBuf>, Error> {
    if !parent.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(parent).map_err(Error::io(parent))? {
        paths.push(entry.map_err(Error::io(parent))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Linking: the paper's systems, then what we measured, ours and transformers.
pub(super) fn linking(sources: &Sources) -> Result<Table, Error> {
    let mut table = Table::of(
        "Linking: mentions per second and memory",
        &[
            "weights",
            "system",
            "machine",
            "mentions/s",
            "x strongest transformers",
            "peak memory",
        ],
    );
    for row in &sources.published.efficiency {
        let memory = row
            .memory_gb
            .map_or(NOT_KNOWN.to_owned(), |gb| format!("{gb:.0} GB (about)"));
        table.push(vec![
            row.system.clone(),
            "paper".to_owned(),
            row.machine.clone(),
            format!("{:.1}", row.mentions_per_second),
            "–".to_owned(),
            memory,
        ])?;
    }
    for measured in &sources.speeds.linking {
        for row in &measured.rows {
            table.push(vec![
                format!("SmolLM2-135M, {}", measured.folder),
                measured.cell(row, "setting").to_owned(),
                measured.machine.clone(),
                measured.cell(row, "mentions/s").to_owned(),
                measured.cell(row, "x its strongest").to_owned(),
                format!("{} MB", measured.cell(row, "peak MB")),
            ])?;
        }
    }
    Ok(table)
}

/// Training: the table as it was measured; the paper has no such number.
pub(super) fn training(sources: &Sources) -> Result<Table, Error> {
    let title = "Training: tokens per second and memory";
    let Some(measured) = &sources.speeds.training else {
        return Ok(Table::of(title, &["system"]));
    };
    let mut table = Table::new(title, measured.columns.clone());
    for row in &measured.rows {
        table.push(row.clone())?;
    }
    Ok(table)
}

/// The figure of linking speed.
pub(super) fn bars(sources: &Sources) -> Vec<Bar> {
    let published = sources.published.efficiency.iter().map(|row| Bar {
        label: format!("{}, {} (paper)", row.system, row.machine),
        value: Some(row.mentions_per_second),
    });
    let measured = sources.speeds.linking.iter().flat_map(|measured| {
        measured.rows.iter().map(|row| Bar {
            label: format!(
                "{}, {} (here)",
                measured.cell(row, "setting"),
                measured.folder
            ),
            value: measured.cell(row, "mentions/s").parse().ok(),
        })
    });
    published.chain(measured).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_the_clause_about_cores() {
        let after_colon = "Nothing else running: a Xeon, two cores, 24 GiB.\nBaseline: six cores.";
        assert_eq!(
            machine(after_colon).as_deref(),
            Some("a Xeon, two cores, 24 GiB")
        );
        let before_semicolon = "# Title\nA Processor, 2 cores, 2 rounds; medians.";
        assert_eq!(
            machine(before_semicolon).as_deref(),
            Some("A Processor, 2 cores, 2 rounds")
        );
        assert_eq!(machine("a phone"), None);
    }

    #[test]
    fn a_table_with_a_torn_row_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("speed.md");
        fs::write(
            &path,
            "On 2 cores.\n\n| a | b |\n| --- | ---: |\n| x, y | 1.5 |\n",
        )
        .unwrap();
        let measured = Measured::read(&path, &path).unwrap();
        let mut numbers = BTreeMap::new();
        measured.add_numbers("linking", &mut numbers);
        let folder_key = key(&measured.folder);
        assert_eq!(numbers[&format!("linking_{folder_key}_x_y_b")], "1.5");
        fs::write(&path, "On 2 cores.\n\n| a | b |\n| --- | ---: |\n| x |\n").unwrap();
        let error = Measured::read(&path, &path).unwrap_err().to_string();
        assert!(error.contains("another number of cells"), "{error}");
    }
}
