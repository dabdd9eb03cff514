//! How numbers stand in the cells of tables: fractions as percent or points with one decimal, as the paper prints its scores.

use crate::bootstrap::Interval;

/// A fraction in percent.
pub fn percent(fraction: f64) -> String {
    format!("{:.1}", 100.0 * fraction)
}

/// A difference of fractions in points, with its sign.
pub fn points(fraction: f64) -> String {
    format!("{:+.1}", 100.0 * fraction)
}

/// Both ends of an interval of fractions in percent.
pub fn percent_interval(ci95: Interval) -> String {
    let [low, high] = ci95.map(percent);
    format!("{low} to {high}")
}

/// Both ends of an interval of differences in points.
pub fn point_interval(ci95: Interval) -> String {
    let [low, high] = ci95.map(points);
    format!("{low} to {high}")
}

/// A p-value with four decimals; smaller ones say so, for no test is ever sure.
///
/// ```
/// use syncabel_eval::cells::p_value;
/// assert_eq!((p_value(0.03).as_str(), p_value(1e-9).as_str()), ("0.0300", "< 0.0001"));
/// ```
pub fn p_value(p: f64) -> String {
    if p < 0.0001 {
        "< 0.0001".to_owned()
    } else {
        format!("{p:.4}")
    }
}
