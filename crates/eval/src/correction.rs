//! Many comparisons at once: p-values corrected for their number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
