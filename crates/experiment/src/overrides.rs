//! Changes to a configuration before it is typed: `--set key=value` and the cells of `arms:` and `matrix:`.
//!
//! Both speak dotted paths into the YAML tree (`train.learning_rate`). A path may create the last key (defaults are
//! often left out of a file) but is checked when the tree is typed, so a misspelt path is refused like a misspelt key.

use crate::error::ConfigError;
use indexmap::IndexMap;
use serde_yaml::{Mapping, Value};

/// Sets the value at a dotted path, creating mappings on the way.
///
/// # Errors
/// [`ConfigError::Override`] when the path is empty or runs through something that is not a mapping.
pub fn set(tree: &mut Value, path: &str, value: Value) -> Result<(), ConfigError> {
    let wrong = |reason: &str| ConfigError::Override {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let mut node = tree;
    let mut keys = path.split('.').peekable();
    while let Some(key) = keys.next() {
        if key.is_empty() {
            return Err(wrong(
                "a part of the path is empty; write `section.key=value`",
            ));
        }
        if node.is_null() {
            *node = Value::Mapping(Mapping::new());
        }
        let mapping = node.as_mapping_mut().ok_or_else(|| {
            wrong(&format!(
                "`{key}` would lie inside something that is not a mapping"
            ))
        })?;
        let slot = mapping
            .entry(Value::String(key.to_owned()))
            .or_insert(Value::Null);
        if keys.peek().is_none() {
            *slot = value;
            return Ok(());
        }
        node = slot;
    }
    Err(wrong("the path is empty; write `section.key=value`"))
}

/// Splits `key=value` and reads the value as YAML, so that `--set train.epochs=3` is a number and
/// `--set composition.strategy=combined` a string.
///
/// # Errors
/// [`ConfigError::Override`] when there is no `=` or the value is not YAML.
pub fn parse_assignment(text: &str) -> Result<(String, Value), ConfigError> {
    let wrong = |reason: String| ConfigError::Override {
        path: text.to_owned(),
        reason,
    };
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| wrong("there is no `=`; write `key=value`".into()))?;
    let value =
        serde_yaml::from_str(value).map_err(|e| wrong(format!("the value is not YAML: {e}")))?;
    Ok((key.trim().to_owned(), value))
}

/// One cell of a sweep: what it sets, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Name and value of each axis: [`ARM`] and the arm's name first where there are arms, then the dotted paths of the
    /// matrix. What labels and tables show.
    pub settings: Vec<(String, Value)>,
    /// Dotted paths and values that make the cell, those of its arm included.
    pub changes: Vec<(String, Value)>,
}

/// The axis of [`cells`] that `arms:` makes.
pub const ARM: &str = "arm";

/// Named arms of a comparison that differ in more than one key: for each arm the dotted paths it sets.
pub type Arms = IndexMap<String, IndexMap<String, Value>>;

impl Cell {
    /// A folder name that tells the cell apart: `strategy=interleaved,seed=2`; `single` for an experiment without a
    /// sweep.
    pub fn label(&self) -> String {
        if self.settings.is_empty() {
            return "single".to_owned();
        }
        let part = |(path, value): &(String, Value)| {
            let key = path.rsplit('.').next().unwrap_or(path);
            format!("{key}={}", plain(value))
        };
        self.settings.iter().map(part).collect::<Vec<_>>().join(",")
    }

    /// Which of the labels a text of `--only` means, given as labels are written or as the file names an arm: those that are
    /// made of it alone or of it and other whole `key=value` parts, and if there are none, those that contain it. So
    /// `arm=human_only` does not choose `arm=human_only__as_written` as well.
    pub fn chosen<'l>(labels: &'l [String], text: &str) -> Vec<&'l str> {
        let whole = |label: &&String| format!(",{label},").contains(&format!(",{text},"));
        let choose = |keep: &dyn Fn(&&String) -> bool| -> Vec<&'l str> {
            labels.iter().filter(keep).map(String::as_str).collect()
        };
        let written = plain(&Value::String(text.to_owned()));
        match choose(&whole) {
            exact if !exact.is_empty() => exact,
            _ => choose(&|label| label.contains(text) || label.contains(&written)),
        }
    }

    /// The value of an axis as plain text, by dotted path or, where no axis has that path, by last key.
    pub fn value(&self, axis: &str) -> Option<String> {
        let exact = |(path, _): &&(String, Value)| path == axis;
        let last = |(path, _): &&(String, Value)| path.rsplit('.').next() == Some(axis);
        let mut settings = self.settings.iter();
        let hit = settings.clone().find(exact).or_else(|| settings.find(last));
        hit.map(|(_, value)| match value {
            Value::String(text) => text.clone(),
            other => plain(other),
        })
    }
}

/// All combinations of the arms and the axes, the last axis varying fastest. Without either there is one cell that changes
/// nothing.
pub fn cells(arms: &Arms, matrix: &IndexMap<String, Vec<Value>>) -> Vec<Cell> {
    let nothing = Cell {
        settings: Vec::new(),
        changes: Vec::new(),
    };
    let arm = |(name, changes): (&String, &IndexMap<String, Value>)| Cell {
        settings: vec![(ARM.to_owned(), Value::from(name.as_str()))],
        changes: changes
            .iter()
            .map(|(p, v)| (p.clone(), v.clone()))
            .collect(),
    };
    let mut cells = if arms.is_empty() {
        vec![nothing]
    } else {
        arms.iter().map(arm).collect()
    };
    for (path, values) in matrix {
        let extend = |cell: &Cell, value: &Value| {
            let mut cell = cell.clone();
            cell.settings.push((path.clone(), value.clone()));
            cell.changes.push((path.clone(), value.clone()));
            cell
        };
        cells = cells
            .iter()
            .flat_map(|cell| values.iter().map(|v| extend(cell, v)).collect::<Vec<_>>())
            .collect();
    }
    cells
}

/// A scalar as a word that is safe in a file name.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(s) => s.clone(),
        other => serde_yaml::to_string(other)
            .unwrap_or_default()
            .trim()
            .replace('\n', " "),
    };
    text.chars()
        .map(|c| {
            if c.is_alphanumeric() || "._-+".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_creates_missing_sections_and_keeps_the_others() {
        let mut tree: Value = serde_yaml::from_str("train: {epochs: 1}").unwrap();
        set(&mut tree, "train.seed", Value::from(3)).unwrap();
        set(&mut tree, "link.beams", Value::from(5)).unwrap();
        let expected: Value =
            serde_yaml::from_str("{train: {epochs: 1, seed: 3}, link: {beams: 5}}").unwrap();
        assert_eq!(tree, expected);
    }

    #[test]
    fn a_path_through_a_number_is_refused() {
        let mut tree: Value = serde_yaml::from_str("train: 4").unwrap();
        assert!(set(&mut tree, "train.seed", Value::from(3)).is_err());
        assert!(set(&mut tree, "", Value::from(3)).is_err());
    }

    #[test]
    fn the_last_axis_varies_fastest() {
        let mut matrix = IndexMap::new();
        matrix.insert(
            "composition.strategy".to_owned(),
            vec![Value::from("human_only"), Value::from("combined")],
        );
        matrix.insert("seed".to_owned(), vec![Value::from(1), Value::from(2)]);
        let labels: Vec<String> = cells(&Arms::new(), &matrix)
            .iter()
            .map(Cell::label)
            .collect();
        assert_eq!(
            labels,
            [
                "strategy=human_only,seed=1",
                "strategy=human_only,seed=2",
                "strategy=combined,seed=1",
                "strategy=combined,seed=2"
            ]
        );
        assert_eq!(cells(&Arms::new(), &IndexMap::new()).len(), 1);
    }

    #[test]
    fn an_arm_is_shown_by_its_name_and_changes_all_its_keys() {
        let arms: Arms = serde_yaml::from_str(
            "{long: {train.epochs: 2, composition.strategy: combined}, short: {train.epochs: 1}}",
        )
        .unwrap();
        let mut matrix = IndexMap::new();
        matrix.insert("seed".to_owned(), vec![Value::from(1), Value::from(2)]);
        let cells = cells(&arms, &matrix);
        let labels: Vec<String> = cells.iter().map(Cell::label).collect();
        assert_eq!(
            labels,
            [
                "arm=long,seed=1",
                "arm=long,seed=2",
                "arm=short,seed=1",
                "arm=short,seed=2"
            ]
        );
        let changed: Vec<&str> = cells[1]
            .changes
            .iter()
            .map(|(path, _)| path.as_str())
            .collect();
        assert_eq!(changed, ["train.epochs", "composition.strategy", "seed"]);
        assert_eq!(cells[3].value("arm").as_deref(), Some("short"));
    }

    #[test]
    fn only_means_whole_labels_first_then_whole_parts_then_text() {
        let labels = [
            "arm=human_only,seed=1",
            "arm=human_only,seed=10",
            "arm=human_only__as_written,seed=1",
        ]
        .map(String::from);
        let chosen = |text| Cell::chosen(&labels, text);
        assert_eq!(chosen("arm=human_only,seed=1"), [&labels[0]]);
        assert_eq!(chosen("arm=human_only"), [&labels[0], &labels[1]]);
        assert_eq!(chosen("seed=1"), [&labels[0], &labels[2]]);
        assert_eq!(chosen("as_written"), [&labels[2]]);
        assert_eq!(chosen("human"), labels.each_ref());
        assert!(chosen("seed=2").is_empty());
    }

    #[test]
    fn an_axis_is_found_by_its_path_before_its_last_key() {
        let setting = |path: &str, value: u64| (path.to_owned(), Value::from(value));
        let cell = Cell {
            settings: vec![setting("train.seed", 1), setting("seed", 2)],
            changes: Vec::new(),
        };
        assert_eq!(cell.value("seed").as_deref(), Some("2"));
        assert_eq!(cell.value("train.seed").as_deref(), Some("1"));
    }

    #[test]
    fn assignments_are_yaml() {
        assert_eq!(
            parse_assignment("a.b=3").unwrap(),
            ("a.b".to_owned(), Value::from(3))
        );
        assert!(parse_assignment("a.b").is_err());
        assert!(parse_assignment("a=[1").is_err());
    }
}
