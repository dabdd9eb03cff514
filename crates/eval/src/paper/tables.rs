//! The report's tables: published, recomputed, ours.

use super::Sources;
use crate::cells::{percent, points};
use crate::judge::hierarchy::RelationCount;
use crate::published::CORPORA;
use crate::tables::Table;
use crate::{Agreement, EvalReport, JUDGE_RATES, Stratum};
use crate::{Error, bootstrap::Interval};

/// Why a recomputed cell is empty: the authors' predictions are not among the files at hand.
const NO_FILE: &str = "no file";
/// Why one of ours is empty: the terminology is licensed and was not at hand.
const NO_KB: &str = "no KB";
/// Why one of ours is empty: it has not been run yet.
pub(super) const NOT_RUN: &str = "not run";
/// Why one of the paper's is empty: the judge is ours.
const NOT_ASKED: &str = "not in the paper";
/// Why one of the paper's is empty: its value was not at hand.
pub(super) const NOT_KNOWN: &str = "not known";

pub(super) fn with_interval(fraction: f64, ci95: Interval) -> String {
    let [low, high] = ci95.map(percent);
    format!("{} ({low}–{high})", percent(fraction))
}

pub(super) fn strategy_name(strategy: &str) -> &str {
    match strategy {
        "human_only" => "Human only",
        "synthetic_only" => "Synthetic only",
        "combined" => "Combined",
        "pretrain_then_human" => "Synthetic, then human",
        "interleaved" => "Interleaved",
        other => other,
    }
}

pub(super) fn corpus_name(corpus: &str) -> &str {
    match corpus {
        "MM" => "MedMentions",
        other => other,
    }
}

/// The released file that a row of the main table comes from.
pub(super) fn recomputed_row<'s>(
    sources: &'s Sources,
    model: &str,
    corpus: &str,
) -> Option<&'s EvalReport> {
    match model {
        "Llama-3-8B" => sources.recomputed.ablation(corpus, "human_only", false),
        "Llama-3-8B, guided" => sources.recomputed.main(corpus, "human_only"),
        "Llama-3-8B, guided, SynCABEL" => sources.recomputed.main(corpus, "interleaved"),
        _ => None,
    }
}

pub(super) fn main(sources: &Sources) -> Result<Table, Error> {
    let mut columns = vec!["system".to_owned()];
    for corpus in CORPORA {
        columns.push(format!("{} paper", corpus_name(corpus)));
        columns.push("recomputed (95 %)".to_owned());
    }
    columns.push("ours".to_owned());
    let mut table = Table::new("Recall@1 in percent", columns);
    for row in &sources.published.main {
        let mut cells = vec![row.model.clone()];
        for corpus in CORPORA {
            cells.push(
                row.scores
                    .get(corpus)
                    .map_or(String::new(), |v| format!("{v:.1}")),
            );
            let recomputed = recomputed_row(sources, &row.model, corpus);
            cells.push(
                recomputed.map_or(NO_FILE.to_owned(), |r| with_interval(r.recall_at_1, r.ci95)),
            );
        }
        cells.push(NO_KB.to_owned());
        table.push(cells)?;
    }
    Ok(table)
}

pub(super) fn seen_unseen(sources: &Sources) -> Result<Table, Error> {
    let mut table = Table::of(
        "Recall@1 on seen and unseen concepts, in percent",
        &[
            "corpus",
            "unseen, without: paper",
            "recomputed (95 %)",
            "unseen, with: paper",
            "recomputed (95 %)",
            "seen, without: paper",
            "recomputed (95 %)",
            "seen, with: paper",
            "recomputed (95 %)",
            "ours",
        ],
    );
    for row in &sources.published.seen_unseen {
        let part = |strategy: &str, seen: bool| -> String {
            let report = sources.recomputed.main(&row.corpus, strategy);
            let part = report.and_then(|r| {
                if seen {
                    r.seen.as_ref()
                } else {
                    r.unseen.as_ref()
                }
            });
            part.map_or(NO_FILE.to_owned(), |s: &Stratum| {
                with_interval(s.recall_at_1, s.ci95)
            })
        };
        let paper = |value: f64| format!("{value:.1}");
        table.push(vec![
            row.corpus.clone(),
            paper(row.unseen_without),
            part("human_only", false),
            paper(row.unseen_with),
            part("interleaved", false),
            paper(row.seen_without),
            part("human_only", true),
            paper(row.seen_with),
            part("interleaved", true),
            NO_KB.to_owned(),
        ])?;
    }
    Ok(table)
}

pub(super) fn composition(sources: &Sources) -> Result<Table, Error> {
    let mut table = Table::of(
        "Recall@1 by composition of the training data, in percent",
        &[
            "composition",
            "EMEA paper",
            "other checkpoint",
            "MEDLINE paper",
            "recomputed (95 %)",
            "SPACCC paper",
            "recomputed (95 %)",
            "MedMentions paper",
        ],
    );
    for row in &sources.published.composition {
        let paper = |corpus: &str| {
            row.scores
                .get(corpus)
                .map_or(NOT_KNOWN.to_owned(), |v| format!("{v:.1}"))
        };
        let ours = |corpus: &str| {
            let report = sources.recomputed.ablation(corpus, &row.strategy, true);
            report.map_or(NO_FILE.to_owned(), |r| with_interval(r.recall_at_1, r.ci95))
        };
        table.push(vec![
            strategy_name(&row.strategy).to_owned(),
            paper("EMEA"),
            row.other_checkpoint
                .get("EMEA")
                .map_or(String::new(), |v| format!("{v:.1}")),
            paper("MEDLINE"),
            ours("MEDLINE"),
            paper("SPACCC"),
            ours("SPACCC"),
            paper("MM"),
        ])?;
    }
    Ok(table)
}

/// One line per corpus and rate; the two systems stand side by side.
pub(super) fn judge(sources: &Sources) -> Result<Table, Error> {
    let mut table = Table::of(
        "The judge's rates, in percent of all mentions",
        &[
            "corpus",
            "rate",
            "without: paper",
            "recomputed (95 %)",
            "with: paper",
            "recomputed (95 %)",
        ],
    );
    let systems = ["human_only", "interleaved"];
    for corpus in CORPORA {
        let row = |system: &str| {
            let mut rows = sources.published.judge.iter();
            rows.find(|r| r.corpus == corpus && r.system == system)
        };
        let rows = systems.map(row);
        if rows.iter().all(Option::is_none) {
            continue;
        }
        for rate in JUDGE_RATES {
            let mut cells = vec![corpus.to_owned(), rate.replace('_', " ")];
            for (system, row) in systems.into_iter().zip(rows) {
                let paper = row.and_then(|r| r.rates.get(rate));
                cells.push(paper.map_or(NOT_KNOWN.to_owned(), |v| format!("{v:.1}")));
                let report = sources.recomputed.main(corpus, system);
                let ours = report.and_then(|r| r.judge_rates.get(rate));
                cells.push(ours.map_or(NO_FILE.to_owned(), |r| with_interval(r.rate, r.ci95)));
            }
            table.push(cells)?;
        }
    }
    Ok(table)
}

pub(super) fn clinician(sources: &Sources) -> Result<Table, Error> {
    let mut table = Table::of(
        "Judges against the clinician, 145 mismatches of SPACCC",
        &[
            "judge",
            "accuracy paper",
            "recomputed (95 %)",
            "kappa paper",
            "recomputed (95 %)",
        ],
    );
    for row in &sources.published.clinician {
        let found = sources
            .recomputed
            .clinician
            .iter()
            .find(|c| c.judge == row.judge);
        let [accuracy, kappa] = match found.map(|c| &c.agreement) {
            None => [NO_FILE.to_owned(), NO_FILE.to_owned()],
            Some(agreement) => agreement_cells(agreement),
        };
        table.push(vec![
            row.judge.clone(),
            format!("{:.1}", row.accuracy),
            accuracy,
            format!("{:.3}", row.kappa),
            kappa,
        ])?;
    }
    for own in &sources.judges.agreement {
        let [accuracy, kappa] = agreement_cells(&own.agreement);
        let name = format!("{} (ours)", own.second);
        table.push(vec![
            name,
            NOT_ASKED.to_owned(),
            accuracy,
            NOT_ASKED.to_owned(),
            kappa,
        ])?;
    }
    Ok(table)
}

/// Where wrong answers stand in the hierarchy of their KB, corpora side by side.
pub(super) fn hierarchy(sources: &Sources) -> Result<Table, Error> {
    let mut columns = vec!["the answer is".to_owned()];
    for (name, counts) in &sources.hierarchies {
        columns.push(format!(
            "{}: {} mentions",
            name.replace('_', " "),
            counts.mentions
        ));
        columns.push("of the wrong, % (95 %)".to_owned());
    }
    let title = "Where the answers stand in the hierarchy, seen from the gold concept";
    let mut table = Table::new(title, columns);
    let lists: Vec<Vec<(String, &RelationCount)>> = sources
        .hierarchies
        .iter()
        .map(|(_, counts)| {
            counts
                .relations
                .iter()
                .map(|r| (r.described(), r))
                .collect()
        })
        .collect();
    for line in crate::figures::names_of_any(&lists) {
        let mut cells = vec![line.clone()];
        for list in &lists {
            let found = list.iter().find(|(name, _)| *name == line);
            cells.extend(match found.map(|(_, r)| r) {
                None => ["0".to_owned(), "–".to_owned()],
                Some(r) if r.is_right() => [r.mentions.to_string(), "–".to_owned()],
                Some(r) => [
                    r.mentions.to_string(),
                    with_interval(r.share_of_wrong, r.share_of_wrong_ci95),
                ],
            });
        }
        table.push(cells)?;
    }
    Ok(table)
}

/// Accuracy in percent and kappa, with their intervals.
fn agreement_cells(a: &Agreement) -> [String; 2] {
    let [low, high] = a.kappa_ci95.unwrap_or([a.kappa; 2]);
    [
        with_interval(a.accuracy, a.accuracy_ci95.unwrap_or([a.accuracy; 2])),
        format!("{:.3} ({low:.2}–{high:.2})", a.kappa),
    ]
}

/// Every partition, without and with synthetic data, for both corpora that are at hand.
pub(super) fn strata(sources: &Sources) -> Result<Table, Error> {
    let mut table = Table::of(
        "Recall@1 by stratum, recomputed, in percent",
        &[
            "stratum",
            "MEDLINE mentions",
            "without (95 %)",
            "with (95 %)",
            "SPACCC mentions",
            "without (95 %)",
            "with (95 %)",
        ],
    );
    let report = |corpus: &str, strategy: &str| sources.recomputed.main(corpus, strategy);
    let Some(base) = report("SPACCC", "interleaved") else {
        return Ok(table);
    };
    for (partition, parts) in &base.strata {
        for part in parts.keys() {
            let stratum = |corpus, strategy| -> Option<&Stratum> {
                report(corpus, strategy)?.strata.get(partition)?.get(part)
            };
            let mut cells = vec![format!(
                "{}: {}",
                partition.replace('_', " "),
                part.replace('_', " ")
            )];
            for corpus in ["MEDLINE", "SPACCC"] {
                let rows = stratum(corpus, "human_only").map_or(0, |s| s.rows);
                cells.push(rows.to_string());
                for strategy in ["human_only", "interleaved"] {
                    let value =
                        stratum(corpus, strategy).map(|s| with_interval(s.recall_at_1, s.ci95));
                    cells.push(value.unwrap_or_else(|| "–".to_owned()));
                }
            }
            table.push(cells)?;
        }
    }
    Ok(table)
}

pub(super) fn comparisons(sources: &Sources) -> Result<Table, Error> {
    let mut table = Table::of(
        "Paired differences to human data alone, in points",
        &[
            "corpus",
            "file",
            "difference (95 %)",
            "p bootstrap",
            "p McNemar",
        ],
    );
    for c in &sources.recomputed.comparisons {
        let [low, high] = c.comparison.difference_ci95.map(points);
        let p = |p: f64| {
            if p < 0.001 {
                "< 0.001".to_owned()
            } else {
                format!("{p:.3}")
            }
        };
        table.push(vec![
            c.corpus.clone(),
            c.second.trim_end_matches(".tsv.gz").to_owned(),
            format!("{} ({low} to {high})", points(c.comparison.difference)),
            p(c.p_bootstrap_holm),
            p(c.p_mcnemar_holm),
        ])?;
    }
    for c in &sources.recomputed.not_comparable {
        table.push(vec![
            c.corpus.clone(),
            c.second.trim_end_matches(".tsv.gz").to_owned(),
            "not paired: other ids or gold".to_owned(),
            "–".to_owned(),
            "–".to_owned(),
        ])?;
    }
    Ok(table)
}

pub(super) fn confidence(sources: &Sources) -> Result<Table, Error> {
    let mut table = Table::of(
        "What the two released score columns are worth",
        &[
            "corpus",
            "system",
            "score",
            "zero rows",
            "best F1, %",
            "risk-coverage area (perfect)",
            "calibration error",
        ],
    );
    for system in sources
        .recomputed
        .systems
        .iter()
        .filter(|s| s.main || !s.guided)
    {
        let name = match (system.guided, system.strategy.as_str()) {
            (false, _) => "unguided, without",
            (true, "human_only") => "guided, without",
            (true, _) => "guided, with",
        };
        for score in &system.report.scores {
            table.push(vec![
                system.corpus.clone(),
                name.to_owned(),
                score.column.clone(),
                format!(
                    "{} ({} %)",
                    score.zeros,
                    percent(score.zeros as f64 / system.report.rows as f64)
                ),
                percent(score.best_f1.f1),
                format!("{:.3} ({:.3})", score.aurc, score.aurc_optimal),
                score
                    .calibration
                    .as_ref()
                    .map_or("–".to_owned(), |c| format!("{:.3}", c.ece)),
            ])?;
        }
    }
    Ok(table)
}
