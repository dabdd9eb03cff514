//! Which concept holds which name in which group.

use super::{BuildOptions, BuildReport, CleanConcept, DecisionKind};
use crate::RawConcept;

/// One (group, name) of the finished KB; they come sorted by (group, bytes of the name).
pub(super) struct Kept<'a> {
    pub(super) group: u32,
    pub(super) name: &'a str,
    pub(super) concept: u32,
    pub(super) preferred: bool,
}

/// A concept's claim to a name inside one group.
struct Row<'a> {
    name: &'a str,
    concept: u32,
    preferred: bool,
    kept: bool,
}

/// Disambiguates group after group. The result is strictly ascending by (group, name), which is
/// the promise that a name leads to one concept.
pub(super) fn run<'a>(
    concepts: &[RawConcept],
    clean: &'a [CleanConcept],
    groups: &[String],
    options: &BuildOptions,
    report: &mut BuildReport,
) -> Vec<Kept<'a>> {
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); groups.len()];
    for (concept, raw) in (0u32..).zip(concepts) {
        for group in &raw.groups {
            if let Ok(group) = groups.binary_search(group) {
                members[group].push(concept);
            }
        }
    }
    let mut kept = Vec::new();
    for (group, members) in (0u32..).zip(members) {
        let mut one = Group::new(clean, &members, concepts, &groups[group as usize]);
        one.disambiguate(options, report);
        one.count_outcome(&members, clean, report);
        kept.extend(one.rows.iter().filter(|row| row.kept).map(|row| Kept {
            group,
            name: row.name,
            concept: row.concept,
            preferred: row.preferred,
        }));
    }
    kept
}

/// Among which rows casing is compared.
#[derive(Clone, Copy)]
enum Scope {
    OneConcept,
    WholeGroup,
}

/// The rows of one group, ascending by (name, concept), and which concepts hold a name already.
struct Group<'a, 'r> {
    rows: Vec<Row<'a>>,
    /// Number of kept names, by concept.
    held: Vec<u32>,
    concepts: &'r [RawConcept],
    group: &'r str,
}

impl<'a, 'r> Group<'a, 'r> {
    fn new(
        clean: &'a [CleanConcept],
        members: &[u32],
        concepts: &'r [RawConcept],
        group: &'r str,
    ) -> Self {
        use rayon::slice::ParallelSliceMut;
        let mut rows: Vec<Row<'a>> = members
            .iter()
            .flat_map(|&concept| {
                let CleanConcept { names, preferred } = &clean[concept as usize];
                names.iter().map(move |name| Row {
                    name,
                    concept,
                    preferred: name == preferred,
                    kept: false,
                })
            })
            .collect();
        rows.par_sort_unstable_by(|a, b| (a.name, a.concept).cmp(&(b.name, b.concept)));
        Self {
            rows,
            held: vec![0; concepts.len()],
            concepts,
            group,
        }
    }

    fn disambiguate(&mut self, options: &BuildOptions, report: &mut BuildReport) {
        self.keep(DecisionKind::KeptLevel0, report, |_, run| match run {
            [only] => Some(only.concept),
            _ => None,
        });
        if options.level_1 {
            self.keep(DecisionKind::KeptLevel1, report, |held, run| {
                let mut unserved = run.iter().filter(|row| held[row.concept as usize] == 0);
                let first = unserved.next()?;
                unserved.next().is_none().then_some(first.concept)
            });
        }
        if options.level_2 {
            self.keep(DecisionKind::KeptLevel2, report, |held, run| {
                let mut unserved = run.iter().filter(|row| held[row.concept as usize] == 0);
                unserved.next().map(|row| row.concept)
            });
        }
        if options.restore_preferred {
            self.keep(DecisionKind::PreferredRestored, report, |held, run| {
                let claims = run.iter().filter(|row| row.preferred);
                // `min_by_key` takes the first of equals, and rows ascend by concept.
                let first = claims.min_by_key(|row| held[row.concept as usize] > 0)?;
                Some(first.concept)
            });
        }
        self.count_dropped(report);
        if options.drop_capitals {
            self.drop_capitals(report);
        }
        if options.twins_to_preferred {
            self.twins_to_preferred(report);
        }
        if options.drop_capital_twins {
            self.drop_capital_twins(report);
        }
    }

    /// One pass: asks `choose` who gets each name that nobody holds. It sees who held a name
    /// *before* the pass, so that the order of names has no say.
    fn keep(
        &mut self,
        kind: DecisionKind,
        report: &mut BuildReport,
        choose: impl Fn(&[u32], &[Row<'a>]) -> Option<u32>,
    ) {
        let (held, concepts, group) = (&self.held, self.concepts, self.group);
        let mut won = Vec::new();
        for run in self.rows.chunk_by_mut(|a, b| a.name == b.name) {
            if run.iter().any(|row| row.kept) {
                continue;
            }
            let Some(concept) = choose(held, run) else {
                continue;
            };
            for row in run.iter_mut().filter(|row| row.concept == concept) {
                row.kept = true;
                won.push(concept);
                report.count(kind, || sample(group, concepts, row));
            }
        }
        for concept in won {
            self.held[concept as usize] += 1;
        }
    }

    fn count_dropped(&self, report: &mut BuildReport) {
        for row in self.rows.iter().filter(|row| !row.kept) {
            report.count(DecisionKind::AmbiguousDropped, || {
                sample(self.group, self.concepts, row)
            });
        }
    }

    /// Drops `ASTHMA` where the concept also holds `Asthma`, which then inherits being preferred.
    fn drop_capitals(&mut self, report: &mut BuildReport) {
        for twins in self.case_twins(Scope::OneConcept) {
            let (capitals, others): (Vec<usize>, Vec<usize>) = twins
                .into_iter()
                .partition(|&row| is_capitals(self.rows[row].name));
            let Some(&heir) = others.first() else {
                continue;
            };
            for row in capitals {
                if self.rows[row].preferred {
                    self.rows[row].preferred = false;
                    self.rows[heir].preferred = true;
                }
                self.drop_row(row, DecisionKind::CapitalsDropped, report);
            }
        }
    }

    /// Of twins, the names of concepts that prefer another name go, if exactly one concept prefers its own.
    fn twins_to_preferred(&mut self, report: &mut BuildReport) {
        for twins in self.case_twins(Scope::WholeGroup) {
            let mut preferring = twins.iter().filter(|&&row| self.rows[row].preferred);
            let Some(owner) = preferring.next().map(|&row| self.rows[row].concept) else {
                continue;
            };
            if preferring.any(|&row| self.rows[row].concept != owner) {
                continue;
            }
            for row in twins {
                let Row { concept, .. } = self.rows[row];
                if concept != owner && self.held[concept as usize] > 1 {
                    self.drop_row(row, DecisionKind::TwinToPreferred, report);
                }
            }
        }
    }

    /// Drops `ASTHMA` where another concept holds `Asthma`, unless nothing else would be left.
    fn drop_capital_twins(&mut self, report: &mut BuildReport) {
        for twins in self.case_twins(Scope::WholeGroup) {
            if twins.iter().all(|&row| is_capitals(self.rows[row].name)) {
                continue;
            }
            for row in twins {
                let spare = self.held[self.rows[row].concept as usize] > 1;
                if is_capitals(self.rows[row].name) && spare {
                    self.drop_row(row, DecisionKind::CapitalTwinDropped, report);
                }
            }
        }
    }

    fn drop_row(&mut self, index: usize, kind: DecisionKind, report: &mut BuildReport) {
        let row = &mut self.rows[index];
        row.kept = false;
        self.held[row.concept as usize] -= 1;
        report.count(kind, || sample(self.group, self.concepts, row));
    }

    /// Kept rows that differ in casing only, at least two at a time, each lot ascending by name.
    fn case_twins(&self, scope: Scope) -> Vec<Vec<usize>> {
        let mut keyed: Vec<(String, u32, usize)> = (0..self.rows.len())
            .filter(|&index| self.rows[index].kept)
            .map(|index| {
                let row = &self.rows[index];
                let concept = match scope {
                    Scope::OneConcept => row.concept,
                    Scope::WholeGroup => 0,
                };
                (row.name.to_lowercase(), concept, index)
            })
            .collect();
        keyed.sort_unstable();
        keyed
            .chunk_by(|a, b| (&a.0, a.1) == (&b.0, b.1))
            .filter(|lot| lot.len() > 1)
            .map(|lot| lot.iter().map(|&(_, _, index)| index).collect())
            .collect()
    }

    fn count_outcome(&self, members: &[u32], clean: &[CleanConcept], report: &mut BuildReport) {
        for &concept in members {
            if self.held[concept as usize] == 0 {
                report.count(DecisionKind::WithoutName, || {
                    let raw = &self.concepts[concept as usize];
                    format!(
                        "{} {:?} ({})",
                        raw.code, clean[concept as usize].preferred, self.group
                    )
                });
            }
        }
        for run in self.rows.chunk_by(|a, b| a.name == b.name) {
            let Some(holder) = run.iter().find(|row| row.kept) else {
                continue;
            };
            for loser in run.iter().filter(|row| row.preferred && !row.kept) {
                report.count(DecisionKind::PreferredLost, || {
                    let to = &self.concepts[holder.concept as usize].code;
                    format!("{} leads to {to}", sample(self.group, self.concepts, loser))
                });
            }
        }
        for twins in self.case_twins(Scope::WholeGroup) {
            let first = self.rows[twins[0]].concept;
            if twins.iter().any(|&row| self.rows[row].concept != first) {
                report.count(DecisionKind::CaseTwins, || {
                    let shown: Vec<String> = twins
                        .iter()
                        .map(|&row| sample(self.group, self.concepts, &self.rows[row]))
                        .collect();
                    shown.join(" / ")
                });
            }
        }
    }
}

fn sample(group: &str, concepts: &[RawConcept], row: &Row<'_>) -> String {
    let code = &concepts[row.concept as usize].code;
    format!("{code} {:?} ({group})", row.name)
}

/// Has letters with case, and all of them are capitals.
fn is_capitals(name: &str) -> bool {
    name.chars().any(char::is_uppercase) && !name.chars().any(char::is_lowercase)
}
