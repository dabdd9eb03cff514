//! Lines over a number: loss over steps, recall over the share of human data.

use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Drawn, GRID, INK, PALETTE, Picture, marker, save, short, text};
use crate::Error;
use crate::bootstrap::Interval;
use crate::confidence::{Calibration, CalibrationBin, RiskPoint};

const SIZE: (u32, u32) = (900, 460);
const LEGEND_WIDTH: u32 = 250;
const LEGEND_CHARS: usize = 26;
/// Smallest bin that a reliability diagram shows.
pub const RELIABILITY_ROWS: usize = 10;
/// Markers along a line with many points.
const MARKERS_PER_LINE: usize = 9;

/// A loss curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// What it is the curve of.
    pub label: String,
    /// (optimiser step, loss in nats per token).
    pub points: Vec<(f64, f64)>,
}

/// What is swept, along x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept<'a> {
    /// What the axis says.
    pub axis: &'a str,
    /// Whether values are shares from 0 to 1, to be drawn in percent.
    pub is_share: bool,
}

impl Swept<'static> {
    /// The share of the human data (paper, Figure 5), drawn from 0 to 100 %.
    pub const HUMAN_SHARE: Self = Swept {
        axis: "share of the human data (%)",
        is_share: true,
    };
}

/// Recall at one value of what is swept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharePoint {
    /// The value: a share of the human data, for instance, from 0 to 1.
    pub share: f64,
    /// Recall@1, from 0 to 1.
    pub recall: f64,
    /// Its 95 % interval.
    pub ci95: Interval,
}

/// Recall of one strategy over what is swept.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareCurve {
    /// The strategy.
    pub label: String,
    /// Its points.
    pub points: Vec<SharePoint>,
}

/// Recall among the first k answers of one system.
#[derive(Debug, Clone, PartialEq)]
pub struct RecallCurve<'r> {
    /// The system.
    pub label: &'r str,
    /// k, recall@k as a fraction, its 95 % interval.
    pub points: Vec<(u32, f64, Interval)>,
}

/// Draws training losses over steps as `stem.svg` and `stem.png`.
///
/// # Errors
/// [`Error::NothingToShow`] if no point is finite, [`Error::Io`], [`Error::Draw`].
pub fn loss_curves(curves: &[Curve], folder: &Path, stem: &str) -> Result<[PathBuf; 2], Error> {
    let axes = ["optimiser step", "loss (nats per token)"];
    line_chart("the figure of loss curves", axes, curves, folder, stem)
}

/// Draws any curves over any number as `stem.svg` and `stem.png`; `what` names the figure in errors.
///
/// # Errors
/// As [`loss_curves`].
pub fn line_chart(
    what: &'static str,
    axes: [&'static str; 2],
    curves: &[Curve],
    folder: &Path,
    stem: &str,
) -> Result<[PathBuf; 2], Error> {
    let finite = |&&(x, y): &&(f64, f64)| x.is_finite() && y.is_finite();
    let lines = curves.iter().map(|curve| Line {
        label: &curve.label,
        points: curve
            .points
            .iter()
            .filter(finite)
            .map(|&(x, y)| (x, y, None))
            .collect(),
    });
    Lines::new(what, axes, lines.collect(), None).and_then(|picture| save(&picture, folder, stem))
}

/// Draws recall@1 over what is swept, with intervals, as `stem.svg` and `stem.png`.
///
/// # Errors
/// As [`loss_curves`].
pub fn sweep(
    swept: Swept<'_>,
    curves: &[ShareCurve],
    folder: &Path,
    stem: &str,
) -> Result<[PathBuf; 2], Error> {
    let scale = if swept.is_share { 100.0 } else { 1.0 };
    let point = |p: &SharePoint| {
        (
            p.share * scale,
            p.recall * 100.0,
            Some(p.ci95.map(|end| end * 100.0)),
        )
    };
    let finite = |&(x, y, _): &(f64, f64, Option<Interval>)| x.is_finite() && y.is_finite();
    let lines = curves.iter().map(|curve| Line {
        label: &curve.label,
        points: curve.points.iter().map(point).filter(finite).collect(),
    });
    let lines: Vec<Line<'_>> = lines.collect();
    let values = lines.iter().flat_map(|line| &line.points).map(|p| p.0);
    // The first and the last marker stand inside of the frame.
    let frame = match swept == Swept::HUMAN_SHARE {
        true => (-3.0, 103.0),
        false => range(values, 0.04),
    };
    let axes = [swept.axis, "recall@1 (%)"];
    Lines::new("the figure of a sweep", axes, lines, Some(frame))
        .and_then(|picture| save(&picture, folder, stem))
}

/// Draws recall@k over k, with intervals, as `stem.svg` and `stem.png`.
///
/// # Errors
/// As [`loss_curves`].
pub fn recall_at_k(
    curves: &[RecallCurve<'_>],
    folder: &Path,
    stem: &str,
) -> Result<[PathBuf; 2], Error> {
    let ks = curves.iter().flat_map(|c| &c.points).map(|p| p.0);
    let longest = f64::from(ks.max().unwrap_or(1));
    let point = |&(k, recall, ci95): &(u32, f64, Interval)| {
        (
            f64::from(k),
            recall * 100.0,
            Some(ci95.map(|end| end * 100.0)),
        )
    };
    let lines = curves.iter().map(|curve| Line {
        label: curve.label,
        points: curve.points.iter().map(point).collect(),
    });
    // The first and the last marker stand inside of the frame.
    let range = Some((1.0 - 0.04 * longest, 1.04 * longest));
    let axes = ["k", "right answer among the first k (%)"];
    let mut picture = Lines::new("the figure of recall@k", axes, lines.collect(), range)?;
    // There is nothing between two k.
    picture.x_labels = picture.x_labels.min(longest as usize);
    save(&picture, folder, stem)
}

/// Draws a reliability diagram of score columns, with the diagonal that a calibrated score follows, as `stem.svg` and
/// `stem.png`. Bins of fewer than [`RELIABILITY_ROWS`] mentions are left out: their share of right answers is noise.
///
/// # Errors
/// As [`loss_curves`].
pub fn reliability(
    columns: &[(&str, &Calibration)],
    folder: &Path,
    stem: &str,
) -> Result<[PathBuf; 2], Error> {
    let point = |b: &CalibrationBin| (b.mean_score * 100.0, b.accuracy * 100.0, None);
    let mut lines: Vec<Line<'_>> = columns
        .iter()
        .map(|(label, calibration)| Line {
            label,
            points: calibration
                .bins
                .iter()
                .filter(|b| b.rows >= RELIABILITY_ROWS)
                .map(point)
                .collect(),
        })
        .collect();
    if !lines.is_empty() {
        lines.push(Line {
            label: "calibrated",
            points: vec![(0.0, 0.0, None), (100.0, 100.0, None)],
        });
    }
    let axes = ["mean score in the bin (%)", "right answers in the bin (%)"];
    Lines::new("the reliability diagram", axes, lines, Some((-3.0, 103.0)))
        .and_then(|picture| save(&picture, folder, stem))
}

/// Draws risk over coverage of score columns as `stem.svg` and `stem.png`.
///
/// # Errors
/// As [`loss_curves`].
pub fn risk_coverage(
    columns: &[(&str, &[RiskPoint])],
    folder: &Path,
    stem: &str,
) -> Result<[PathBuf; 2], Error> {
    let point = |p: &RiskPoint| (p.coverage * 100.0, p.risk * 100.0, None);
    let lines = columns.iter().map(|(label, points)| Line {
        label,
        points: points.iter().map(point).collect(),
    });
    let axes = [
        "mentions answered, highest scores first (%)",
        "wrong among them (%)",
    ];
    Lines::new(
        "the risk-coverage curve",
        axes,
        lines.collect(),
        Some((0.0, 103.0)),
    )
    .and_then(|picture| save(&picture, folder, stem))
}

/// x, y and the interval of y.
type Point = (f64, f64, Option<Interval>);

struct Line<'c> {
    label: &'c str,
    points: Vec<Point>,
}

struct Lines<'c> {
    axes: [String; 2],
    lines: Vec<Line<'c>>,
    x: (f64, f64),
    y: (f64, f64),
    /// Numbers along x, at most.
    x_labels: usize,
}

impl<'c> Lines<'c> {
    fn new(
        what: &'static str,
        axes: [&str; 2],
        lines: Vec<Line<'c>>,
        x: Option<(f64, f64)>,
    ) -> Result<Self, Error> {
        let points = || lines.iter().flat_map(|line| &line.points);
        if points().next().is_none() {
            return Err(Error::NothingToShow {
                what,
                why: "no curve has a finite point".into(),
            });
        }
        let x = x.unwrap_or_else(|| range(points().map(|p| p.0), 0.0));
        let y = range(
            points().flat_map(|p| p.2.into_iter().flatten().chain([p.1])),
            0.06,
        );
        Ok(Lines {
            axes: axes.map(str::to_owned),
            lines,
            x,
            y: (y.0.max(0.0), y.1),
            x_labels: 7,
        })
    }

    fn draw_legend<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        for (index, line) in self.lines.iter().enumerate() {
            let y = 34 + 26 * index as i32;
            area.draw(&PathElement::new(
                vec![(6, y), (38, y)],
                PALETTE[index % PALETTE.len()].stroke_width(2),
            ))?;
            area.draw(&marker((22, y), index))?;
            let mut label: String = line.label.chars().take(LEGEND_CHARS).collect();
            if label.len() < line.label.len() {
                label.push('…');
            }
            area.draw(&Text::new(label, (46, y - 8), text(15)))?;
        }
        Ok(())
    }
}

impl Picture for Lines<'_> {
    fn size(&self) -> (u32, u32) {
        (SIZE.0, SIZE.1.max(60 + 26 * self.lines.len() as u32))
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        area.fill(&WHITE)?;
        let (plot, legend) = area.split_horizontally(SIZE.0 - LEGEND_WIDTH);
        let mut chart = ChartBuilder::on(&plot)
            .margin(16)
            .x_label_area_size(50)
            .y_label_area_size(64)
            .build_cartesian_2d(self.x.0..self.x.1, self.y.0..self.y.1)?;
        chart
            .configure_mesh()
            .x_desc(self.axes[0].as_str())
            .y_desc(self.axes[1].as_str())
            .x_labels(self.x_labels)
            .y_labels(7)
            .x_label_formatter(&short)
            .y_label_formatter(&short)
            .axis_desc_style(text(16))
            .label_style(text(15))
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .draw()?;
        for (index, line) in self.lines.iter().enumerate() {
            let colour = PALETTE[index % PALETTE.len()];
            for &(x, _, interval) in &line.points {
                let Some([low, high]) = interval else {
                    continue;
                };
                chart.draw_series([PathElement::new(
                    vec![(x, low), (x, high)],
                    colour.stroke_width(1),
                )])?;
                for end in [low, high] {
                    chart.draw_series([EmptyElement::at((x, end))
                        + PathElement::new(vec![(-4, 0), (4, 0)], colour)])?;
                }
            }
            chart.draw_series(LineSeries::new(
                line.points.iter().map(|p| (p.0, p.1)),
                colour.stroke_width(2),
            ))?;
            // Markers of different lines are staggered, so that they do not hide each other.
            let step = line.points.len().div_ceil(MARKERS_PER_LINE).max(1);
            let first = index * step / self.lines.len();
            let marked = line.points.iter().skip(first).step_by(step);
            chart.draw_series(marked.map(|p| marker((p.0, p.1), index)))?;
        }
        self.draw_legend(&legend)
    }
}

/// Smallest and largest value with some room, never empty.
fn range(values: impl Iterator<Item = f64>, room: f64) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    });
    let room = if high > low { (high - low) * room } else { 0.5 };
    (low - room, high + room)
}
