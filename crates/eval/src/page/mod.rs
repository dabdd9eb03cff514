//! One self-contained HTML page: tables that sort and filter, figures, and a browser of single mentions.
//!
//! The page needs no network and no server. Data is embedded as JSON and put into the page as text, never as markup, so a
//! sentence with angle brackets is just a sentence. Only fifty mentions are in the document at a time, which is what keeps ten
//! thousand of them quick.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;
use syncabel_corpus::predictions::Prediction;

use crate::score::{Outcome, Scored};
use crate::tables::{Aggregate, ArmSummary, Summary, Table};
use crate::{Error, EvalReport, figures};

/// A system as the page shows it.
#[derive(Debug)]
pub struct System<'p> {
    /// Its name.
    pub name: String,
    /// Its predictions, as scored.
    pub predictions: &'p [Prediction],
    /// The verdicts on them.
    pub scored: &'p Scored,
    /// Their metrics.
    pub report: &'p EvalReport,
}

#[derive(Serialize)]
struct Data<'p> {
    lead: String,
    tables: Vec<PageTable<'p>>,
    mentions: Vec<MentionRow<'p>>,
    systems: Vec<SystemRows<'p>>,
}

#[derive(Serialize)]
struct PageTable<'p> {
    title: &'p str,
    columns: &'p [String],
    rows: &'p [Vec<String>],
}

/// What all systems share about a mention.
#[derive(Serialize)]
struct MentionRow<'p> {
    document: &'p str,
    start: u32,
    end: u32,
    group: &'p str,
    sentence: &'p str,
    gold: &'p str,
    gold_name: &'p str,
    seen: Option<bool>,
    seen_mention: Option<bool>,
    composite: bool,
    words: u8,
    abbreviation: bool,
    repeated: bool,
}

#[derive(Serialize)]
struct SystemRows<'p> {
    name: &'p str,
    rows: Vec<AnswerRow<'p>>,
}

/// What one system answered.
#[derive(Serialize)]
struct AnswerRow<'p> {
    right: bool,
    name: &'p str,
    code: &'p str,
    score: Option<f64>,
    beam: Option<f64>,
    label: Option<String>,
}

/// The page for one or several systems on the same mentions, with further tables.
///
/// # Errors
/// [`Error::NothingToShow`] without systems, [`Error::DifferentMentions`] if a system lacks a mention of the first,
/// [`Error::Draw`] and [`Error::Io`] from the figures.
pub fn render(title: &str, systems: &[System<'_>], more: &[Table]) -> Result<String, Error> {
    let Some(first) = systems.first() else {
        return Err(Error::NothingToShow {
            what: "the page",
            why: "no system was named".into(),
        });
    };
    let mut tables = vec![strata(systems)?];
    for system in systems {
        let mut thresholds = system.report.threshold_table()?;
        thresholds.title = format!("Thresholds, {}", system.name);
        if !thresholds.rows().is_empty() {
            tables.push(thresholds);
        }
    }
    tables.extend(more.iter().cloned());
    let data = Data {
        lead: lead(systems),
        tables: tables
            .iter()
            .map(|t| PageTable {
                title: &t.title,
                columns: &t.columns,
                rows: t.rows(),
            })
            .collect(),
        mentions: first
            .scored
            .outcomes
            .iter()
            .map(|o| mention(first, o))
            .collect(),
        systems: systems
            .iter()
            .map(|system| {
                Ok(SystemRows {
                    name: &system.name,
                    rows: answers(first.scored, system)?,
                })
            })
            .collect::<Result<_, Error>>()?,
    };
    let json = serde_json::to_string(&data).map_err(|error| Error::NothingToShow {
        what: "the page",
        why: error.to_string(),
    })?;
    let parts = [
        ("%TITLE%", escape(title)),
        ("%STYLE%", include_str!("page.css").to_owned()),
        ("%FIGURES%", pictures(systems)?),
        ("%SCRIPT%", include_str!("page.js").to_owned()),
        // Last, so that nothing in the data is taken for a placeholder; a closing tag must not end the script.
        (
            "%DATA%",
            json.replace("</", "<\\/").replace("<!--", "<\\u0021--"),
        ),
    ];
    let mut page = include_str!("page.html").to_owned();
    for (placeholder, text) in parts {
        page = page.replace(placeholder, &text);
    }
    Ok(page)
}

fn lead(systems: &[System<'_>]) -> String {
    let score = |s: &System<'_>| {
        let [low, high] = s.report.ci95.map(|end| 100.0 * end);
        format!(
            "{}: recall@1 {:.1} % ({low:.1} to {high:.1}) on {} mentions of {} documents",
            s.name,
            100.0 * s.report.recall_at_1,
            s.report.rows,
            s.report.documents
        )
    };
    systems.iter().map(score).collect::<Vec<_>>().join(". ") + "."
}

/// One line per stratum, the systems side by side.
fn strata(systems: &[System<'_>]) -> Result<Table, Error> {
    let mut columns = vec!["mentions of".to_owned(), "mentions".to_owned()];
    for system in systems {
        columns.push(format!("{}, %", system.name));
        columns.push("95 % interval".to_owned());
    }
    let mut table = Table::new("Recall@1 by stratum", columns);
    let all: Vec<Table> = systems
        .iter()
        .map(|s| s.report.table(""))
        .collect::<Result<_, Error>>()?;
    for row in all[0].rows() {
        let mut cells = vec![row[0].clone(), row[1].clone()];
        for of_system in &all {
            let same = of_system.rows().iter().find(|other| other[0] == row[0]);
            let [recall, interval] = same.map_or([String::new(), String::new()], |r| {
                [r[3].clone(), r[4].clone()]
            });
            cells.extend([recall, interval]);
        }
        table.push(cells)?;
    }
    Ok(table)
}

fn mention<'p>(system: &System<'p>, outcome: &Outcome) -> MentionRow<'p> {
    let row = &system.predictions[outcome.row as usize];
    MentionRow {
        document: &row.filename,
        start: row.start_span,
        end: row.end_span,
        group: &row.label,
        sentence: if row.sentence.is_empty() {
            &row.span
        } else {
            &row.sentence
        },
        gold: &row.code,
        gold_name: &row.annotation,
        seen: outcome.seen,
        seen_mention: outcome.seen_mention,
        composite: outcome.composite,
        words: outcome.surface.words,
        abbreviation: outcome.surface.abbreviation,
        repeated: outcome.repeated,
    }
}

/// A system's answers in the order of the first system's mentions.
fn answers<'p>(first: &Scored, system: &System<'p>) -> Result<Vec<AnswerRow<'p>>, Error> {
    let key = |scored: &Scored, o: &Outcome| {
        (
            scored.documents[o.document as usize].clone(),
            scored.groups[o.group as usize].clone(),
            o.start_span,
            o.end_span,
        )
    };
    let own = &system.scored.outcomes;
    let place: HashMap<_, usize> = own
        .iter()
        .enumerate()
        .map(|(i, o)| (key(system.scored, o), i))
        .collect();
    let mut rows = Vec::with_capacity(first.outcomes.len());
    for outcome in &first.outcomes {
        let key = key(first, outcome);
        let Some(&index) = place.get(&key) else {
            return Err(Error::DifferentMentions {
                only_first: 1,
                first_sample: format!("{} {}-{} {}", key.0, key.2, key.3, key.1),
                only_second: 0,
                second_sample: system.name.clone(),
            });
        };
        let outcome = &own[index];
        let row = &system.predictions[outcome.row as usize];
        let number = |x: f64| x.is_finite().then(|| (x * 1e4).round() / 1e4);
        rows.push(AnswerRow {
            right: outcome.correct,
            name: &row.prediction,
            code: &row.predicted_code,
            score: number(row.prediction_score),
            beam: number(row.prediction_beam_score),
            label: outcome.label.map(|label| label.to_string()),
        });
    }
    Ok(rows)
}

/// Recall by system, and the reliability and risk-coverage curves of the first.
fn pictures(systems: &[System<'_>]) -> Result<String, Error> {
    let folder = tempfolder()?;
    let path = folder.path();
    let aggregate = |rows, recall, ci95| Aggregate {
        rows,
        mean: recall,
        min: recall,
        max: recall,
        ci95,
    };
    let arm = |s: &System<'_>| {
        let part = |p: &crate::Stratum| aggregate(p.rows, p.recall_at_1, p.ci95);
        ArmSummary {
            arm: s.name.clone(),
            seeds: vec![0],
            all: aggregate(s.report.rows, s.report.recall_at_1, s.report.ci95),
            seen: s.report.seen.as_ref().map(part),
            unseen: s.report.unseen.as_ref().map(part),
            budget: Vec::new(),
        }
    };
    let summary = Summary {
        arms: systems.iter().map(arm).collect(),
    };
    figures::recall_by_strategy(&summary, path, "recall")?;
    let mut html = figure(
        path,
        "recall",
        "Recall@1 of all, seen and unseen concepts with 95 % intervals; the numbers are in the table of strata.",
    )?;
    for system in systems {
        let scores = &system.report.scores;
        let bins: Vec<_> = scores
            .iter()
            .filter_map(|s| Some((s.column.as_str(), s.calibration.as_ref()?)))
            .collect();
        if !bins.is_empty() {
            figures::reliability(&bins, path, "reliability")?;
            html += &figure(
                path,
                "reliability",
                &format!("{}: share of right answers by score", system.name),
            )?;
        }
        let risks: Vec<_> = scores
            .iter()
            .map(|s| (s.column.as_str(), s.risk_coverage.as_slice()))
            .collect();
        if !risks.is_empty() {
            figures::risk_coverage(&risks, path, "risk")?;
            html += &figure(
                path,
                "risk",
                &format!(
                    "{}: share of errors by share of mentions answered",
                    system.name
                ),
            )?;
        }
    }
    Ok(html)
}

/// An inline picture with its caption; the caption is what a screen reader gets.
fn figure(folder: &Path, stem: &str, caption: &str) -> Result<String, Error> {
    let path = folder.join(format!("{stem}.svg"));
    let svg = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let caption = escape(caption);
    let svg = svg.replacen(
        "<svg ",
        &format!("<svg role=\"img\" aria-label=\"{caption}\" "),
        1,
    );
    Ok(format!(
        "<figure>{svg}<figcaption>{caption}</figcaption></figure>\n"
    ))
}

fn tempfolder() -> Result<tempfile::TempDir, Error> {
    tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        // Placeholders of the page are written with it.
        .replace('%', "&#37;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EvalOptions, score};

    fn rows(right: bool) -> Vec<Prediction> {
        let row = |i: u32| Prediction {
            filename: format!("d{}", i / 3),
            label: "Disorders".into(),
            start_span: i,
            end_span: i + 4,
            span: "gout".into(),
            code: "A".into(),
            annotation: "Gout".into(),
            sentence: "Known [gout]{Disorders} </script><b>%DATA%</b>.".into(),
            prediction: "Gout".into(),
            predicted_code: if right || i.is_multiple_of(2) {
                "A"
            } else {
                "B"
            }
            .into(),
            prediction_score: 0.5,
            prediction_beam_score: f64::NAN,
            ..Prediction::default()
        };
        (0..12).map(row).collect()
    }

    #[test]
    fn the_page_holds_everything_and_nothing_breaks_out() {
        let options = EvalOptions::default();
        let sets = [rows(true), rows(false)];
        let scored = sets
            .each_ref()
            .map(|set| score(set, None, None, &options).unwrap());
        let reports = scored.each_ref().map(|s| s.report(&options).unwrap());
        let system = |i: usize| System {
            name: ["A <one>", "B"][i].to_owned(),
            predictions: &sets[i],
            scored: &scored[i],
            report: &reports[i],
        };
        let page = render("A & B", &[system(0), system(1)], &[]).unwrap();
        assert_eq!(
            page.matches("</script>").count(),
            2,
            "no data ends a script"
        );
        assert!(
            page.contains("<title>A &amp; B</title>") && page.contains("%DATA%<\\/b>"),
            "data is not a placeholder"
        );
        let addresses = page.match_indices("http");
        let namespace = "http://www.w3.org/";
        assert!(
            addresses
                .clone()
                .all(|(at, _)| page[at..].starts_with(namespace)),
            "no network"
        );
        let json = page
            .split("id=\"data\">")
            .nth(1)
            .unwrap()
            .split("</script>")
            .next()
            .unwrap();
        let data: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(data["mentions"].as_array().unwrap().len(), 12);
        assert_eq!(data["systems"][1]["rows"][1]["right"], false);
        assert_eq!(
            data["systems"][0]["rows"][1]["beam"],
            serde_json::Value::Null
        );
        let other = rows(true)[..3].to_vec();
        let scored_other = score(&other, None, None, &options).unwrap();
        let lacking = System {
            name: "short".into(),
            predictions: &other,
            scored: &scored_other,
            report: &reports[1],
        };
        assert!(matches!(
            render("x", &[system(0), lacking], &[]),
            Err(Error::DifferentMentions { .. })
        ));
    }
}
