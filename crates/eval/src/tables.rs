//! Runs side by side: strategies and seeds aggregated, and tables as Markdown and CSV.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use syncabel_corpus::predictions::Prediction;
use syncabel_kb::Kb;

use crate::bootstrap::{Interval, draw_weights, percentile_interval};
use crate::score::{EvalOptions, Outcome, Scored, score};
use crate::{DocumentSums, Error, TrainingSet};

/// One run: what one seed of one arm predicted.
#[derive(Debug, Clone)]
pub struct Run<'p> {
    /// The arm: a strategy, or whatever else is compared.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// Its predictions.
    pub predictions: &'p [Prediction],
    /// What this run was trained on, where that differs from run to run; else what [`summarise`] is given.
    pub training: Option<&'p TrainingSet>,
    /// What it cost, as (column, value): examples, steps, hours. Shown for the first seed of an arm.
    pub budget: Vec<(String, String)>,
}

/// Arms side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// In order of first appearance.
    pub arms: Vec<ArmSummary>,
}

/// One arm over all its seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmSummary {
    /// Name of the arm.
    pub arm: String,
    /// Its seeds.
    pub seeds: Vec<u64>,
    /// All mentions.
    pub all: Aggregate,
    /// Mentions of concepts seen in training; none without training data.
    pub seen: Option<Aggregate>,
    /// Mentions of concepts not seen in training.
    pub unseen: Option<Aggregate>,
    /// What a run cost.
    pub budget: Vec<(String, String)>,
}

/// Recall over seeds, fractions from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Mentions per seed.
    pub rows: usize,
    /// Mean of the seeds' recalls.
    pub mean: f64,
    /// Lowest.
    pub min: f64,
    /// Highest.
    pub max: f64,
    /// 95 % interval that pools what documents and what seeds contribute: a replicate draws documents and seeds, both
    /// with replacement, and takes the ratio of the sums.
    pub ci95: Interval,
}

/// Aggregates runs by arm.
///
/// # Errors
/// [`Error::NothingToShow`] without runs, and the errors of [`score`].
pub fn summarise(
    runs: &[Run<'_>],
    training: Option<&TrainingSet>,
    kb: Option<&Kb>,
    options: &EvalOptions,
) -> Result<Summary, Error> {
    let mut names: Vec<&str> = Vec::new();
    for run in runs {
        if !names.contains(&run.arm.as_str()) {
            names.push(&run.arm);
        }
    }
    if names.is_empty() {
        return Err(Error::NothingToShow {
            what: "the table of runs",
            why: "there are no runs".into(),
        });
    }
    let summarise_arm = |name: &&str| {
        let of_arm: Vec<&Run<'_>> = runs.iter().filter(|run| run.arm == **name).collect();
        let scored: Vec<Scored> = of_arm
            .iter()
            .map(|run| score(run.predictions, run.training.or(training), kb, options))
            .collect::<Result<_, _>>()?;
        let strata: [fn(&Outcome) -> bool; 3] = [
            |_| true,
            |o| o.seen == Some(true),
            |o| o.seen == Some(false),
        ];
        let [all, seen, unseen] = pooled(&scored, strata, options)?;
        Ok(ArmSummary {
            arm: (*name).to_owned(),
            seeds: of_arm.iter().map(|run| run.seed).collect(),
            all,
            seen: of_arm[0].training.or(training).map(|_| seen),
            unseen: of_arm[0].training.or(training).map(|_| unseen),
            budget: of_arm[0].budget.clone(),
        })
    };
    Ok(Summary {
        arms: names
            .iter()
            .map(summarise_arm)
            .collect::<Result<_, Error>>()?,
    })
}

/// Aggregates of three strata over the seeds of one arm, with one set of replicates.
fn pooled(
    seeds: &[Scored],
    strata: [fn(&Outcome) -> bool; 3],
    options: &EvalOptions,
) -> Result<[Aggregate; 3], Error> {
    let mut documents: HashMap<&str, u32> = HashMap::new();
    for name in seeds.iter().flat_map(|scored| &scored.documents) {
        let next = documents.len() as u32;
        documents.entry(name).or_insert(next);
    }
    let sums_of = |scored: &Scored, keep: fn(&Outcome) -> bool| {
        let kept = scored.outcomes.iter().filter(|o| keep(o));
        let rows = kept.map(|o| {
            (
                documents[scored.documents[o.document as usize].as_str()],
                o.correct,
            )
        });
        DocumentSums::from_rows(documents.len(), rows.collect::<Vec<_>>())
    };
    let sums = strata.map(|keep| {
        seeds
            .iter()
            .map(|scored| sums_of(scored, keep))
            .collect::<Vec<_>>()
    });
    let replicates = options
        .bootstrap
        .replicate_with(documents.len(), |weights, rng| {
            let mut seed_weights = vec![0; seeds.len()];
            draw_weights(&mut seed_weights, rng);
            [0, 1, 2].map(|stratum: usize| {
                let weighted = sums[stratum]
                    .iter()
                    .zip(&seed_weights)
                    .map(|(sums, &weight)| {
                        let (correct, rows) = sums.weighted(weights);
                        (u64::from(weight) * correct, u64::from(weight) * rows)
                    });
                let total = weighted.fold((0, 0), |(c, r), (dc, dr)| (c + dc, r + dr));
                let mut drawn = sums[stratum].iter().zip(&seed_weights);
                // Where only seeds without a mention in the stratum were drawn, a replicate says nothing about it.
                match drawn.any(|(sums, &weight)| weight > 0 && sums.rows() > 0) {
                    true => crate::bootstrap::ratio(total),
                    false => f64::NAN,
                }
            })
        })?;
    Ok([0, 1, 2].map(|stratum: usize| {
        let mut column: Vec<f64> = replicates
            .iter()
            .map(|replicate| replicate[stratum])
            .filter(|recall| !recall.is_nan())
            .collect();
        let ci95 = match column.is_empty() {
            true => [0.0; 2],
            false => percentile_interval(&mut column),
        };
        aggregate(&sums[stratum], ci95)
    }))
}

fn aggregate(sums: &[DocumentSums], ci95: Interval) -> Aggregate {
    // A seed without a mention in the stratum says nothing about it.
    let told = || sums.iter().filter(|s| s.rows() > 0);
    let recalls: Vec<f64> = told()
        .map(|s| s.correct() as f64 / s.rows() as f64)
        .collect();
    if recalls.is_empty() {
        return Aggregate {
            rows: 0,
            mean: 0.0,
            min: 0.0,
            max: 0.0,
            ci95,
        };
    }
    Aggregate {
        rows: told().next().map_or(0, DocumentSums::rows),
        mean: recalls.iter().sum::<f64>() / recalls.len() as f64,
        min: recalls.iter().copied().fold(f64::INFINITY, f64::min),
        max: recalls.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ci95,
    }
}

impl Summary {
    /// The summary as a table in percent: one line per arm, an interval beside every score, the budget behind.
    ///
    /// # Errors
    /// [`Error::CellCount`] never happens for a summary made by [`summarise`].
    pub fn table(&self, title: &str) -> Result<Table, Error> {
        let split = self.arms.iter().any(|arm| arm.seen.is_some());
        let mut columns: Vec<String> = ["strategy", "seeds"].map(String::from).into();
        let strata: &[&str] = if split {
            &["all", "seen", "unseen"]
        } else {
            &["all"]
        };
        for stratum in strata {
            columns.extend([
                format!("{stratum}, %"),
                format!("{stratum} 95 %"),
                format!("{stratum} min to max"),
            ]);
        }
        let mut budget: Vec<&str> = Vec::new();
        for (name, _) in self.arms.iter().flat_map(|arm| &arm.budget) {
            if !budget.contains(&name.as_str()) {
                budget.push(name);
            }
        }
        columns.extend(budget.iter().map(|name| (*name).to_owned()));
        let mut table = Table::new(title, columns);
        for arm in &self.arms {
            let mut cells = vec![arm.arm.clone(), arm.seeds.len().to_string()];
            let aggregates = [Some(arm.all), arm.seen, arm.unseen];
            cells.extend(
                aggregates
                    .into_iter()
                    .take(strata.len())
                    .flat_map(score_cells),
            );
            let value = |name: &&str| {
                arm.budget
                    .iter()
                    .find(|(n, _)| n == name)
                    .map_or("", |(_, v)| v.as_str())
            };
            cells.extend(budget.iter().map(|name| value(name).to_owned()));
            table.push(cells)?;
        }
        Ok(table)
    }
}

/// Mean, interval and range in percent; the range only where several seeds differ.
fn score_cells(aggregate: Option<Aggregate>) -> [String; 3] {
    let Some(a) = aggregate.filter(|a| a.rows > 0) else {
        return Default::default();
    };
    let percent = |x: f64| format!("{:.1}", x * 100.0);
    let range = |low: f64, high: f64| format!("{} to {}", percent(low), percent(high));
    let spread = if a.max > a.min {
        range(a.min, a.max)
    } else {
        String::new()
    };
    [percent(a.mean), range(a.ci95[0], a.ci95[1]), spread]
}

/// A plain table of text cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Title, printed above the Markdown form.
    pub title: String,
    /// Column names.
    pub columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(title: impl Into<String>, columns: Vec<String>) -> Self {
        Table {
            title: title.into(),
            columns,
            rows: Vec::new(),
        }
    }

    /// An empty table whose columns have names known beforehand.
    pub fn of(title: &str, columns: &[&str]) -> Self {
        Table::new(title, columns.iter().map(|c| (*c).to_owned()).collect())
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::CellCount`] if it has not one cell per column.
    pub fn push(&mut self, cells: Vec<String>) -> Result<(), Error> {
        if cells.len() != self.columns.len() {
            return Err(Error::CellCount {
                table: self.title.clone(),
                expected: self.columns.len(),
                got: cells.len(),
            });
        }
        self.rows.push(cells);
        Ok(())
    }

    /// The rows.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// GitHub's Markdown, columns aligned for people who read the source; numbers to the right.
    pub fn to_markdown(&self) -> String {
        let escape = |cell: &String| cell.replace('|', "\\|").replace('\n', " ");
        let header: Vec<String> = self.columns.iter().map(escape).collect();
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(escape).collect())
            .collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells
                .chain([header[column].chars().count(), 3])
                .max()
                .unwrap_or(3)
        };
        let numeric = |column: usize| {
            let number = |cell: &String| {
                cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            };
            column > 0 && !rows.is_empty() && rows.iter().all(|row| number(&row[column]))
        };
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        let right: Vec<bool> = (0..header.len()).map(numeric).collect();
        let line = |cells: &[String]| {
            let padded = cells
                .iter()
                .zip(&widths)
                .zip(&right)
                .map(|((cell, &width), &right)| {
                    if right {
                        format!(" {cell:>width$} |")
                    } else {
                        format!(" {cell:width$} |")
                    }
                });
            format!("|{}\n", padded.collect::<String>())
        };
        let rule = widths.iter().zip(&right).map(|(&width, &right)| {
            format!(
                " {}{} |",
                "-".repeat(width - 1),
                if right { ':' } else { '-' }
            )
        });
        let mut text = format!(
            "### {}\n\n{}|{}\n",
            self.title,
            line(&header),
            rule.collect::<String>()
        );
        rows.iter().for_each(|row| text.push_str(&line(row)));
        text
    }

    /// Comma-separated values with a header line, quoted where needed.
    pub fn to_csv(&self) -> String {
        let quote = |cell: &String| {
            if cell.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.clone()
            }
        };
        let line =
            |cells: &Vec<String>| cells.iter().map(quote).collect::<Vec<_>>().join(",") + "\n";
        std::iter::once(&self.columns)
            .chain(&self.rows)
            .map(line)
            .collect()
    }

    /// A LaTeX `tabular` with booktabs rules, numbers to the right.
    pub fn to_latex(&self) -> String {
        let cells = |cells: &Vec<String>| {
            cells
                .iter()
                .map(|cell| latex(cell))
                .collect::<Vec<_>>()
                .join(" & ")
                + " \\\\\n"
        };
        let columns: String = (0..self.columns.len())
            .map(|c| if self.is_numeric(c) { 'r' } else { 'l' })
            .collect();
        format!(
            "% {}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{}\\midrule\n{}\\bottomrule\n\\end{{tabular}}\n",
            self.title,
            cells(&self.columns),
            self.rows.iter().map(cells).collect::<String>()
        )
    }

    /// A Typst table with a rule above, below the header and at the end; numbers to the right.
    pub fn to_typst(&self) -> String {
        let align: Vec<&str> = (0..self.columns.len())
            .map(|c| if self.is_numeric(c) { "right" } else { "left" })
            .collect();
        let cells = |cells: &Vec<String>| {
            let quoted = cells.iter().map(|cell| format!("[{}]", typst(cell)));
            format!("  {},\n", quoted.collect::<Vec<_>>().join(", "))
        };
        format!(
            "#table(\n  columns: {},\n  align: ({},),\n  stroke: none,\n  table.hline(),\n  table.header({}),\n  table.hline(stroke: 0.5pt),\n{}  table.hline(),\n)\n",
            self.columns.len(),
            align.join(", "),
            self.columns
                .iter()
                .map(|c| format!("[*{}*]", typst(c)))
                .collect::<Vec<_>>()
                .join(", "),
            self.rows.iter().map(cells).collect::<String>()
        )
    }

    /// Whether a column (not the first) holds nothing but numbers, dashes and reasons why there is none (`no ..`, `not ..`).
    fn is_numeric(&self, column: usize) -> bool {
        let number = |cell: &String| {
            cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit() || "+-–<".contains(c))
        };
        let reason = |cell: &String| cell.starts_with("no ") || cell.starts_with("not ");
        let mut cells = self.rows.iter().map(|row| &row[column]);
        column > 0 && !self.rows.is_empty() && cells.all(|cell| number(cell) || reason(cell))
    }

    /// The table in the form that a file name asks for: `.md`, `.csv`, `.tex` or `.typ`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::TableFormat`] for another ending.
    pub fn write_as(&self, path: &Path) -> Result<(), Error> {
        let text = match path.extension().and_then(|e| e.to_str()) {
            Some("md") => self.to_markdown(),
            Some("csv") => self.to_csv(),
            Some("tex") => self.to_latex(),
            Some("typ") => self.to_typst(),
            _ => {
                return Err(Error::TableFormat {
                    path: path.to_path_buf(),
                });
            }
        };
        fs::write(path, text).map_err(Error::io(path))
    }

    /// Writes `stem.md`, `stem.csv` and `stem.tex` into a folder, which is made if need be.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_all(&self, folder: &Path, stem: &str) -> Result<(), Error> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let mut endings = ["md", "csv", "tex"].into_iter();
        endings.try_for_each(|ending| self.write_as(&folder.join(format!("{stem}.{ending}"))))
    }

    /// Writes `stem.md` and `stem.csv` into a folder, which is made if need be.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, folder: &Path, stem: &str) -> Result<[PathBuf; 2], Error> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let files = [("md", self.to_markdown()), ("csv", self.to_csv())];
        let mut paths = Vec::with_capacity(2);
        for (extension, text) in files {
            let path = folder.join(format!("{stem}.{extension}"));
            fs::write(&path, text).map_err(Error::io(&path))?;
            paths.push(path);
        }
        Ok([paths.remove(0), paths.remove(0)])
    }
}

fn latex(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for c in cell.chars() {
        match c {
            '\\' => text.push_str("\\textbackslash{}"),
            '~' => text.push_str("\\textasciitilde{}"),
            '^' => text.push_str("\\textasciicircum{}"),
            // In LaTeX's old default encoding these three are other characters.
            '<' => text.push_str("$<$"),
            '>' => text.push_str("$>$"),
            '|' => text.push_str("\\textbar{}"),
            '\n' | '\r' => text.push(' '),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                text.push('\\');
                text.push(c);
            }
            _ => text.push(c),
        }
    }
    text
}

/// Markup characters of Typst taken as text.
pub(crate) fn typst(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for c in cell.chars() {
        if "\\#[]*_`$<>@~/=\"'".contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
    // A sign at the start of a line would open a list.
    match text.strip_prefix(['+', '-']) {
        Some(_) => format!("\\{text}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(right: &[bool]) -> Vec<Prediction> {
        let row = |(i, right): (usize, &bool)| Prediction {
            filename: format!("d{i}"),
            code: "A".into(),
            predicted_code: if *right { "A" } else { "B" }.into(),
            ..Prediction::default()
        };
        right.iter().enumerate().map(row).collect()
    }

    fn run<'p>(arm: &str, seed: u64, predictions: &'p [Prediction]) -> Run<'p> {
        Run {
            arm: arm.into(),
            seed,
            predictions,
            training: None,
            budget: vec![("steps".into(), "7".into())],
        }
    }

    #[test]
    fn each_seed_has_its_own_seen_concepts() {
        // The concept A is seen by the first seed and not by the second.
        let (good, bad) = (predictions(&[true; 4]), predictions(&[false; 4]));
        let (with, without) = (
            TrainingSet::from_fields([("A", "a")], None),
            TrainingSet::from_fields([("C", "c")], None),
        );
        let runs = [(1, &good, &with), (2, &bad, &without)].map(|(seed, predictions, training)| {
            let training = Some(training);
            Run {
                training,
                ..run("arm", seed, predictions)
            }
        });
        let summary = summarise(&runs, None, None, &EvalOptions::default()).unwrap();
        let arm = &summary.arms[0];
        let (seen, unseen) = (arm.seen.unwrap(), arm.unseen.unwrap());
        assert_eq!((seen.max, unseen.max), (1.0, 0.0), "{arm:?}");
        // The other seed has no mention in the stratum, and draws nothing into the mean or the interval.
        assert_eq!((seen.mean, seen.ci95), (1.0, [1.0; 2]), "{arm:?}");
        assert_eq!((unseen.mean, unseen.ci95), (0.0, [0.0; 2]), "{arm:?}");
    }

    #[test]
    fn seeds_are_averaged_and_widen_the_interval() {
        let (good, bad) = (predictions(&[true; 40]), predictions(&[false; 40]));
        let half: Vec<bool> = (0..40).map(|i| i % 2 == 0).collect();
        let even = predictions(&half);
        let runs = [
            run("spread", 1, &good),
            run("spread", 2, &bad),
            run("even", 1, &even),
            run("even", 2, &even),
        ];
        let summary = summarise(&runs, None, None, &EvalOptions::default()).unwrap();
        let [spread, even] = [summary.arms[0].all, summary.arms[1].all];
        assert_eq!((spread.mean, spread.min, spread.max), (0.5, 0.0, 1.0));
        assert_eq!(spread.ci95, [0.0, 1.0], "which seed is drawn decides");
        assert_eq!(even.mean, 0.5);
        assert!(even.ci95[0] > 0.3 && even.ci95[1] < 0.7, "{:?}", even.ci95);
        assert_eq!(summary.arms[0].seeds, [1, 2]);
        let markdown = summary.table("Strategies").unwrap().to_markdown();
        assert!(
            markdown.contains("| spread   |     2 |   50.0 |"),
            "{markdown}"
        );
        assert!(markdown.contains("steps"), "{markdown}");
    }

    #[test]
    fn tables_escape_what_they_must() {
        let mut table = Table::new("T", vec!["a|b".into(), "n".into()]);
        table.push(vec!["x, \"y\"".into(), "1.5".into()]).unwrap();
        assert_eq!(table.to_csv(), "a|b,n\n\"x, \"\"y\"\"\",1.5\n");
        assert_eq!(
            table.to_markdown(),
            "### T\n\n| a\\|b   |   n |\n| ------ | --: |\n| x, \"y\" | 1.5 |\n"
        );
        assert!(matches!(
            table.push(vec![]),
            Err(Error::CellCount {
                expected: 2,
                got: 0,
                ..
            })
        ));
    }

    #[test]
    fn latex_and_typst_escape_what_they_must() {
        let mut table = Table::new("T", vec!["name_a".into(), "n".into()]);
        table
            .push(vec!["50 % & $x_1$ \\ a|b".into(), "< 1.5".into()])
            .unwrap();
        table.push(vec!["x".into(), "-1.5".into()]).unwrap();
        let latex = table.to_latex();
        assert!(latex.contains("\\begin{tabular}{lr}"), "{latex}");
        assert!(
            latex.contains("50 \\% \\& \\$x\\_1\\$ \\textbackslash{} a\\textbar{}b & $<$ 1.5 \\\\"),
            "{latex}"
        );
        let typst = table.to_typst();
        assert!(
            typst.contains("[50 % & \\$x\\_1\\$ \\\\ a|b], [\\< 1.5],\n  [x], [\\-1.5],"),
            "{typst}"
        );
        assert!(typst.contains("align: (left, right,)"), "{typst}");
        let wrong = table.write_as(Path::new("x.docx")).unwrap_err().to_string();
        assert!(wrong.contains(".tex"), "{wrong}");
    }

    #[test]
    fn no_runs_are_an_error() {
        assert!(matches!(
            summarise(&[], None, None, &EvalOptions::default()),
            Err(Error::NothingToShow { .. })
        ));
    }
}
