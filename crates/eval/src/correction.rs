//! Many comparisons at once: p-values corrected for their number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cells::{p_value, percent, point_interval, points};
use crate::tables::Table;
use crate::{Comparison, Error};

/// How p-values of several comparisons are corrected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Holm: the chance of any false alarm stays below the level, whatever the dependence between comparisons.
    #[default]
    Holm,
    /// Benjamini and Hochberg: the expected share of false alarms among the alarms stays below the level (for independent or
    /// positively dependent comparisons).
    BenjaminiHochberg,
    /// None.
    None,
}

impl FromStr for Correction {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "holm" => Ok(Correction::Holm),
            "benjamini_hochberg" => Ok(Correction::BenjaminiHochberg),
            "none" => Ok(Correction::None),
            _ => Err(format!(
                "{name:?} is no correction; known are holm, benjamini_hochberg, none"
            )),
        }
    }
}

impl fmt::Display for Correction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Correction::Holm => "holm",
            Correction::BenjaminiHochberg => "benjamini_hochberg",
            Correction::None => "none",
        })
    }
}

impl Correction {
    /// Corrected p-values, in the order given.
    ///
    /// ```
    /// use syncabel_eval::Correction;
    /// assert_eq!(Correction::Holm.adjust(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
    /// ```
    pub fn adjust(self, p_values: &[f64]) -> Vec<f64> {
        let count = p_values.len();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]).then(a.cmp(&b)));
        let mut adjusted = p_values.to_vec();
        match self {
            Correction::None => {}
            Correction::Holm => {
                let mut largest: f64 = 0.0;
                for (rank, &index) in order.iter().enumerate() {
                    largest = largest.max((count - rank) as f64 * p_values[index]);
                    adjusted[index] = largest.min(1.0);
                }
            }
            Correction::BenjaminiHochberg => {
                let mut smallest: f64 = 1.0;
                for (rank, &index) in order.iter().enumerate().rev() {
                    smallest = smallest.min(count as f64 / (rank + 1) as f64 * p_values[index]);
                    adjusted[index] = smallest;
                }
            }
        }
        adjusted
    }
}

/// A comparison of the first system with another, its p-values corrected for all comparisons that were made beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CorrectedComparison {
    /// The other system.
    pub against: String,
    /// The comparison; the other system is its second.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// The correction applied to the two values below.
    pub correction: Correction,
    /// Corrected [`Comparison::p_bootstrap`].
    pub p_bootstrap_adjusted: f64,
    /// Corrected [`Comparison::p_mcnemar`].
    pub p_mcnemar_adjusted: f64,
}

impl CorrectedComparison {
    /// Corrects the p-values of comparisons of one system with others, named by the other system; bootstrap and McNemar each
    /// for themselves.
    pub fn all(comparisons: Vec<(String, Comparison)>, correction: Correction) -> Vec<Self> {
        let of = |p: fn(&Comparison) -> f64| {
            let values: Vec<f64> = comparisons.iter().map(|(_, c)| p(c)).collect();
            correction.adjust(&values)
        };
        let (bootstrap, mcnemar) = (of(|c| c.p_bootstrap), of(|c| c.p_mcnemar));
        comparisons
            .into_iter()
            .zip(bootstrap.into_iter().zip(mcnemar))
            .map(|((against, comparison), (b, m))| CorrectedComparison {
                against,
                comparison,
                correction,
                p_bootstrap_adjusted: b,
                p_mcnemar_adjusted: m,
            })
            .collect()
    }

    /// One line per comparison with the system named `first`.
    ///
    /// # Errors
    /// [`Error::CellCount`] never happens here.
    pub fn table(comparisons: &[Self], first: &str) -> Result<Table, Error> {
        let correction = comparisons
            .first()
            .map(|c| c.correction)
            .unwrap_or_default();
        let corrected = format!("corrected ({})", correction.to_string().replace('_', " "));
        let columns = [
            "system",
            "mentions",
            "recall@1, %",
            "of the first, %",
            "difference, points",
            "95 % interval",
            "p bootstrap",
            &corrected,
            "only the first right",
            "only this right",
            "p McNemar",
            &corrected,
        ];
        let mut table = Table::of(
            &format!("Systems beside {first}, paired by mention"),
            &columns,
        );
        for c in comparisons {
            let of = &c.comparison;
            table.push(vec![
                c.against.clone(),
                of.rows.to_string(),
                percent(of.recall_second),
                percent(of.recall_first),
                points(of.difference),
                point_interval(of.difference_ci95),
                p_value(of.p_bootstrap),
                p_value(c.p_bootstrap_adjusted),
                of.only_first_right.to_string(),
                of.only_second_right.to_string(),
                p_value(of.p_mcnemar),
                p_value(c.p_mcnemar_adjusted),
            ])?;
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As R's `p.adjust` gives for these.
    #[test]
    fn holm_and_benjamini_hochberg_by_hand() {
        let p = [0.01, 0.02, 0.03, 0.04, 0.5];
        let close = |a: Vec<f64>, b: [f64; 5]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close(
            Correction::Holm.adjust(&p),
            [0.05, 0.08, 0.09, 0.09, 0.5]
        ));
        assert!(close(
            Correction::BenjaminiHochberg.adjust(&p),
            [0.05, 0.05, 0.05, 0.05, 0.5]
        ));
        assert_eq!(Correction::None.adjust(&p), p);
        assert!(Correction::Holm.adjust(&[]).is_empty());
        assert_eq!("holm".parse(), Ok(Correction::Holm));
    }
}
