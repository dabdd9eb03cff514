//! The report's tables, figures and numbers, from committed results.
//!
//! ```text
//! paper/published.json                 what the paper says
//! results/published/recomputed.json    what the authors' predictions give ([`crate::published`])
//! results/published/datasets.json      what our readers count in the corpora ([`Datasets`])
//! results/*/summary.json               what our own runs give
//! results/linking, training_speed      speed and memory beside other programs ([`Speeds`])
//! results/judge/agreement.json         judges of ours against the clinician
//! results/judge/hierarchy/*.json       where wrong answers stand in a KB's hierarchy
//!        └─▶ paper/generated/*.typ, *.csv, *.svg, numbers.json ─▶ paper/report.typ ─▶ paper/report.pdf
//! ```
//!
//! A cell without a number says why in a word or two; `paper/report.typ` explains the words.

mod datasets;
mod experiments;
mod ours;
mod speed;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::cells;
use crate::figures;
use crate::judge::hierarchy::RelationCounts;
use crate::published::{Recomputed, STRATEGIES};
use crate::tables::{Aggregate, ArmSummary, Summary, Table};
use crate::{ColumnAgreement, Error};

pub use datasets::Datasets;
pub use experiments::Experiment;
pub use speed::{Measured, Speeds};

/// Values that the paper or its repository states, in percent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Published {
    /// Where the values come from.
    pub about: String,
    /// The main table.
    pub main: Vec<PublishedRow>,
    /// Seen and unseen concepts.
    pub seen_unseen: Vec<SeenUnseen>,
    /// Ways of composing training data.
    pub composition: Vec<Composition>,
    /// The judge's rates.
    pub judge: Vec<JudgeRow>,
    /// Judges against the clinician.
    pub clinician: Vec<ClinicianRow>,
    /// Share of the human rows at which the full-data score is reached.
    pub human_share: Vec<HumanShare>,
    /// Mentions per second.
    pub efficiency: Vec<Efficiency>,
    /// Sizes of the corpora.
    pub datasets: Vec<Dataset>,
}

/// A row of the main table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PublishedRow {
    /// The system.
    pub model: String,
    /// Recall@1 by corpus.
    pub scores: BTreeMap<String, f64>,
}

/// Seen and unseen concepts of one corpus, without and with synthetic data.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs)]
pub struct SeenUnseen {
    pub corpus: String,
    pub unseen_without: f64,
    pub unseen_with: f64,
    pub seen_without: f64,
    pub seen_with: f64,
    pub source: String,
}

/// One way of composing training data.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Composition {
    /// One of [`STRATEGIES`].
    pub strategy: String,
    /// Recall@1 by corpus, with the checkpoint that the paper uses there.
    pub scores: BTreeMap<String, f64>,
    /// The same with the other checkpoint.
    pub other_checkpoint: BTreeMap<String, f64>,
}

/// The judge's rates for one system.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct JudgeRow {
    /// The corpus.
    pub corpus: String,
    /// `human_only` or `interleaved`.
    pub system: String,
    /// Percent by name of the rate ([`crate::JUDGE_RATES`]).
    pub rates: BTreeMap<String, f64>,
}

/// A judge against the clinician.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ClinicianRow {
    /// The judge's column.
    pub judge: String,
    /// Percent.
    pub accuracy: f64,
    /// Cohen's kappa.
    pub kappa: f64,
}

/// Share of the human rows, in percent, that suffices with synthetic data.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HumanShare {
    /// The corpus.
    pub corpus: String,
    /// Percent.
    pub share: f64,
}

/// Speed of a system.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Efficiency {
    /// The system.
    pub system: String,
    /// The machine.
    pub machine: String,
    /// Mentions per second.
    pub mentions_per_second: f64,
    /// Memory of the accelerator, where known.
    #[serde(default)]
    pub memory_gb: Option<f64>,
}

/// Size of a corpus, as far as the authors state it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs)]
pub struct Dataset {
    pub corpus: String,
    /// Which part of it, and where that is stated.
    pub part: String,
    #[serde(default)]
    pub documents: Option<usize>,
    #[serde(default)]
    pub mentions: Option<usize>,
}

/// Everything the report is made of.
#[derive(Debug, Clone)]
pub struct Sources {
    /// What the paper says.
    pub published: Published,
    /// What the authors' predictions give.
    pub recomputed: Recomputed,
    /// What our readers count in the corpora.
    pub datasets: Datasets,
    /// What our runs give, by name of the folder.
    pub experiments: Vec<Experiment>,
    /// Speed and memory beside other programs.
    pub speeds: Speeds,
    /// Judges that we ran on the clinician's sample.
    pub judges: Judges,
    /// Where answers stand in the hierarchy of their KB, by corpus and system: the name of the file.
    pub hierarchies: Vec<(String, RelationCounts)>,
}

/// What `syncabel judge agree --json` prints.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Judges {
    /// The clinician's column against each judge's.
    pub agreement: Vec<ColumnAgreement>,
}

impl Sources {
    /// Reads what is committed.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Damaged`] for a file that is not what it should be.
    pub fn read(results: &Path, paper: &Path) -> Result<Self, Error> {
        Ok(Sources {
            published: read_json(&paper.join("published.json"))?,
            recomputed: read_json(&results.join("published/recomputed.json"))?,
            datasets: read_if_there(&results.join("published/datasets.json"))?,
            experiments: experiments::read_all(results)?,
            speeds: Speeds::read(results)?,
            judges: read_if_there(&results.join("judge/agreement.json"))?,
            hierarchies: read_hierarchies(&results.join("judge/hierarchy"))?,
        })
    }

    /// Writes tables, figures and numbers into a folder, which is emptied of what was generated before.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Draw`].
    pub fn write(&self, folder: &Path) -> Result<usize, Error> {
        clear(folder)?;
        let tables = self.tables()?;
        for (stem, table) in &tables {
            table.write_as(&folder.join(format!("{stem}.typ")))?;
            table.write_as(&folder.join(format!("{stem}.csv")))?;
        }
        put(
            &folder.join("experiments.typ"),
            &experiments::sections(&self.experiments)?,
        )?;
        let numbers = serde_json::to_string_pretty(&self.numbers()?).unwrap_or_default();
        put(&folder.join("numbers.json"), &(numbers + "\n"))?;
        self.draw(folder)?;
        Ok(tables.len())
    }

    /// The report's tables.
    ///
    /// # Errors
    /// [`Error::CellCount`] never happens here.
    pub fn named_tables(&self) -> Result<Vec<Table>, Error> {
        Ok(self.tables()?.into_iter().map(|(_, table)| table).collect())
    }

    fn draw(&self, folder: &Path) -> Result<(), Error> {
        for corpus in ["MEDLINE", "SPACCC"] {
            let summary = self.composition_summary(corpus);
            figures::recall_by_strategy(
                &summary,
                folder,
                &format!("composition_{}", corpus.to_lowercase()),
            )?;
        }
        self.draw_judge(folder)?;
        self.draw_confidence(folder)?;
        figures::bars(
            "mentions per second",
            &speed::bars(self),
            folder,
            "efficiency",
        )?;
        let sweep = experiments::sweep(&self.experiments);
        if !sweep.is_empty() {
            figures::sweep(figures::Swept::HUMAN_SHARE, &sweep, folder, "human_share")?;
        }
        // The document takes the SVG; PNG copies would only double the folder.
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            let path = entry.map_err(Error::io(folder))?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("png") => fs::remove_file(&path).map_err(Error::io(&path))?,
                Some("svg") => name_font(&path)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The ablation of one corpus in the form that the figure of strategies takes.
    fn composition_summary(&self, corpus: &str) -> Summary {
        let mut arms = Vec::new();
        for strategy in STRATEGIES {
            let Some(report) = self.recomputed.ablation(corpus, strategy, true) else {
                continue;
            };
            let part = |rows, recall, ci95| Aggregate {
                rows,
                mean: recall,
                min: recall,
                max: recall,
                ci95,
            };
            let stratum = |s: &crate::Stratum| part(s.rows, s.recall_at_1, s.ci95);
            arms.push(ArmSummary {
                arm: tables::strategy_name(strategy).to_owned(),
                seeds: vec![42],
                all: part(report.rows, report.recall_at_1, report.ci95),
                seen: report.seen.as_ref().map(stratum),
                unseen: report.unseen.as_ref().map(stratum),
                budget: Vec::new(),
            });
        }
        Summary { arms }
    }

    fn draw_judge(&self, folder: &Path) -> Result<(), Error> {
        let mut systems = Vec::new();
        for corpus in crate::published::CORPORA {
            for (strategy, system) in [("human_only", "without"), ("interleaved", "with SynCABEL")]
            {
                if let Some(report) = self.recomputed.main(corpus, strategy) {
                    systems.push((format!("{corpus}, {system}"), &report.judge_rates));
                }
            }
        }
        figures::judge_shares(&systems, folder, "judge").map(|_| ())
    }

    fn draw_confidence(&self, folder: &Path) -> Result<(), Error> {
        let Some(report) = self.recomputed.main("SPACCC", "interleaved") else {
            return Ok(());
        };
        let mut bins = Vec::new();
        let mut risks = Vec::new();
        for score in &report.scores {
            risks.push((score.column.as_str(), score.risk_coverage.as_slice()));
            bins.extend(
                score
                    .calibration
                    .as_ref()
                    .map(|c| (score.column.as_str(), c)),
            );
        }
        figures::reliability(&bins, folder, "reliability")?;
        figures::risk_coverage(&risks, folder, "risk_coverage").map(|_| ())
    }

    /// Numbers that the text of the report quotes.
    fn numbers(&self) -> Result<BTreeMap<String, String>, Error> {
        let mut numbers = BTreeMap::new();
        let sweep = !experiments::sweep(&self.experiments).is_empty();
        numbers.insert(
            "has_sweep".to_owned(),
            if sweep { "yes" } else { "no" }.to_owned(),
        );
        numbers.extend(self.speeds.numbers());
        numbers.extend(self.monitoring_numbers());
        for (name, counts) in &self.hierarchies {
            numbers.insert(
                format!("hierarchy_{name}_mentions"),
                counts.mentions.to_string(),
            );
            numbers.insert(format!("hierarchy_{name}_wrong"), counts.wrong.to_string());
            for r in counts.relations.iter().filter(|r| r.steps.is_none()) {
                numbers.insert(
                    format!("hierarchy_{name}_{}", r.relation),
                    r.mentions.to_string(),
                );
            }
        }
        for row in &self.published.efficiency {
            let key = format!(
                "paper_{}_speed",
                row.system.replace('-', "_").to_lowercase()
            );
            numbers.insert(key, format!("{:.1}", row.mentions_per_second));
        }
        for row in &self.published.composition {
            for (corpus, value) in &row.scores {
                numbers.insert(
                    format!("paper_{corpus}_{}", row.strategy).to_lowercase(),
                    format!("{value:.1}"),
                );
            }
            for (corpus, value) in &row.other_checkpoint {
                numbers.insert(
                    format!("paper_{corpus}_{}_other", row.strategy).to_lowercase(),
                    format!("{value:.1}"),
                );
            }
        }
        for comparison in &self.recomputed.comparisons {
            let key = comparison.second.trim_end_matches(".tsv.gz").to_lowercase();
            let [low, high] = comparison.comparison.difference_ci95.map(cells::percent);
            numbers.insert(
                format!("gain_{key}"),
                cells::percent(comparison.comparison.difference),
            );
            numbers.insert(format!("gain_{key}_low"), low);
            numbers.insert(format!("gain_{key}_high"), high);
        }
        for system in &self.recomputed.systems {
            let how = if system.guided { "guided" } else { "unguided" };
            let kind = if system.main { "main" } else { "ablation" };
            let key = format!("{}_{}_{how}_{kind}", system.corpus, system.strategy).to_lowercase();
            let report = &system.report;
            let mut put = |name: &str, value: String| {
                numbers.insert(format!("{key}_{name}"), value);
            };
            put("rows", report.rows.to_string());
            put("recall", cells::percent(report.recall_at_1));
            put("low", cells::percent(report.ci95[0]));
            put("high", cells::percent(report.ci95[1]));
            if let (Some(seen), Some(unseen)) = (&report.seen, &report.unseen) {
                put("seen", cells::percent(seen.recall_at_1));
                put("unseen", cells::percent(unseen.recall_at_1));
            }
            for (kind, stratum) in report.strata.get("gold").into_iter().flatten() {
                put(&format!("{kind}_rows"), stratum.rows.to_string());
                put(
                    &format!("{kind}_recall"),
                    cells::percent(stratum.recall_at_1),
                );
            }
            for score in &report.scores {
                let column = if score.column == "Prediction_score" {
                    "score"
                } else {
                    "beam"
                };
                put(&format!("{column}_zeros"), score.zeros.to_string());
                let share = score.zeros as f64 / report.rows as f64;
                put(&format!("{column}_zero_share"), cells::percent(share));
                put(&format!("{column}_aurc"), format!("{:.3}", score.aurc));
                if let Some(c) = &score.calibration {
                    put(&format!("{column}_ece"), format!("{:.3}", c.ece));
                    put(
                        &format!("{column}_lowest_bin"),
                        cells::percent(c.bins[0].accuracy),
                    );
                }
            }
        }
        Ok(numbers)
    }

    fn monitoring_numbers(&self) -> BTreeMap<String, String> {
        let scored = self.recomputed.main("SPACCC", "interleaved");
        let scored = scored.map_or(0, |report| report.rows);
        let monitoring = self.datasets.monitoring.iter();
        monitoring
            .flat_map(|m| {
                [
                    ("test_rows", m.test_rows),
                    ("test_documents", m.test_documents),
                    ("rows", m.rows),
                    ("documents", m.documents),
                    ("scored_rows", scored - scored * 9 / 10),
                ]
            })
            .map(|(name, count)| (format!("monitoring_{name}"), count.to_string()))
            .collect()
    }

    fn tables(&self) -> Result<Vec<(&'static str, Table)>, Error> {
        Ok(vec![
            ("main", tables::main(self)?),
            ("seen_unseen", tables::seen_unseen(self)?),
            ("composition", tables::composition(self)?),
            ("composition_ours", ours::composition(self)?),
            ("nearest_names", ours::nearest_names(self)?),
            ("human_share", ours::human_share(self)?),
            ("judge", tables::judge(self)?),
            ("clinician", tables::clinician(self)?),
            ("hierarchy", tables::hierarchy(self)?),
            ("strata", tables::strata(self)?),
            ("comparisons", tables::comparisons(self)?),
            ("confidence", tables::confidence(self)?),
            ("linking_speed", speed::linking(self)?),
            ("training_speed", speed::training(self)?),
            ("datasets", datasets::counts(self)?),
        ])
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(|error| Error::Damaged {
        path: path.to_path_buf(),
        reason: error.to_string(),
    })
}

/// All files of what `syncabel judge hierarchy --json` prints, in the order of their names; none where the folder is absent.
fn read_hierarchies(folder: &Path) -> Result<Vec<(String, RelationCounts)>, Error> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        files.push(entry.map_err(Error::io(folder))?.path());
    }
    files.retain(|path| path.extension().is_some_and(|e| e == "json"));
    files.sort();
    let name = |path: &Path| {
        path.file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
    };
    files
        .iter()
        .map(|path| Ok((name(path), read_json(path)?)))
        .collect()
}

/// As [`read_json`]; what is empty where the file is absent.
fn read_if_there<T: for<'de> Deserialize<'de> + Default>(path: &Path) -> Result<T, Error> {
    match path.is_file() {
        true => read_json(path),
        false => Ok(T::default()),
    }
}

/// Names the font that the figures are measured with; Typst knows no generic families.
fn name_font(path: &Path) -> Result<(), Error> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    put(
        path,
        &text.replace("font-family=\"sans-serif\"", "font-family=\"Roboto\""),
    )
}

fn put(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::io(path))
}

/// Makes a folder, or takes away the files in it that this module writes.
fn clear(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let ours = path.extension().and_then(|e| e.to_str());
        if matches!(ours, Some("typ" | "csv" | "svg" | "png" | "json")) {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
    }

    #[test]
    fn the_report_is_made_from_what_is_committed() {
        let repository = repository();
        let sources =
            Sources::read(&repository.join("results"), &repository.join("paper")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let tables = sources.write(folder.path()).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(tables, 15);
        let main = read("main.csv");
        assert!(
            main.contains("\"Llama-3-8B, guided, SynCABEL\",75.4,no file,79.7,79.7 (78.2–81.2)"),
            "{main}"
        );
        assert!(read("seen_unseen.csv").contains("SPACCC,20.8,20.8 ("));
        assert!(read("composition.csv").contains("24.9"));
        // GSC+, then NCBI Disease, of whose 248 wrong answers 33 are narrower.
        let narrower = "narrower (a descendant),233,36.6 (30.5–43.0),33,13.3 (8.4–20.3)";
        assert!(read("hierarchy.csv").contains(narrower));
        assert!(
            read("numbers.json").contains("\"spaccc_interleaved_guided_main_recall\": \"67.0\"")
        );
        assert!(read("experiments.typ").contains("quickstart"));
        for figure in [
            "composition_spaccc",
            "judge",
            "reliability",
            "risk_coverage",
            "efficiency",
        ] {
            assert!(
                folder.path().join(format!("{figure}.svg")).is_file(),
                "{figure}"
            );
        }
        let again = tempfile::tempdir().unwrap();
        sources.write(again.path()).unwrap();
        assert_same_files(folder.path(), again.path());
    }

    fn assert_same_files(folder: &Path, other: &Path) {
        let names = |folder: &Path| -> Vec<_> {
            let entries = fs::read_dir(folder).unwrap();
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(folder), names(other));
        for name in names(folder) {
            let same =
                fs::read(folder.join(&name)).unwrap() == fs::read(other.join(&name)).unwrap();
            assert!(
                same,
                "{name:?} differs; `scripts/paper.sh` writes paper/generated again"
            );
        }
    }

    /// A committed table may not be older than the results it is made from.
    #[test]
    fn what_is_generated_is_what_is_committed() {
        let paper = repository().join("paper");
        let sources = Sources::read(&repository().join("results"), &paper).unwrap();
        let folder = tempfile::tempdir().unwrap();
        sources.write(folder.path()).unwrap();
        assert_same_files(folder.path(), &paper.join("generated"));
    }

    /// A number that is missing shows as a question mark in the document.
    #[test]
    fn every_number_that_the_text_quotes_is_there() {
        let paper = repository().join("paper");
        let text = fs::read_to_string(paper.join("report.typ")).unwrap();
        let sources = Sources::read(&repository().join("results"), &paper).unwrap();
        let numbers = sources.numbers().unwrap();
        let after_call = text.split("num(\"").skip(1);
        let quoted: Vec<&str> = after_call
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(quoted.len() > 20, "{quoted:?}");
        for key in quoted {
            assert!(numbers.contains_key(key), "{key}");
        }
    }

    /// An experiment whose arms are named with blanks, without a figure, appears like any other.
    #[test]
    fn a_new_experiment_needs_no_typing() {
        let repository = repository();
        let mut sources =
            Sources::read(&repository.join("results"), &repository.join("paper")).unwrap();
        let quickstart = sources
            .experiments
            .iter()
            .find(|e| e.folder == "quickstart");
        let mut new = quickstart.unwrap().clone();
        new.folder = "new_one".to_owned();
        new.has_figure = false;
        for arm in &mut new.arms {
            arm.arm = arm.arm.replace('_', " ");
        }
        sources.experiments = vec![new];
        let table = ours::composition(&sources).unwrap();
        assert_eq!(table.rows().len(), 3, "all, seen, unseen");
        assert!(table.rows()[0].iter().all(|cell| cell != tables::NOT_RUN));
        let sections = experiments::sections(&sources.experiments).unwrap();
        assert!(sections.starts_with("== new\\_one"), "{sections}");
        assert!(!sections.contains("image("), "{sections}");
    }

    #[test]
    fn what_is_published_is_what_is_recomputed() {
        let repository = repository();
        let sources =
            Sources::read(&repository.join("results"), &repository.join("paper")).unwrap();
        let round = |x: f64| (x * 1000.0).round() / 10.0;
        let mut compared = 0;
        for row in &sources.published.judge {
            let Some(report) = sources.recomputed.main(&row.corpus, &row.system) else {
                continue;
            };
            for (name, expected) in &row.rates {
                assert_eq!(
                    round(report.judge_rates[name].rate),
                    *expected,
                    "{} {name}",
                    row.corpus
                );
                compared += 1;
            }
        }
        for row in &sources.published.main {
            for (corpus, expected) in &row.scores {
                if let Some(report) = tables::recomputed_row(&sources, &row.model, corpus) {
                    assert_eq!(
                        round(report.recall_at_1),
                        *expected,
                        "{corpus} {}",
                        row.model
                    );
                    compared += 1;
                }
            }
        }
        for row in &sources.published.composition {
            for (corpus, expected) in &row.scores {
                if let Some(report) = sources.recomputed.ablation(corpus, &row.strategy, true) {
                    assert_eq!(
                        round(report.recall_at_1),
                        *expected,
                        "{corpus} {}",
                        row.strategy
                    );
                    compared += 1;
                }
            }
        }
        for row in &sources.published.seen_unseen {
            let [Some(without), Some(with)] = ["human_only", "interleaved"]
                .map(|strategy| sources.recomputed.main(&row.corpus, strategy))
            else {
                continue;
            };
            let part = |s: &Option<crate::Stratum>| round(s.as_ref().unwrap().recall_at_1);
            assert_eq!(
                [
                    part(&without.unseen),
                    part(&with.unseen),
                    part(&without.seen),
                    part(&with.seen)
                ],
                [
                    row.unseen_without,
                    row.unseen_with,
                    row.seen_without,
                    row.seen_with
                ],
                "{}",
                row.corpus
            );
            compared += 4;
        }
        assert_eq!(
            compared,
            6 + 24 + 10 + 8,
            "the files of MEDLINE and SPACCC are all there"
        );
    }
}
