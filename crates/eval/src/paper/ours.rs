//! Tables of our own runs, across experiments.

use super::Sources;
use super::experiments::{Experiment, Pair};
use super::tables::{NOT_KNOWN, NOT_RUN, strategy_name, with_interval};
use crate::Error;
use crate::cells::points;
use crate::published::STRATEGIES;
use crate::tables::{Aggregate, ArmSummary, Table};

/// What an arm that takes the nearest names as answers too is called, after its composition.
const NEAREST: &str = "nearest names";

/// The parts of the mentions that every run is scored on.
const STRATA: [&str; 3] = ["all", "seen", "unseen"];

/// An arm's way of composing training data, and what its name says after that.
///
/// Configurations name their arms freely, `human_only` as well as `human only, nearest names`.
pub(super) fn composition_of(arm: &str) -> Option<(&'static str, &str)> {
    let (name, rest) = arm.split_once(", ").unwrap_or((arm, ""));
    let name = name.replace(' ', "_");
    let strategy = STRATEGIES.into_iter().find(|s| *s == name)?;
    Some((strategy, rest))
}

/// An arm's name as the report writes it.
pub(super) fn arm_name(arm: &str) -> String {
    match composition_of(arm) {
        None => arm.to_owned(),
        Some((strategy, "")) => strategy_name(strategy).to_owned(),
        Some((strategy, rest)) => {
            format!("{}, {}", strategy_name(strategy), rest.replace('_', " "))
        }
    }
}

fn arm<'e>(experiment: &'e Experiment, strategy: &str, rest: &str) -> Option<&'e ArmSummary> {
    let wanted = Some((strategy, rest));
    experiment
        .arms
        .iter()
        .find(|a| composition_of(&a.arm) == wanted)
}

fn stratum(arm: &ArmSummary, name: &str) -> Option<Aggregate> {
    let part = match name {
        "seen" => arm.seen,
        "unseen" => arm.unseen,
        _ => Some(arm.all),
    };
    part.filter(|p| p.rows > 0)
}

fn score(part: Option<Aggregate>) -> String {
    part.map_or("–".to_owned(), |p| with_interval(p.mean, p.ci95))
}

/// Our runs by strategy: every experiment that has at least two of them.
pub(super) fn composition(sources: &Sources) -> Result<Table, Error> {
    let mut columns = ["experiment", "concepts", "mentions"]
        .map(str::to_owned)
        .to_vec();
    columns.extend(STRATEGIES.iter().map(|s| strategy_name(s).to_owned()));
    let mut table = Table::new("Our runs: recall@1 in percent (95 %)", columns);
    for experiment in &sources.experiments {
        let arms = STRATEGIES.map(|strategy| arm(experiment, strategy, ""));
        let Some(first) = arms.iter().flatten().next() else {
            continue;
        };
        if arms.iter().flatten().count() < 2 {
            continue;
        }
        for name in STRATA {
            let Some(part) = stratum(first, name) else {
                continue;
            };
            let mut cells = vec![
                experiment.folder.clone(),
                name.to_owned(),
                part.rows.to_string(),
            ];
            let cell = |arm: Option<&ArmSummary>| {
                arm.map_or(NOT_RUN.to_owned(), |arm| score(stratum(arm, name)))
            };
            cells.extend(arms.map(cell));
            table.push(cells)?;
        }
    }
    if table.rows().is_empty() {
        let mut cells = vec!["none yet".to_owned(), String::new(), String::new()];
        cells.extend(STRATEGIES.map(|_| NOT_RUN.to_owned()));
        table.push(cells)?;
    }
    Ok(table)
}

/// The same models with and without the nearest names as answers.
pub(super) fn nearest_names(sources: &Sources) -> Result<Table, Error> {
    let columns = [
        "experiment",
        "composition",
        "concepts",
        "model alone",
        "with nearest names",
        "difference (95 %)",
    ];
    let mut table = Table::of(
        "Nearest names as answers, recall@1 in percent (95 %)",
        &columns,
    );
    for experiment in &sources.experiments {
        for strategy in STRATEGIES {
            let arms = ["", NEAREST].map(|rest| arm(experiment, strategy, rest));
            let [Some(alone), Some(with)] = arms else {
                continue;
            };
            for name in STRATA {
                table.push(vec![
                    experiment.folder.clone(),
                    strategy_name(strategy).to_owned(),
                    name.to_owned(),
                    score(stratum(alone, name)),
                    score(stratum(with, name)),
                    difference(experiment, &alone.arm, &with.arm, name),
                ])?;
            }
        }
    }
    if table.rows().is_empty() {
        table.push(columns.map(|_| NOT_RUN.to_owned()).to_vec())?;
    }
    Ok(table)
}

/// The second arm minus the first, as the experiment's own paired test has it.
fn difference(experiment: &Experiment, first: &str, second: &str, stratum: &str) -> String {
    let same = |p: &&Pair| p.first == first && p.second == second;
    let pair = experiment.pairs.iter().find(same);
    let part = pair.and_then(|p| match stratum {
        "seen" => p.seen,
        "unseen" => p.unseen,
        _ => Some(p.all),
    });
    part.map_or("–".to_owned(), |d| {
        let [low, high] = d.ci95.map(points);
        format!("{} ({low} to {high})", points(d.difference))
    })
}

/// How much human data suffices with synthetic data: the paper's statement, and the same reading of our sweep.
pub(super) fn human_share(sources: &Sources) -> Result<Table, Error> {
    let mut table = Table::of(
        "Smallest share of the human rows at which interleaving reaches the score of all human rows alone",
        &[
            "corpus",
            "share",
            "smallest share tried",
            "interleaved there",
            "human only, all rows",
            "difference (95 %)",
        ],
    );
    for row in &sources.published.human_share {
        let mut cells = vec![
            format!("{} (paper)", super::tables::corpus_name(&row.corpus)),
            format!("about {:.0} %", row.share),
        ];
        cells.extend([0; 4].map(|_| NOT_KNOWN.to_owned()));
        table.push(cells)?;
    }
    for experiment in sources
        .experiments
        .iter()
        .filter(|e| e.sweeps_human_share())
    {
        if let Some(cells) = crossing(experiment) {
            table.push(cells)?;
        }
    }
    Ok(table)
}

/// Where the line of interleaving first reaches the last point of the line of human data alone.
fn crossing(experiment: &Experiment) -> Option<Vec<String>> {
    let human = experiment.line("human_only");
    let interleaved = experiment.line("interleaved");
    let (smallest, _) = interleaved.first()?;
    let share = |x: f64| format!("{:.0} %", 100.0 * x);
    let mut cells = vec![format!("{} (ours)", experiment.folder)];
    // What is to be reached is the score of all human rows, which a sweep may have left out.
    let Some((_, full)) = human.last().filter(|(x, _)| *x >= 1.0) else {
        cells.push("all human rows not run".to_owned());
        cells.push(share(*smallest));
        cells.extend([0; 3].map(|_| "–".to_owned()));
        return Some(cells);
    };
    let reached = interleaved
        .iter()
        .find(|(_, arm)| arm.all.mean >= full.all.mean);
    match reached {
        None => cells.extend(["not reached".to_owned(), share(*smallest), "–".to_owned()]),
        Some((x, arm)) => cells.extend([share(*x), share(*smallest), score(Some(arm.all))]),
    }
    cells.push(score(Some(full.all)));
    cells.push(reached.map_or("–".to_owned(), |(_, arm)| {
        difference(experiment, &full.arm, &arm.arm, "all")
    }));
    Some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crossing_is_only_told_where_all_human_rows_were_run() {
        use crate::paper::experiments::tests::sweep_of;
        let whole = crossing(&sweep_of("whole", None, &[0.2, 0.8, 1.0])).unwrap();
        assert_eq!(whole[1..3], ["80 %", "20 %"]);
        let part = crossing(&sweep_of("part", None, &[0.2, 0.8])).unwrap();
        assert_eq!(part[1..3], ["all human rows not run", "20 %"]);
        assert_eq!(part.len(), whole.len());
    }

    #[test]
    fn arms_are_found_however_they_are_written() {
        assert_eq!(composition_of("human only"), Some(("human_only", "")));
        assert_eq!(composition_of("human_only"), Some(("human_only", "")));
        let with = composition_of("synthetic only, nearest names");
        assert_eq!(with, Some(("synthetic_only", NEAREST)));
        assert_eq!(composition_of("nearest name (TF-IDF)"), None);
        assert_eq!(composition_of("language model, filtered"), None);
        assert_eq!(
            arm_name("human_only, human_share 0.2"),
            "Human only, human share 0.2"
        );
        assert_eq!(arm_name("transplant"), "transplant");
    }
}
