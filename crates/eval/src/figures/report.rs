//! The figures of one or several reports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{
    IntervalChart, IntervalMark, IntervalRow, RecallCurve, ShareBar, interval_chart, recall_at_k,
    reliability, risk_coverage, stacked_shares,
};
use crate::report::Rate;
use crate::{CorrectedComparison, Error, EvalReport, Stratum};

/// A system's name and its metrics.
pub type Named<'r> = (&'r str, &'r EvalReport);

/// A figure that was drawn: `stem.svg` and `stem.png`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawnFigure {
    /// Its files' stem.
    pub stem: String,
    /// What it shows, for those who read it and for those who cannot see it.
    pub caption: String,
}

/// Draws everything that these systems' metrics allow: recall by stratum, recall@k, the judge's verdicts, the comparisons with the
/// first system, and each system's reliability diagram and risk-coverage curve. Stems of what only a later system has end
/// with its number.
///
/// # Errors
/// [`Error::NothingToShow`] without systems, [`Error::Io`], [`Error::Draw`].
pub fn draw_report(
    systems: &[Named<'_>],
    comparisons: &[CorrectedComparison],
    folder: &Path,
) -> Result<Vec<DrawnFigure>, Error> {
    let mut drawn = Vec::new();
    let mut note = |stem: &str, caption: String| {
        drawn.push(DrawnFigure {
            stem: stem.to_owned(),
            caption,
        });
    };
    recall_by_stratum(systems, folder, "recall_by_stratum")?;
    note(
        "recall_by_stratum",
        "Recall@1 by stratum with 95 % intervals; the numbers are in the table of strata.".into(),
    );
    let curves: Vec<RecallCurve<'_>> = systems
        .iter()
        .map(|&(label, report)| RecallCurve {
            label,
            points: report.recall_curve(),
        })
        .filter(|curve| curve.points.len() > 1)
        .collect();
    if !curves.is_empty() {
        recall_at_k(&curves, folder, "recall_at_k")?;
        note(
            "recall_at_k",
            "Share of mentions with a right answer among the first k, with 95 % intervals.".into(),
        );
    }
    if !comparisons.is_empty() {
        differences(systems, comparisons, folder, "comparison")?;
        note(
            "comparison",
            "Differences of recall@1 to the first system with 95 % intervals, paired by document."
                .into(),
        );
    }
    let judged: Vec<(String, &BTreeMap<String, Rate>)> = systems
        .iter()
        .filter(|(_, report)| report.judge.is_some())
        .map(|(name, report)| ((*name).to_owned(), &report.judge_rates))
        .collect();
    if !judged.is_empty() {
        judge_shares(&judged, folder, "judge")?;
        note(
            "judge",
            "The judge's verdicts, in percent of all mentions.".into(),
        );
    }
    for (index, (name, report)) in systems.iter().enumerate() {
        let numbered = |stem: &str| match index {
            0 => stem.to_owned(),
            _ => format!("{stem}_{}", index + 1),
        };
        let bins: Vec<_> = report
            .scores
            .iter()
            .filter_map(|s| Some((s.column.as_str(), s.calibration.as_ref()?)))
            .collect();
        // Bins of few mentions are not shown, and a small file may have no others.
        let shown = bins.iter().flat_map(|(_, c)| &c.bins);
        if shown.clone().any(|b| b.rows >= super::RELIABILITY_ROWS) {
            let stem = numbered("reliability");
            reliability(&bins, folder, &stem)?;
            note(&stem, format!("{name}: share of right answers by score."));
        }
        let risks: Vec<_> = report
            .scores
            .iter()
            .map(|s| (s.column.as_str(), s.risk_coverage.as_slice()))
            .collect();
        if !risks.is_empty() {
            let stem = numbered("risk_coverage");
            risk_coverage(&risks, folder, &stem)?;
            note(
                &stem,
                format!("{name}: share of errors by share of mentions answered."),
            );
        }
    }
    Ok(drawn)
}

/// Draws recall@1 of every stratum with its 95 % interval, systems side by side, as `stem.svg` and `stem.png`.
///
/// # Errors
/// [`Error::NothingToShow`] without systems, [`Error::Io`], [`Error::Draw`].
pub fn recall_by_stratum(
    systems: &[Named<'_>],
    folder: &Path,
    stem: &str,
) -> Result<[PathBuf; 2], Error> {
    let strata: Vec<Vec<(String, Stratum)>> =
        systems.iter().map(|(_, report)| report.lines()).collect();
    let mut rows = Vec::new();
    let mut part = "all".to_owned();
    for label in names_of_any(&strata) {
        let of: Vec<Option<&Stratum>> = strata
            .iter()
            .map(|lines| {
                let found = lines.iter().find(|(name, _)| *name == label);
                found.map(|(_, stratum)| stratum).filter(|s| s.rows > 0)
            })
            .collect();
        let mark = |stratum: &Option<&Stratum>| {
            stratum.map(|s| IntervalMark {
                value: 100.0 * s.recall_at_1,
                ci95: s.ci95.map(|end| 100.0 * end),
            })
        };
        let mut counts: Vec<String> = of
            .iter()
            .map(|s| s.map_or(0, |s| s.rows).to_string())
            .collect();
        if counts.iter().all(|count| *count == counts[0]) {
            counts.truncate(1);
        }
        let of_part = match label.split_once(": ") {
            Some((partition, _)) => partition.to_owned(),
            None if label == "all" => "all".to_owned(),
            None => "group".to_owned(),
        };
        rows.push(IntervalRow {
            marks: of.iter().map(mark).collect(),
            begins_part: of_part != part,
            note: counts.join(" / "),
            label,
        });
        part = of_part;
    }
    let chart = IntervalChart {
        series: systems.iter().map(|(name, _)| *name).collect(),
        axis: "recall@1 (%)".into(),
        note: "mentions",
        range: Some((0.0, 100.0)),
        signed: false,
        rows,
    };
    interval_chart(&chart, folder, stem)
}

/// Names in the order of the first list; one that only later lists have stands behind the one before it there.
pub(crate) fn names_of_any<T>(lists: &[Vec<(String, T)>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for list in lists {
        let mut next = 0;
        for (name, _) in list {
            match names.iter().position(|known| known == name) {
                Some(place) => next = place + 1,
                None => {
                    names.insert(next, name.clone());
                    next += 1;
                }
            }
        }
    }
    names
}

/// Draws the differences of other systems to the first as `stem.svg` and `stem.png`.
fn differences(
    systems: &[Named<'_>],
    comparisons: &[CorrectedComparison],
    folder: &Path,
    stem: &str,
) -> Result<[PathBuf; 2], Error> {
    let rows = comparisons.iter().map(|c| IntervalRow {
        label: c.against.clone(),
        note: crate::cells::p_value(c.p_bootstrap_adjusted),
        marks: vec![Some(IntervalMark {
            value: 100.0 * c.comparison.difference,
            ci95: c.comparison.difference_ci95.map(|end| 100.0 * end),
        })],
        begins_part: false,
    });
    let first = systems.first().map_or("the first", |(name, _)| *name);
    let chart = IntervalChart {
        series: Vec::new(),
        axis: format!("recall@1 minus that of {first} (points)"),
        note: "p (corrected)",
        range: None,
        signed: true,
        rows: rows.collect(),
    };
    interval_chart(&chart, folder, stem)
}

/// Draws the shares of a judge's verdicts, one bar a system, as `stem.svg` and `stem.png`. Mentions without a verdict are a
/// part of their own where there are any.
///
/// # Errors
/// [`Error::NothingToShow`] without systems, [`Error::Io`], [`Error::Draw`].
pub fn judge_shares(
    systems: &[(String, &BTreeMap<String, Rate>)],
    folder: &Path,
    stem: &str,
) -> Result<[PathBuf; 2], Error> {
    let rates = ["strict", "exact", "broad", "narrow", "no_relation"];
    let mut names = vec![
        "strict",
        "exact",
        "broad or partial",
        "narrow",
        "no relation",
    ];
    let mut bars: Vec<ShareBar> = systems
        .iter()
        .map(|(label, of)| ShareBar {
            label: label.clone(),
            parts: rates
                .map(|rate| of.get(rate).map_or(0.0, |r| r.rate))
                .to_vec(),
        })
        .collect();
    let rest = |bar: &ShareBar| 1.0 - bar.parts.iter().sum::<f64>();
    if bars.iter().any(|bar| rest(bar) > 1e-9) {
        names.push("no verdict");
        for bar in &mut bars {
            bar.parts.push(rest(bar).max(0.0));
        }
    }
    stacked_shares(&names, &bars, folder, stem)
}

#[cfg(test)]
mod tests {
    use syncabel_corpus::predictions::{Candidate, Prediction};

    use super::*;
    use crate::{Correction, EvalOptions, Scored, TrainingSet, compare_scored, score};

    /// Two hundred mentions of which every `wrong`-th is answered wrongly; the second candidate then is right.
    fn system(wrong: usize) -> Vec<Prediction> {
        let labels = ["NARROW", "BROAD", "NO_RELATION"];
        let row = |i: usize| {
            let right = !i.is_multiple_of(wrong);
            let gold = format!("C{}", i % 40);
            let candidate = |code: &str| Candidate {
                name: code.to_owned(),
                code: code.to_owned(),
                score: 0.5,
            };
            Prediction {
                filename: format!("d{}", i / 8),
                label: ["Disorders", "Chemicals"][i % 2].into(),
                start_span: i as u32,
                end_span: i as u32 + 5,
                span: ["HD", "heart failure", "pain"][i % 3].into(),
                code: gold.clone(),
                annotation: "Pain".into(),
                predicted_code: if right { gold.clone() } else { "X".into() },
                prediction_score: 0.3 + 0.003 * i as f64,
                prediction_beam_score: f64::NAN,
                candidates: vec![candidate(if right { &gold } else { "X" }), candidate(&gold)],
                extra: vec![(
                    "LLM_Evaluation".into(),
                    if right { "STRICT" } else { labels[i % 3] }.into(),
                )],
                ..Prediction::default()
            }
        };
        (0..200).map(row).collect()
    }

    /// The figures of two systems, into the folder that `SYNCABEL_FIGURES` names, else a temporary one.
    #[test]
    fn all_figures_of_two_systems() {
        let temporary = tempfile::tempdir().unwrap();
        let folder =
            std::env::var_os("SYNCABEL_FIGURES").map_or(temporary.path().into(), PathBuf::from);
        let folder = folder.join("report");
        let options = EvalOptions::default();
        let training = TrainingSet::from_fields([("C1", "HD"), ("C2", "pain")], None);
        let scored: [Scored; 2] =
            [3, 7].map(|wrong| score(&system(wrong), Some(&training), None, &options).unwrap());
        let reports = scored.each_ref().map(|s| s.report(&options).unwrap());
        let comparison = compare_scored(&scored[0], &scored[1], &options).unwrap();
        let comparisons =
            CorrectedComparison::all(vec![("after".into(), comparison)], Correction::default());
        let systems = [("before", &reports[0]), ("after", &reports[1])];
        let drawn = draw_report(&systems, &comparisons, &folder).unwrap();
        let stems: Vec<&str> = drawn.iter().map(|figure| figure.stem.as_str()).collect();
        assert_eq!(
            stems,
            [
                "recall_by_stratum",
                "recall_at_k",
                "comparison",
                "judge",
                "reliability",
                "risk_coverage",
                "reliability_2",
                "risk_coverage_2"
            ]
        );
        let svg = |stem: &str| std::fs::read_to_string(folder.join(format!("{stem}.svg"))).unwrap();
        for stem in &stems {
            assert!(folder.join(format!("{stem}.png")).is_file(), "{stem}");
        }
        let strata = svg("recall_by_stratum");
        for text in ["Disorders", "abbreviation: yes", "before", "85.5", "66.5"] {
            assert!(strata.contains(text), "{text}");
        }
        let difference = svg("comparison");
        assert!(difference.contains("+19.0") && difference.contains("minus that of before"));
        assert!(!svg("judge").contains("no verdict"));
    }

    #[test]
    fn a_file_without_candidates_judge_and_scores_has_one_figure() {
        let folder = tempfile::tempdir().unwrap();
        let plain: Vec<Prediction> = system(3)
            .into_iter()
            .map(|row| Prediction {
                candidates: Vec::new(),
                extra: Vec::new(),
                prediction_score: f64::NAN,
                ..row
            })
            .collect();
        let options = EvalOptions::default();
        let report = crate::evaluate(&plain, None, None, &options).unwrap();
        let drawn = draw_report(&[("plain", &report)], &[], folder.path()).unwrap();
        assert_eq!(drawn.len(), 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
