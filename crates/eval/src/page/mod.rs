//! One self-contained HTML page: tables that sort and filter, figures, and a browser of single mentions.
//!
//! The page needs no network and no server. Data is embedded as JSON and put into the page as text, never as markup, so a
//! sentence with angle brackets is just a sentence. Only fifty mentions are in the document at a time, which is what keeps ten
//! thousand of them quick.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;
use syncabel_corpus::predictions::Prediction;

use crate::cells::{percent, percent_interval};
use crate::compare::{compare_scored, describe};
use crate::score::{Outcome, Scored};
use crate::strata::PARTITIONS;
use crate::tables::Table;
use crate::{CorrectedComparison, Correction, Error, EvalReport, Stratum, figures};

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
    partitions: [PagePartition; PARTITIONS.len()],
    mentions: Vec<MentionRow<'p>>,
    systems: Vec<SystemRows<'p>>,
}

#[derive(Serialize)]
struct PageTable<'p> {
    title: &'p str,
    /// Whether it is unfolded from the beginning.
    open: bool,
    columns: &'p [String],
    rows: &'p [Vec<String>],
}

/// A way of cutting the mentions into parts, as filters and tags show it.
#[derive(Serialize)]
struct PagePartition {
    title: &'static str,
    parts: &'static [&'static str],
    tags: &'static [&'static str],
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
    /// For each partition, in their order, the digit of the part that the mention belongs to; a dash where that is not known.
    strata: String,
}

#[derive(Serialize)]
struct SystemRows<'p> {
    name: &'p str,
    /// By mention; `null` where the system's scored mentions lack it.
    rows: Vec<Option<AnswerRow<'p>>>,
}

/// What one system answered.
#[derive(Serialize)]
struct AnswerRow<'p> {
    right: bool,
    /// Between 0 and 1, where ties earn a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    credit: Option<f64>,
    name: &'p str,
    code: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beam: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
}

/// The page for one or several systems, with further tables. The error browser shows every mention that any of them has: those
/// of the first system in its order, then what later ones add.
///
/// # Errors
/// [`Error::NothingToShow`] without systems, [`Error::DifferentGold`] where two systems have a mention with different gold
/// codes, [`Error::Draw`] and [`Error::Io`] from the figures.
pub fn render(title: &str, systems: &[System<'_>], more: &[Table]) -> Result<String, Error> {
    if systems.is_empty() {
        return Err(Error::NothingToShow {
            what: "the page",
            why: "no system was named".into(),
        });
    }
    let union = Union::of(systems)?;
    let comparisons = comparisons(systems)?;
    let first = &systems[0].name;
    let mut tables = vec![strata(systems)?];
    if !comparisons.is_empty() {
        tables.push(CorrectedComparison::table(&comparisons, first)?);
    }
    let open = tables.len();
    for system in systems {
        for (stem, mut table) in system.report.tables()? {
            // The table of strata has all systems side by side.
            if stem != "strata" {
                table.title = format!("{}: {}", system.name, table.title);
                tables.push(table);
            }
        }
    }
    tables.extend(more.iter().cloned());
    let data = Data {
        lead: lead(systems, union.mentions.len()),
        tables: tables
            .iter()
            .enumerate()
            .map(|(index, t)| PageTable {
                title: &t.title,
                open: index < open,
                columns: &t.columns,
                rows: t.rows(),
            })
            .collect(),
        partitions: PARTITIONS.each_ref().map(|p| PagePartition {
            title: p.title,
            parts: p.parts,
            tags: p.tags,
        }),
        mentions: union.mentions,
        systems: systems
            .iter()
            .zip(union.answers)
            .map(|(system, rows)| SystemRows {
                name: &system.name,
                rows,
            })
            .collect(),
    };
    let json = serde_json::to_string(&data).map_err(|error| Error::NothingToShow {
        what: "the page",
        why: error.to_string(),
    })?;
    let parts = [
        ("%TITLE%", escape(title)),
        ("%STYLE%", include_str!("page.css").to_owned()),
        ("%FIGURES%", pictures(systems, &comparisons)?),
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

/// Each system's recall, and how many mentions it lacks.
fn lead(systems: &[System<'_>], mentions: usize) -> String {
    let score = |s: &System<'_>| {
        let [low, high] = s.report.ci95.map(|end| 100.0 * end);
        let lacks = match mentions.saturating_sub(s.scored.outcomes.len()) {
            0 => String::new(),
            count => {
                format!(
                    " ({count} of the {mentions} mentions of this page are not among its scored mentions)"
                )
            }
        };
        format!(
            "{}: recall@1 {:.1} % ({low:.1} to {high:.1}) on {} mentions of {} documents{lacks}",
            s.name,
            100.0 * s.report.recall_at_1,
            s.report.rows,
            s.report.documents
        )
    };
    systems.iter().map(score).collect::<Vec<_>>().join(". ") + "."
}

/// The first system against every other that has the same mentions; those that have others are left out, as the lead says.
fn comparisons(systems: &[System<'_>]) -> Result<Vec<CorrectedComparison>, Error> {
    let (first, others) = (&systems[0], &systems[1..]);
    let mut options = first.report.options.clone();
    options.bootstrap = options.bootstrap.for_comparisons(others.len());
    let mut all = Vec::new();
    for other in others {
        match compare_scored(first.scored, other.scored, &options) {
            Ok(comparison) => all.push((other.name.clone(), comparison)),
            Err(Error::DifferentMentions { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(CorrectedComparison::all(all, Correction::default()))
}

/// One line per stratum that a system has, the systems side by side. Where they differ in its mentions, there is a number for
/// each system.
fn strata(systems: &[System<'_>]) -> Result<Table, Error> {
    let mut columns = vec!["mentions of".to_owned(), "mentions".to_owned()];
    for system in systems {
        columns.push(format!("{}, %", system.name));
        columns.push("95 % interval".to_owned());
    }
    let mut table = Table::new("Recall@1 by stratum", columns);
    let all: Vec<Vec<(String, Stratum)>> = systems.iter().map(|s| s.report.lines()).collect();
    for name in figures::names_of_any(&all) {
        let of: Vec<Option<&Stratum>> = all
            .iter()
            .map(|lines| lines.iter().find(|(known, _)| *known == name))
            .map(|line| line.map(|(_, stratum)| stratum))
            .collect();
        let mut mentions: Vec<String> = of
            .iter()
            .map(|stratum| stratum.map_or(0, |s| s.rows).to_string())
            .collect();
        if mentions.iter().all(|count| *count == mentions[0]) {
            mentions.truncate(1);
        }
        let mut cells = vec![name, mentions.join(" / ")];
        cells.extend(of.iter().flat_map(|stratum| match stratum {
            Some(s) => [percent(s.recall_at_1), percent_interval(s.ci95)],
            None => Default::default(),
        }));
        table.push(cells)?;
    }
    Ok(table)
}

fn mention<'p>(row: &'p Prediction, outcome: &Outcome) -> MentionRow<'p> {
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
        strata: PARTITIONS
            .iter()
            .map(|partition| match (partition.part)(outcome) {
                Some(part) => char::from_digit(part as u32, 10).unwrap_or('-'),
                None => '-',
            })
            .collect(),
    }
}

/// Every mention that any system has, and the systems' answers to each.
struct Union<'p> {
    mentions: Vec<MentionRow<'p>>,
    /// By system and mention.
    answers: Vec<Vec<Option<AnswerRow<'p>>>>,
}

impl<'p> Union<'p> {
    fn of(systems: &[System<'p>]) -> Result<Self, Error> {
        let mut places: HashMap<(&str, &str, u32, u32), usize> = HashMap::new();
        let mut mentions = Vec::new();
        let mut firsts: Vec<(&System<'p>, &Outcome)> = Vec::new();
        let mut answers = Vec::new();
        for system in systems {
            let mut of_system: Vec<Option<AnswerRow<'p>>> = Vec::new();
            of_system.resize_with(mentions.len(), || None);
            for outcome in &system.scored.outcomes {
                let row = &system.predictions[outcome.row as usize];
                let key = (
                    row.filename.as_str(),
                    row.label.as_str(),
                    row.start_span,
                    row.end_span,
                );
                let place = *places.entry(key).or_insert_with(|| {
                    mentions.push(mention(row, outcome));
                    firsts.push((system, outcome));
                    of_system.push(None);
                    mentions.len() - 1
                });
                same_gold(firsts[place], (system, outcome))?;
                of_system[place] = Some(answer(row, outcome));
            }
            answers.push(of_system);
        }
        for of_system in &mut answers {
            of_system.resize_with(mentions.len(), || None);
        }
        Ok(Union { mentions, answers })
    }
}

/// Refuses two systems' verdicts on one mention that were made by different gold codes.
fn same_gold(first: (&System<'_>, &Outcome), second: (&System<'_>, &Outcome)) -> Result<(), Error> {
    let [gold, other] =
        [first, second].map(|(system, o)| &system.scored.concepts[o.concept as usize]);
    if gold == other {
        return Ok(());
    }
    let place = describe(first.0.scored, first.1);
    Err(Error::DifferentGold {
        mention: format!("{place}, {} and {}", first.0.name, second.0.name),
        first: gold.clone(),
        second: other.clone(),
    })
}

fn answer<'p>(row: &'p Prediction, outcome: &Outcome) -> AnswerRow<'p> {
    let number = |x: f64| x.is_finite().then(|| (x * 1e4).round() / 1e4);
    AnswerRow {
        right: outcome.correct,
        credit: number(outcome.credit).filter(|credit| 0.0 < *credit && *credit < 1.0),
        name: &row.prediction,
        code: &row.predicted_code,
        score: number(row.prediction_score),
        beam: number(row.prediction_beam_score),
        probability: row.probability.and_then(number),
        label: outcome.label.map(|label| label.to_string()),
    }
}

/// Everything that can be drawn of these systems.
fn pictures(systems: &[System<'_>], comparisons: &[CorrectedComparison]) -> Result<String, Error> {
    let folder = tempfolder()?;
    let named: Vec<figures::Named<'_>> = systems
        .iter()
        .map(|s| (s.name.as_str(), s.report))
        .collect();
    figures::draw_report(&named, comparisons, folder.path())?
        .iter()
        .map(|drawn| figure(folder.path(), &drawn.stem, &drawn.caption))
        .collect()
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
            probability: Some(0.75),
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
        let data = data(&page);
        assert_eq!(data["mentions"].as_array().unwrap().len(), 12);
        assert_eq!(data["systems"][1]["rows"][1]["right"], false);
        assert_eq!(
            data["systems"][0]["rows"][1].get("beam"),
            None,
            "a score that the file lacks is not shown"
        );
        assert_eq!(data["systems"][0]["rows"][1]["probability"], 0.75);
        // Concept, string and pair unknown without training data, then one word, no abbreviation, a repeated concept.
        let strata = data["mentions"][1]["strata"].as_str().unwrap();
        assert_eq!(strata, "-----00100");
        let titles: Vec<&str> = data["tables"]
            .as_array()
            .unwrap()
            .iter()
            .map(|table| table["title"].as_str().unwrap())
            .collect();
        for title in [
            "Recall@1 by stratum",
            "Systems beside A <one>, paired by mention",
            "A <one>: Right answer among the first k",
            "B: Thresholds",
        ] {
            assert!(titles.contains(&title), "{title} not in {titles:?}");
        }
    }

    fn data(page: &str) -> serde_json::Value {
        let data = page.split("id=\"data\">").nth(1).unwrap();
        serde_json::from_str(data.split("</script>").next().unwrap()).unwrap()
    }

    #[test]
    fn mentions_that_only_one_system_has_are_shown() {
        let options = EvalOptions::default();
        let mut later = rows(false);
        later.drain(..2);
        later[9].label = "Chemicals".into();
        let sets = [rows(true), later];
        let scored = sets
            .each_ref()
            .map(|set| score(set, None, None, &options).unwrap());
        let reports = scored.each_ref().map(|s| s.report(&options).unwrap());
        let systems = [0, 1].map(|i| System {
            name: ["A", "B"][i].to_owned(),
            predictions: &sets[i],
            scored: &scored[i],
            report: &reports[i],
        });
        let data = data(&render("x", &systems, &[]).unwrap());
        let groups = data["mentions"].as_array().unwrap().iter();
        let groups: Vec<&str> = groups.map(|m| m["group"].as_str().unwrap()).collect();
        assert_eq!(
            groups,
            [[&["Disorders"][..]; 12].concat(), vec!["Chemicals"]].concat()
        );
        let lacks = |system: usize| -> Vec<usize> {
            let rows = data["systems"][system]["rows"].as_array().unwrap();
            assert_eq!(rows.len(), 13);
            (0..13).filter(|&i| rows[i].is_null()).collect()
        };
        assert_eq!((lacks(0), lacks(1)), (vec![12], vec![0, 1, 11]));
        assert_eq!(data["systems"][1]["rows"][2]["right"], true);
        let lead = data["lead"].as_str().unwrap();
        assert!(
            lead.contains("(3 of the 13 mentions of this page are not among its scored mentions)"),
            "{lead}"
        );
        let strata = data["tables"][0]["rows"].as_array().unwrap();
        let of = |name: &str| {
            strata
                .iter()
                .find(|row| row[0].as_str().unwrap().contains(name))
        };
        assert_eq!(
            of("Chemicals").unwrap()[1],
            "0 / 1",
            "a group that only the later system has"
        );
        assert_eq!(of("all").unwrap()[1], "12 / 10");
    }

    #[test]
    fn systems_with_different_gold_are_refused() {
        let options = EvalOptions::default();
        let mut sets = [rows(true), rows(true)];
        sets[1][4].code = "C".into();
        let scored = sets
            .each_ref()
            .map(|set| score(set, None, None, &options).unwrap());
        let reports = scored.each_ref().map(|s| s.report(&options).unwrap());
        let systems = [0, 1].map(|i| System {
            name: ["one", "two"][i].to_owned(),
            predictions: &sets[i],
            scored: &scored[i],
            report: &reports[i],
        });
        let refused = render("x", &systems, &[]).unwrap_err().to_string();
        let expected = "for d1 4-8 Disorders, one and two: `A` and `C`";
        assert!(refused.contains(expected), "{refused}");
    }
}
