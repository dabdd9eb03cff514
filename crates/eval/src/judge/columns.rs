//! Verdict columns of a file compared, and the comparisons as tables.

use serde::{Deserialize, Serialize};
use syncabel_corpus::predictions::Prediction;

use super::{Agreement, Label};
use crate::cells::{percent, percent_interval};
use crate::tables::Table;
use crate::{Bootstrap, Error, Interval};

/// Two verdict columns compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnAgreement {
    /// The column that is taken as right.
    pub first: String,
    /// The judge's column.
    pub second: String,
    /// How far they agree.
    pub agreement: Agreement,
}

impl ColumnAgreement {
    /// Compares two columns over the rows that have a verdict in both.
    ///
    /// # Errors
    /// Those of [`Agreement::of_columns`].
    pub fn of(
        rows: &[Prediction],
        first: &str,
        second: &str,
        bootstrap: Bootstrap,
    ) -> Result<Self, Error> {
        Ok(ColumnAgreement {
            first: first.to_owned(),
            second: second.to_owned(),
            agreement: Agreement::of_columns(rows, first, second, bootstrap)?,
        })
    }

    /// One line per pair: rows, accuracy, kappa, each with its interval.
    ///
    /// # Errors
    /// [`Error::CellCount`] never happens here.
    pub fn table(pairs: &[Self]) -> Result<Table, Error> {
        let columns = [
            "judge",
            "against",
            "rows",
            "agreed",
            "accuracy, %",
            "accuracy 95 %",
            "kappa",
            "kappa 95 %",
        ];
        let mut table = Table::of("Agreement of judges", &columns);
        let interval =
            |ci95: Option<Interval>, form: fn(Interval) -> String| ci95.map_or(String::new(), form);
        for pair in pairs {
            let a = &pair.agreement;
            table.push(vec![
                pair.second.clone(),
                pair.first.clone(),
                a.rows.to_string(),
                a.agreed.to_string(),
                percent(a.accuracy),
                interval(a.accuracy_ci95, percent_interval),
                format!("{:.3}", a.kappa),
                interval(a.kappa_ci95, |[low, high]| format!("{low:.3} to {high:.3}")),
            ])?;
        }
        Ok(table)
    }

    /// The confusion matrices of all pairs, one under the other: a line per verdict of the first column, a column per verdict
    /// of the second.
    ///
    /// # Errors
    /// [`Error::CellCount`] never happens here.
    pub fn confusion_table(pairs: &[Self]) -> Result<Table, Error> {
        let mut columns = vec![
            "judge".to_owned(),
            "against".to_owned(),
            "its verdict".to_owned(),
        ];
        columns.extend(Label::ALL.map(|label| label.to_string()));
        let mut table = Table::new("How often the judge says what", columns);
        for pair in pairs {
            for (verdict, row) in &pair.agreement.confusion {
                let mut cells = vec![pair.second.clone(), pair.first.clone(), verdict.clone()];
                cells.extend(Label::ALL.map(|label| {
                    row.get(&label.to_string())
                        .copied()
                        .unwrap_or_default()
                        .to_string()
                }));
                table.push(cells)?;
            }
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_stands_in_tables_with_its_confusion() {
        let row = |i: usize, person: &str, judge: &str| Prediction {
            filename: format!("d{i}"),
            extra: vec![
                ("person".into(), person.into()),
                ("judge".into(), judge.into()),
            ],
            ..Prediction::default()
        };
        let rows = [
            row(0, "EXACT", "EXACT"),
            row(1, "EXACT", "BROAD"),
            row(2, "NARROW", "NARROW"),
            row(3, "NARROW", ""),
        ];
        let pair = ColumnAgreement::of(&rows, "person", "judge", Bootstrap::default()).unwrap();
        let pairs = [pair];
        let table = ColumnAgreement::table(&pairs).unwrap();
        assert_eq!(table.rows()[0][..5], ["judge", "person", "3", "2", "66.7"]);
        assert!(table.rows()[0][7].contains(" to "), "{table:?}");
        let confusion = ColumnAgreement::confusion_table(&pairs).unwrap();
        assert_eq!(confusion.columns[3..6], ["STRICT", "EXACT", "PARTIAL"]);
        let cells = |row: usize| confusion.rows()[row][2..].join(" ");
        assert_eq!(cells(0), "EXACT 0 1 0 1 0 0");
        assert_eq!(cells(1), "NARROW 0 0 0 0 1 0");
    }
}
