//! Our own runs: a section each, with command and cost.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::read_json;
use crate::figures::{ShareCurve, SharePoint};
use crate::tables::{ArmSummary, Summary, typst};
use crate::{Difference, Error};

/// What `results/<experiment>/summary.json` says, as far as the report needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct Experiment {
    /// Name of the folder under `results/`.
    #[serde(skip)]
    pub folder: String,
    /// The experiment's name.
    pub name: String,
    /// The question.
    pub description: String,
    /// The command that made it.
    pub command: String,
    /// The commit it was made from.
    #[serde(default)]
    pub git_revision: Option<String>,
    /// The commits at which its training and linking ended.
    #[serde(default)]
    pub made_at: Vec<String>,
    /// Where it ran.
    #[serde(default)]
    pub machine: Option<Machine>,
    /// One entry per arm.
    pub arms: Vec<ArmSummary>,
    /// Where each arm lies in a sweep over a number.
    #[serde(default)]
    pub sweep: Vec<SweepPoint>,
    /// The key that is swept.
    #[serde(default)]
    pub swept: Option<String>,
    /// Paired differences of its arms; older summaries have none.
    #[serde(default)]
    pub pairs: Vec<Pair>,
    /// Whether its folder holds a figure of the recalls.
    #[serde(skip)]
    pub has_figure: bool,
}

/// Where an experiment ran.
#[derive(Debug, Clone, Deserialize)]
pub struct Machine {
    /// Processor.
    pub cpu: String,
    /// Number of processors.
    pub cpus: usize,
    /// Memory.
    pub memory_mib: u64,
}

/// A point of a sweep.
#[derive(Debug, Clone, Deserialize)]
pub struct SweepPoint {
    /// The arm.
    pub arm: String,
    /// The line it belongs to.
    pub line: String,
    /// The value on the x axis.
    pub x: f64,
}

/// Two arms on the same seeds and mentions.
#[derive(Debug, Clone, Deserialize)]
pub struct Pair {
    /// The arm that is subtracted.
    pub first: String,
    /// The arm it is subtracted from.
    pub second: String,
    /// All mentions.
    pub all: Difference,
    /// Mentions of concepts seen in training.
    #[serde(default)]
    pub seen: Option<Difference>,
    /// Mentions of concepts not seen in training.
    #[serde(default)]
    pub unseen: Option<Difference>,
}

impl Experiment {
    /// The arms of one line of the sweep, by the value that is swept.
    pub(super) fn line(&self, line: &str) -> Vec<(f64, &ArmSummary)> {
        let of_line = self.sweep.iter().filter(|point| point.line == line);
        let mut arms: Vec<_> = of_line
            .filter_map(|point| {
                let arm = self.arms.iter().find(|a| a.arm == point.arm)?;
                Some((point.x, arm))
            })
            .collect();
        arms.sort_by(|a, b| a.0.total_cmp(&b.0));
        arms
    }

    /// Whether its sweep is over the share of the human rows.
    pub(super) fn sweeps_human_share(&self) -> bool {
        // Summaries that do not say what is swept are of a time when nothing else was.
        let swept = self.swept.as_deref().unwrap_or(HUMAN_SHARE);
        swept == HUMAN_SHARE && !self.sweep.is_empty()
    }
}

/// All folders of `results/` with a summary, in alphabetical order.
pub(super) fn read_all(results: &Path) -> Result<Vec<Experiment>, Error> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(results).map_err(Error::io(results))? {
        folders.push(entry.map_err(Error::io(results))?.path());
    }
    folders.sort();
    let mut experiments = Vec::new();
    for folder in folders {
        let path = folder.join("summary.json");
        if path.is_file() {
            let mut experiment: Experiment = read_json(&path)?;
            experiment.folder = folder
                .file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            experiment.has_figure = folder.join("recall.svg").is_file();
            experiments.push(experiment);
        }
    }
    Ok(experiments)
}

/// The key of the human share.
const HUMAN_SHARE: &str = "composition.human_share";

/// The sweep over the human share: lines of the experiments that have one, each experiment's for themselves. Where there are
/// several, lines say what their folders do not begin with in common.
pub(super) fn sweep(experiments: &[Experiment]) -> Vec<ShareCurve> {
    let mut curves: Vec<ShareCurve> = Vec::new();
    let sweeping = || experiments.iter().filter(|e| e.sweeps_human_share());
    let common = common_beginning(sweeping().map(|e| e.folder.as_str()));
    for experiment in sweeping() {
        for point in &experiment.sweep {
            let Some(arm) = experiment.arms.iter().find(|a| a.arm == point.arm) else {
                continue;
            };
            let line = super::tables::strategy_name(&point.line);
            let own = experiment.folder[common..].trim_matches('_');
            let label = match own.is_empty() {
                true => line.to_owned(),
                false => format!("{line}, {}", own.replace('_', " ")),
            };
            let at = SharePoint {
                share: point.x,
                recall: arm.all.mean,
                ci95: arm.all.ci95,
            };
            match curves.iter_mut().find(|c| c.label == label) {
                Some(curve) => curve.points.push(at),
                None => curves.push(ShareCurve {
                    label,
                    points: vec![at],
                }),
            }
        }
    }
    curves
}

/// Bytes of whole words, `_` between them, that all names begin with; all of a single name.
fn common_beginning<'n>(mut names: impl Iterator<Item = &'n str>) -> usize {
    let Some(first) = names.next() else { return 0 };
    names.fold(first.len(), |common, name| {
        let words = first[..common].split('_').zip(name.split('_'));
        let alike = words.take_while(|(a, b)| a == b);
        let bytes: usize = alike.map(|(word, _)| word.len() + 1).sum();
        bytes.saturating_sub(1)
    })
}

/// A section per experiment.
pub(super) fn sections(experiments: &[Experiment]) -> Result<String, Error> {
    if experiments.is_empty() {
        return Ok("No run of ours is committed yet.\n".to_owned());
    }
    let mut text = String::new();
    for experiment in experiments {
        text.push_str(&section(experiment)?);
    }
    Ok(text)
}

fn section(experiment: &Experiment) -> Result<String, Error> {
    let mut summary = Summary {
        arms: experiment.arms.clone(),
    };
    for arm in &mut summary.arms {
        arm.arm = super::ours::arm_name(&arm.arm);
    }
    let machine = experiment.machine.as_ref().map_or_else(
        || "an unknown machine".to_owned(),
        |m| {
            format!(
                "{}, {} processors, {} GiB",
                m.cpu,
                m.cpus,
                m.memory_mib / 1024
            )
        },
    );
    let made_at = experiment.made_at.iter();
    let revisions = made_at.chain(
        experiment
            .git_revision
            .iter()
            .filter(|_| experiment.made_at.is_empty()),
    );
    let revisions: Vec<String> = revisions.map(|r| short_revision(r)).collect();
    let revision = match revisions.is_empty() {
        true => "unknown".to_owned(),
        false => revisions.join(", "),
    };
    let picture = match experiment.has_figure {
        false => String::new(),
        true => {
            let path = format!("/results/{}/recall.svg", experiment.folder);
            format!("#figure(image({path:?}, width: 100%))\n\n")
        }
    };
    Ok(format!(
        "== {}\n\n{}\n\n#raw({:?}, block: true)\n\nRevision {}, on {}.\n\n#text(size: 6.5pt)[\n{}]\n\n{}",
        typst(&experiment.folder),
        typst(experiment.description.trim()),
        experiment.command,
        typst(&revision),
        typst(&machine),
        cost_table(&summary)?.to_typst(),
        picture,
    ))
}

/// The first digits, and whether there were changes that no commit holds.
fn short_revision(revision: &str) -> String {
    let (commit, dirty) = match revision.strip_suffix("-dirty") {
        Some(commit) => (commit, "-dirty"),
        None => (revision, ""),
    };
    format!("{}{dirty}", commit.get(..9).unwrap_or(commit))
}

/// Scores with intervals and what they cost; the range over seeds is left to the results folder.
fn cost_table(summary: &Summary) -> Result<crate::tables::Table, Error> {
    let score = |a: Option<crate::tables::Aggregate>| match a.filter(|a| a.rows > 0) {
        None => "–".to_owned(),
        Some(a) => {
            let [low, high] = a.ci95.map(crate::cells::percent);
            format!("{} ({low}–{high})", crate::cells::percent(a.mean))
        }
    };
    let mut budget: Vec<&str> = Vec::new();
    for (name, _) in summary.arms.iter().flat_map(|arm| &arm.budget) {
        if !budget.contains(&name.as_str()) {
            budget.push(name);
        }
    }
    let columns = ["arm", "seeds", "all (95 %)", "seen (95 %)", "unseen (95 %)"];
    let columns = columns
        .into_iter()
        .chain(budget.iter().copied())
        .map(str::to_owned);
    let mut table = crate::tables::Table::new("", columns.collect());
    for arm in &summary.arms {
        let value = |name: &&str| {
            let cell = arm.budget.iter().find(|(n, _)| n == name);
            cell.map_or("–".to_owned(), |(_, value)| value.clone())
        };
        let mut cells = vec![
            arm.arm.clone(),
            arm.seeds.len().to_string(),
            score(Some(arm.all)),
            score(arm.seen),
            score(arm.unseen),
        ];
        cells.extend(budget.iter().map(value));
        table.push(cells)?;
    }
    Ok(table)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A sweep of two strategies over these shares; human data alone has a recall of half its share, interleaving a tenth more.
    pub(in crate::paper) fn sweep_of(
        folder: &str,
        swept: Option<&str>,
        shares: &[f64],
    ) -> Experiment {
        let mut arms = Vec::new();
        let mut points = Vec::new();
        for (line, more) in [("human_only", 0.0), ("interleaved", 0.1)] {
            for share in shares {
                let arm = format!("{line}, share {share}");
                let recall = share / 2.0 + more;
                let all = serde_json::json!({"rows": 10, "mean": recall, "min": recall, "max": recall, "ci95": [recall, recall]});
                arms.push(serde_json::json!({"arm": arm, "seeds": [1], "all": all, "seen": null, "unseen": null, "budget": []}));
                points.push(serde_json::json!({"arm": arm, "line": line, "x": share}));
            }
        }
        let mut experiment: Experiment = serde_json::from_value(serde_json::json!({
            "name": folder, "description": "", "command": "", "arms": arms, "sweep": points, "swept": swept,
        }))
        .unwrap();
        experiment.folder = folder.to_owned();
        experiment
    }

    #[test]
    fn each_experiment_draws_its_own_lines() {
        let shares = [0.2, 1.0];
        let experiments = [
            sweep_of("human_ratio", None, &shares),
            sweep_of("human_ratio_sampled", Some(HUMAN_SHARE), &shares),
            sweep_of("human_rates", Some("train.learning_rate"), &shares),
        ];
        let curves = sweep(&experiments);
        let labels: Vec<&str> = curves.iter().map(|curve| curve.label.as_str()).collect();
        let (human, interleaved) = (
            crate::paper::tables::strategy_name("human_only"),
            crate::paper::tables::strategy_name("interleaved"),
        );
        let sampled = [human, interleaved].map(|line| format!("{line}, sampled"));
        assert_eq!(labels, [human, interleaved, &sampled[0], &sampled[1]]);
        for curve in &curves {
            let x: Vec<f64> = curve.points.iter().map(|point| point.share).collect();
            assert_eq!(x, shares, "{}", curve.label);
        }
    }

    #[test]
    fn what_names_begin_with_in_common() {
        assert_eq!(common_beginning(["ab"].into_iter()), 2);
        assert_eq!(common_beginning(["née_a", "née_b"].into_iter()), 4);
        assert_eq!(common_beginning(["x", "x_b"].into_iter()), 1);
        assert_eq!(common_beginning(["x_ratio", "x_rates"].into_iter()), 1);
        assert_eq!(common_beginning(["a", "b"].into_iter()), 0);
        assert_eq!(common_beginning([].into_iter()), 0);
    }
}
