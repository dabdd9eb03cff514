//! Tables and figures over the cells of an experiment, written to the results folder.
//!
//! ```text
//! results/<experiment>/
//!     summary.json       arms with intervals, loss curves, paired comparisons: what everything else is drawn from
//!     metrics.json       every cell with all its metrics and costs
//!     table.md, .csv     one line per arm
//!     comparisons.md, .csv   paired differences between arms, where there are several
//!     recall.svg, .png   recall by arm; loss.svg, .png; sweep and sweep_unseen (.svg, .png) where an axis is a number
//!     README.md          the question, the command, the machine
//! ```

use crate::config::{Experiment, ExperimentFile};
use crate::machine::{Machine, git_revision};
use crate::pipeline::{CellOutput, CellResult, Cost};
use crate::stage::write_atomically;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use syncabel_corpus::predictions::Prediction;
use syncabel_eval::figures::{self, Curve, ShareCurve, SharePoint, Swept};
use syncabel_eval::tables::{ArmSummary, Run, Summary, Table, summarise};
use syncabel_eval::{Correction, Difference, EvalOptions, Scored, TrainingSet, score};

/// Arm of the lexical baseline.
const LEXICAL: &str = "nearest name (TF-IDF)";

/// Everything that tables and figures are drawn from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summaries {
    /// The experiment's name.
    pub name: String,
    /// The question.
    pub description: String,
    /// The command that made it.
    pub command: String,
    /// The commit it was made from.
    pub git_revision: Option<String>,
    /// Where.
    pub machine: Machine,
    /// One entry per arm.
    pub arms: Vec<ArmSummary>,
    /// Value of the numeric axis and label of the line, per arm, where the experiment sweeps over a number.
    pub sweep: Vec<SweepPoint>,
    /// The key of that axis; the human share where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept: Option<String>,
    /// Training loss of the first seed of every arm: step and loss, smoothed over a fiftieth of the run.
    pub losses: Vec<(String, Vec<(f64, f64)>)>,
    /// Every pair of arms, the same seeds on both sides.
    #[serde(default)]
    pub pairs: Vec<ArmPair>,
    /// The commits at which the cells' training and linking ended.
    #[serde(default)]
    pub made_at: Vec<String>,
}

/// Where an arm lies in a sweep over a number.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SweepPoint {
    /// The arm.
    pub arm: String,
    /// The line it belongs to.
    pub line: String,
    /// The value on the x axis.
    pub x: f64,
}

/// A paired comparison of two arms.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ArmPair {
    /// The arm compared with.
    pub first: String,
    /// The arm.
    pub second: String,
    /// Seeds that both have.
    pub seeds: Vec<u64>,
    /// Over all mentions.
    pub all: Difference,
    /// Over mentions of seen concepts; none where the arms were trained on different concepts.
    pub seen: Option<Difference>,
    /// Over mentions of unseen concepts.
    pub unseen: Option<Difference>,
    /// p of `all`, corrected after Holm for all pairs of the experiment.
    pub p_holm: f64,
}

/// The results folder of an experiment: `report.folder` relative to its file, else `results/<name>`.
pub fn folder(file: &ExperimentFile, results: &Path) -> PathBuf {
    match &file.experiment.report.folder {
        Some(folder) => file.folder().join(folder),
        None => results.join(&file.experiment.name),
    }
}

/// Writes everything and returns what a person reads on stdout.
///
/// # Errors
/// Failures to score (no rows) or to write.
pub fn write(experiment: &Experiment, outputs: &[CellOutput], target: &Path) -> Result<String> {
    let summaries = summaries(experiment, outputs)?;
    std::fs::create_dir_all(target)
        .with_context(|| format!("cannot create {}", target.display()))?;
    write_atomically(
        &target.join("summary.json"),
        &serde_json::to_vec_pretty(&summaries)?,
    )?;
    let cells: Vec<&CellResult> = outputs.iter().map(|o| &o.result).collect();
    write_atomically(
        &target.join("metrics.json"),
        &serde_json::to_vec_pretty(&cells)?,
    )?;
    draw(&summaries, target)
}

/// Labels of the cells that the tables in a folder are made of.
pub fn labels_in(target: &Path) -> Vec<String> {
    #[derive(Deserialize)]
    struct Labelled {
        label: String,
    }
    let text = std::fs::read(target.join("metrics.json")).unwrap_or_default();
    let cells: Vec<Labelled> = serde_json::from_slice(&text).unwrap_or_default();
    cells.into_iter().map(|cell| cell.label).collect()
}

/// Draws tables and figures again from `summary.json`.
///
/// # Errors
/// A file that is missing or damaged, or failures to write.
pub fn redraw(target: &Path) -> Result<String> {
    let path = target.join("summary.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let summaries =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    draw(&summaries, target)
}

fn draw(summaries: &Summaries, target: &Path) -> Result<String> {
    // What this experiment does not have must not stay from an earlier run that had it.
    for stem in ["comparisons", "loss", "sweep", "sweep_unseen"] {
        for ending in ["md", "csv", "svg", "png"] {
            let _ = std::fs::remove_file(target.join(format!("{stem}.{ending}")));
        }
    }
    let summary = Summary {
        arms: summaries.arms.clone(),
    };
    let table = summary.table(&format!(
        "{}: {}",
        summaries.name,
        summaries.description.trim()
    ))?;
    table.write(target, "table")?;
    figures::recall_by_strategy(&summary, target, "recall")?;
    let label = |(label, points): &(String, Vec<(f64, f64)>)| Curve {
        label: label.clone(),
        points: points.clone(),
    };
    let losses: Vec<Curve> = summaries.losses.iter().map(label).collect();
    if losses.iter().any(|c| c.points.len() > 1) {
        figures::loss_curves(&losses, target, "loss")?;
    }
    if !summaries.sweep.is_empty() {
        for (stem, unseen) in [("sweep", false), ("sweep_unseen", true)] {
            let curves = sweep_curves(summaries, unseen);
            if !curves.is_empty() {
                figures::sweep(swept(summaries), &curves, target, stem)?;
            }
        }
    }
    let comparisons = comparison_table(summaries)?;
    if !comparisons.rows().is_empty() {
        comparisons.write(target, "comparisons")?;
    }
    write_atomically(
        &target.join("README.md"),
        readme(summaries, &table, &comparisons).as_bytes(),
    )?;
    Ok(format!(
        "{}\n{}",
        table.to_markdown(),
        comparisons.to_markdown()
    ))
}

fn summaries(experiment: &Experiment, outputs: &[CellOutput]) -> Result<Summaries> {
    let options = EvalOptions {
        composite: experiment.eval.composite,
        seen: experiment.eval.seen,
        bootstrap: experiment.eval.bootstrap,
        ..EvalOptions::default()
    };
    let names = arm_names(experiment, outputs);
    let mut arms = lexical_arms(experiment, &names, &options)?;
    let mut sweep = Vec::new();
    let mut losses = Vec::new();
    for (name, group) in &names {
        let first = group[0];
        let runs: Vec<Run<'_>> = group.iter().map(|o| run(name, o)).collect();
        arms.extend(summarise(&runs, Some(&first.training), Some(&first.kb), &options)?.arms);
        losses.push((name.clone(), first.loss.clone()));
        sweep.extend(sweep_point(experiment, name, &first.result));
    }
    Ok(Summaries {
        name: experiment.name.clone(),
        description: experiment.description.clone(),
        command: command(),
        git_revision: git_revision(Path::new(".")),
        machine: Machine::here(),
        arms,
        sweep,
        swept: experiment.report.x.clone(),
        losses,
        pairs: pairs(&names, &options)?,
        made_at: made_at(outputs),
    })
}

/// The lexical baseline, once for all arms that ask for the same, answer alike and have seen the same concepts: an arm that
/// changes the KB or how mentions are marked has a baseline of its own, and so has one that holds other concepts out. Seeds
/// that hold out different ones are as many runs.
fn lexical_arms(
    experiment: &Experiment,
    names: &[(String, Vec<&CellOutput>)],
    options: &EvalOptions,
) -> Result<Vec<ArmSummary>> {
    let mut arms: Vec<ArmSummary> = Vec::new();
    let mut shown: Vec<Vec<Verdicts<'_>>> = Vec::new();
    for (name, group) in names {
        let first = group[0];
        if first.lexical.is_empty() {
            continue;
        }
        let mut verdicts = Vec::new();
        for cell in group {
            verdicts.push(Verdicts::of(cell, options)?);
        }
        // One run stands for seeds that do not differ.
        let alike = verdicts.iter().all(|other| *other == verdicts[0]);
        let cells = if alike { &group[..1] } else { &group[..] };
        verdicts.truncate(cells.len());
        if shown.contains(&verdicts) {
            continue;
        }
        let same_answers = |known: &Vec<Verdicts<'_>>| known[0].answers == verdicts[0].answers;
        let arm = match (shown.is_empty(), shown.iter().any(same_answers)) {
            (true, _) => LEXICAL.to_owned(),
            (false, false) => format!("{LEXICAL}, input of {name}"),
            (false, true) => {
                let swept = swept_value(experiment, &first.result);
                format!(
                    "{LEXICAL}, {}",
                    swept.unwrap_or_else(|| format!("beside {name}"))
                )
            }
        };
        shown.push(verdicts);
        let runs = cells.iter().map(|cell| Run {
            arm: arm.clone(),
            seed: if alike { 0 } else { cell.seed },
            predictions: &cell.lexical,
            training: Some(&cell.training),
            budget: budget(&Cost::default()),
        });
        let runs: Vec<Run<'_>> = runs.collect();
        arms.extend(summarise(&runs, None, Some(&first.kb), options)?.arms);
    }
    Ok(arms)
}

/// What is swept, and the value of this cell.
fn swept_value(experiment: &Experiment, result: &CellResult) -> Option<String> {
    let path = experiment.report.x.as_ref()?;
    let (_, value) = result.settings.iter().find(|(set, _)| set == path)?;
    let key = path.rsplit('.').next().unwrap_or(path);
    Some(format!("{key} {value}"))
}

/// What tells two baselines apart.
#[derive(PartialEq)]
struct Verdicts<'o> {
    /// Gold and predicted code of each mention.
    answers: Vec<(&'o str, &'o str)>,
    /// Whether the concept was seen in training, for each mention that is scored.
    seen: Vec<Option<bool>>,
}

impl<'o> Verdicts<'o> {
    fn of(cell: &'o CellOutput, options: &EvalOptions) -> Result<Self> {
        let training: &TrainingSet = &cell.training;
        let scored = score(&cell.lexical, Some(training), Some(&cell.kb), options)?;
        let answer = |p: &'o Prediction| (p.code.as_str(), p.predicted_code.as_str());
        Ok(Self {
            answers: cell.lexical.iter().map(answer).collect(),
            seen: scored.outcomes.iter().map(|o| o.seen).collect(),
        })
    }
}

/// The distinct commits of the cells, in order of appearance.
fn made_at(outputs: &[CellOutput]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for revision in outputs.iter().flat_map(|o| &o.revisions) {
        if !all.contains(revision) {
            all.push(revision.clone());
        }
    }
    all
}

/// The command as a person would type it: the program by its name, not by where it was built.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("syncabel {}", arguments.join(" "))
}

/// Cells by arm, in order of appearance. An arm is the value of `report.rows` and `report.x`, or of every axis but the
/// seed.
fn arm_names<'o>(
    experiment: &Experiment,
    outputs: &'o [CellOutput],
) -> Vec<(String, Vec<&'o CellOutput>)> {
    let mut arms: Vec<(String, Vec<&CellOutput>)> = Vec::new();
    for output in outputs {
        let name = arm_name(experiment, &output.result);
        match arms.iter_mut().find(|(known, _)| *known == name) {
            Some((_, group)) => group.push(output),
            None => arms.push((name, vec![output])),
        }
    }
    arms
}

fn arm_name(experiment: &Experiment, result: &CellResult) -> String {
    let report = &experiment.report;
    let wanted: Vec<&String> = report.rows.iter().chain(&report.x).collect();
    let shown = |path: &String| {
        if report.rows.is_some() {
            wanted.contains(&path)
        } else {
            path != "seed"
        }
    };
    let parts: Vec<String> = result
        .settings
        .iter()
        .filter(|(path, _)| shown(path))
        .map(|(path, value)| match path.rsplit('.').next() {
            Some(key) if report.x.as_ref() == Some(path) => format!("{key} {value}"),
            _ => value.clone(),
        })
        .collect();
    if parts.is_empty() {
        experiment.composition.strategy.to_string()
    } else {
        parts.join(", ")
    }
}

fn run<'o>(arm: &str, output: &'o CellOutput) -> Run<'o> {
    Run {
        arm: arm.to_owned(),
        seed: output.seed,
        predictions: &output.predictions,
        // Seeds may hold different concepts out.
        training: Some(&output.training),
        budget: budget(&output.result.cost),
    }
}

fn budget(cost: &Cost) -> Vec<(String, String)> {
    [
        ("human rows", cost.human_examples.to_string()),
        ("synthetic rows", cost.synthetic_examples.to_string()),
        ("examples shown", cost.examples_shown.to_string()),
        ("steps", cost.steps.to_string()),
        (
            "training minutes",
            format!("{:.1}", cost.train_seconds / 60.0),
        ),
        ("peak MB", cost.train_peak_mb.to_string()),
        ("mentions/s", format!("{:.1}", cost.mentions_per_second)),
    ]
    .map(|(name, value)| {
        (
            name.to_owned(),
            if cost.steps == 0 {
                "-".to_owned()
            } else {
                value
            },
        )
    })
    .to_vec()
}

/// What the axis of a sweep says.
fn swept(summaries: &Summaries) -> Swept<'_> {
    match summaries.swept.as_deref() {
        None | Some("composition.human_share") => Swept::HUMAN_SHARE,
        Some("composition.unseen_concept_share") => Swept {
            axis: "concepts held out of the human data (%)",
            is_share: true,
        },
        Some(axis) => Swept {
            axis,
            is_share: false,
        },
    }
}

fn sweep_point(experiment: &Experiment, arm: &str, result: &CellResult) -> Option<SweepPoint> {
    let axis = experiment.report.x.as_ref()?;
    let value = |axis: &String| {
        result
            .settings
            .iter()
            .find(|(path, _)| path == axis)
            .map(|(_, v)| v.clone())
    };
    Some(SweepPoint {
        arm: arm.to_owned(),
        // Without an axis for the lines, all that differs besides x and the seed.
        line: experiment
            .report
            .rows
            .as_ref()
            .and_then(value)
            .unwrap_or_else(|| {
                let others = result
                    .settings
                    .iter()
                    .filter(|(path, _)| path != axis && path != "seed");
                let others: Vec<&str> = others.map(|(_, value)| value.as_str()).collect();
                others.join(", ")
            }),
        x: value(axis)?.parse().ok()?,
    })
}

fn sweep_curves(summaries: &Summaries, unseen: bool) -> Vec<ShareCurve> {
    let mut curves: Vec<ShareCurve> = Vec::new();
    for point in &summaries.sweep {
        let Some(arm) = summaries.arms.iter().find(|a| a.arm == point.arm) else {
            continue;
        };
        // An arm that has seen every concept has no recall of unseen ones to draw.
        let score = if unseen { arm.unseen } else { Some(arm.all) };
        let Some(score) = score.filter(|score| score.rows > 0) else {
            continue;
        };
        let at = SharePoint {
            share: point.x,
            recall: score.mean,
            ci95: score.ci95,
        };
        match curves.iter_mut().find(|c| c.label == point.line) {
            Some(curve) => curve.points.push(at),
            None => curves.push(ShareCurve {
                label: point.line.clone(),
                points: vec![at],
            }),
        }
    }
    curves
}

/// Every pair of arms, over the seeds that both have.
fn pairs(arms: &[(String, Vec<&CellOutput>)], options: &EvalOptions) -> Result<Vec<ArmPair>> {
    use syncabel_eval::Error::{DifferentGold, DifferentMentions};
    let options = EvalOptions {
        deduplicate: true,
        ..options.clone()
    };
    let of_cell = |o: &&CellOutput| -> Result<(u64, Scored)> {
        let scored = score(&o.predictions, Some(&o.training), Some(&o.kb), &options)?;
        Ok((o.seed, scored))
    };
    let scored: Vec<Vec<(u64, Scored)>> = arms
        .iter()
        .map(|(_, group)| group.iter().map(of_cell).collect::<Result<Vec<_>>>())
        .collect::<Result<_>>()?;
    let count = arms.len() * arms.len().saturating_sub(1) / 2;
    let bootstrap = options.bootstrap.for_comparisons(count);
    let mut all = Vec::new();
    for (b, later) in scored.iter().enumerate() {
        for (a, earlier) in scored[..b].iter().enumerate() {
            let both: Vec<(u64, (&Scored, &Scored))> = earlier
                .iter()
                .filter_map(|(seed, first)| {
                    let (_, second) = later.iter().find(|(other, _)| other == seed)?;
                    Some((*seed, (first, second)))
                })
                .collect();
            if both.is_empty() {
                continue;
            }
            let (first, second) = (arms[a].0.clone(), arms[b].0.clone());
            let systems: Vec<(&Scored, &Scored)> = both.iter().map(|(_, pair)| *pair).collect();
            match syncabel_eval::compare_seeds(&systems, bootstrap) {
                Ok([Some(over_all), seen, unseen]) => all.push(ArmPair {
                    first,
                    second,
                    seeds: both.iter().map(|(seed, _)| *seed).collect(),
                    all: over_all,
                    seen,
                    unseen,
                    p_holm: 1.0,
                }),
                Ok(_) => {}
                // Arms may differ in KB or groups; after all the training that is no reason to show nothing.
                Err(error @ (DifferentMentions { .. } | DifferentGold { .. })) => {
                    tracing::warn!("{first} and {second} are not compared: {error}");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    let p: Vec<f64> = all.iter().map(|pair| pair.all.p_bootstrap).collect();
    for (pair, p) in all.iter_mut().zip(Correction::Holm.adjust(&p)) {
        pair.p_holm = p;
    }
    Ok(all)
}

fn comparison_table(summaries: &Summaries) -> Result<Table> {
    let columns = [
        "arm",
        "minus",
        "seeds",
        "all, points",
        "95 %",
        "p",
        "p (Holm)",
        "seen, points",
        "seen 95 %",
        "unseen, points",
        "unseen 95 %",
    ];
    let mut table = Table::new(
        "Differences of all pairs of arms, paired by seed and mention; p is that of all mentions, Holm over all pairs",
        columns.map(String::from).to_vec(),
    );
    let points = |x: f64| format!("{:+.1}", 100.0 * x);
    let cells = |difference: Option<Difference>| match difference {
        Some(d) => [
            points(d.difference),
            format!("{} to {}", points(d.ci95[0]), points(d.ci95[1])),
        ],
        None => Default::default(),
    };
    for pair in &summaries.pairs {
        let mut row = vec![
            pair.second.clone(),
            pair.first.clone(),
            pair.seeds.len().to_string(),
        ];
        row.extend(cells(Some(pair.all)));
        row.extend([
            format!("{:.4}", pair.all.p_bootstrap),
            format!("{:.4}", pair.p_holm),
        ]);
        row.extend(cells(pair.seen));
        row.extend(cells(pair.unseen));
        table.push(row)?;
    }
    Ok(table)
}

fn readme(summaries: &Summaries, table: &Table, comparisons: &Table) -> String {
    let Machine {
        cpu,
        cpus,
        memory_mib,
        os,
        syncabel,
        burn,
    } = &summaries.machine;
    let scored_at = summaries.git_revision.as_deref().unwrap_or("unknown");
    let made_at = match summaries.made_at.is_empty() {
        true => "unknown".to_owned(),
        false => summaries.made_at.join(", "),
    };
    let mut text = format!(
        "# {}\n\n{}\n\n```\n{}\n```\n\nTrained and linked at revision {made_at}, scored at {scored_at}; syncabel {syncabel}, burn {burn}, {cpu} ({cpus} processors, \
         {} GiB, {os}). Intervals: 95 %, document-level bootstrap; with several seeds a replicate draws seeds as well.\n\n",
        summaries.name,
        summaries.description.trim(),
        summaries.command,
        memory_mib / 1024,
    );
    text.push_str(&table.to_markdown());
    text.push_str("\n![Recall by arm](recall.svg)\n");
    if !summaries.sweep.is_empty() {
        text.push_str("\n![Recall over the swept value](sweep.svg)\n");
        if !sweep_curves(summaries, true).is_empty() {
            text.push_str("\n![The same, unseen concepts](sweep_unseen.svg)\n");
        }
    }
    if !comparisons.rows().is_empty() {
        text.push('\n');
        text.push_str(&comparisons.to_markdown());
    }
    if summaries.losses.iter().any(|(_, points)| points.len() > 1) {
        text.push_str("\n![Training loss](loss.svg)\n");
    }
    text
}

/// Step and loss, averaged over windows of a fiftieth of the run, so that a figure shows a trend and a file stays small.
pub fn smoothed(losses: &[(u64, f64)]) -> Vec<(f64, f64)> {
    let window = losses.len().div_ceil(50).max(1);
    let mean = |chunk: &[(u64, f64)]| {
        let loss = chunk.iter().map(|(_, loss)| loss).sum::<f64>() / chunk.len() as f64;
        (chunk[chunk.len() - 1].0 as f64, loss)
    };
    losses.chunks(window).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_averaged_in_windows() {
        let losses: Vec<(u64, f64)> = (1..=100).map(|i| (i, i as f64)).collect();
        let smooth = smoothed(&losses);
        assert_eq!(smooth.len(), 50);
        assert_eq!(smooth[0], (2.0, 1.5));
        assert!(smoothed(&[]).is_empty());
    }
}
