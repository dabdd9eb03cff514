//! Replacements for codes that were mistyped or have been retired since a corpus was annotated.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::document::{Composite, Gold};
use crate::error::Error;
use crate::io::Lines;

/// A table of code replacements, applied to each part of a composite.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeRepairs(BTreeMap<String, String>);

impl CodeRepairs {
    /// Reads a table of two columns, tab- or comma-separated, with one header line: the code, its replacement. Of
    /// several lines for one code the last counts, as in the authors' tables, where that happens.
    ///
    /// # Errors
    /// [`Error::Io`]; with file and line: a line without two cells, bad UTF-8.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut lines = Lines::open(path)?;
        let mut repairs = BTreeMap::new();
        let mut header = true;
        while let Some(line) = lines.next_line()? {
            if line.trim().is_empty() {
                continue;
            }
            let line = line.to_owned();
            let at = lines.at();
            let cells: Vec<&str> = line.split(['\t', ',']).map(str::trim).collect();
            let [code, repaired] = cells[..] else {
                return Err(Error::FieldCount {
                    at,
                    found: cells.len(),
                    expected: "2: a code and its replacement".to_owned(),
                });
            };
            if std::mem::take(&mut header) {
                continue;
            }
            repairs.insert(code.to_owned(), repaired.to_owned());
        }
        Ok(CodeRepairs(repairs))
    }

    /// Number of codes that are replaced.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is replaced.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The code to use for `code`.
    pub fn code<'c>(&'c self, code: &'c str) -> &'c str {
        self.0.get(code).map_or(code, String::as_str)
    }

    /// A gold annotation with every part repaired.
    pub fn gold(&self, gold: &Gold) -> Gold {
        let part = |code: &String| self.code(code).to_owned();
        let composite = |c: &Composite| Composite(c.0.iter().map(part).collect());
        Gold::from_alternatives(gold.alternatives.iter().map(composite).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_repaired_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.csv");
        std::fs::write(&path, "CUI,CUI_new\r\nA,B\r\n").unwrap();
        let repairs = CodeRepairs::read(&path).unwrap();
        assert_eq!(repairs.len(), 1);
        assert_eq!(
            repairs.gold(&Gold::from_field("A+C|A|B")).to_field(),
            "B+C|B"
        );
        std::fs::write(&path, "CUI,CUI_new\nA,B\nA,C\n").unwrap();
        assert_eq!(CodeRepairs::read(&path).unwrap().code("A"), "C");
        std::fs::write(&path, "CUI\tCUI_new\nA\n").unwrap();
        assert!(
            CodeRepairs::read(&path)
                .unwrap_err()
                .to_string()
                .contains("r.csv:2")
        );
    }
}
