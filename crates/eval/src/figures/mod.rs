//! Figures, each as SVG and PNG.
//!
//! Colours are Okabe and Ito's, told apart by colour-blind readers; every series also has its own marker, so the
//! figures survive a grey printer. The font is embedded (Roboto, Apache licence), so the same data gives the same bytes
//! on every machine.

mod bars;
mod curves;
mod intervals;
mod report;
mod strategies;

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::sync::Once;

use plotters::coord::Shift;
use plotters::element::{Drawable, PointCollection};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use plotters_backend::{BackendCoord, DrawingErrorKind};

pub use bars::{Bar, ShareBar, bars, stacked_shares};
pub use curves::{
    Curve, RELIABILITY_ROWS, RecallCurve, ShareCurve, SharePoint, Swept, line_chart, loss_curves,
    recall_at_k, reliability, risk_coverage, sweep,
};
pub use intervals::{IntervalChart, IntervalMark, IntervalRow, interval_chart};
pub(crate) use report::names_of_any;
pub use report::{DrawnFigure, Named, draw_report, judge_shares, recall_by_stratum};
pub use strategies::recall_by_strategy;

use crate::Error;

/// Okabe and Ito's colours that stand out on white, dark and light in turn.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);
const FONT: &str = "sans-serif";
const FONT_BYTES: &[u8] = include_bytes!("../../assets/Roboto-Regular.ttf");

type Drawn = Result<(), Box<dyn StdError + Send + Sync>>;

/// A picture that can be drawn on any backend.
trait Picture {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Drawn
    where
        DB::ErrorType: 'static;
}

/// Writes `stem.svg` and `stem.png` into a folder, which is made if need be.
fn save(picture: &impl Picture, folder: &Path, stem: &str) -> Result<[PathBuf; 2], Error> {
    register();
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let [svg, png] = ["svg", "png"].map(|extension| folder.join(format!("{stem}.{extension}")));
    let failed = |path: &Path, reason: String| Error::Draw {
        path: path.to_path_buf(),
        reason,
    };

    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, picture.size()).into_drawing_area();
    picture
        .draw(&area)
        .map_err(|error| failed(&svg, error.to_string()))?;
    area.present()
        .map_err(|error| failed(&svg, error.to_string()))?;
    drop(area);
    std::fs::write(&svg, text).map_err(Error::io(&svg))?;

    let area = BitMapBackend::new(&png, picture.size()).into_drawing_area();
    picture
        .draw(&area)
        .map_err(|error| failed(&png, error.to_string()))?;
    area.present()
        .map_err(|error| failed(&png, error.to_string()))?;
    drop(area);
    Ok([svg, png])
}

/// Makes the embedded font known to the drawing library, once.
fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for style in [FontStyle::Normal, FontStyle::Bold] {
            if register_font(FONT, style, FONT_BYTES).is_err() {
                unreachable!("the embedded font is a valid font file, as the tests see");
            }
        }
    });
}

fn text(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

/// Text that is centred on a height and begins, ends or is centred at a place.
fn anchored(size: u32, horizontal: HPos, colour: &RGBColor) -> TextStyle<'_> {
    text(size)
        .color(colour)
        .pos(Pos::new(horizontal, VPos::Center))
}

/// Pixels that a text of size 15 takes at most, on average letters.
fn text_width(text: &str) -> i32 {
    const CHAR_WIDTH: i32 = 8;
    text.chars().count() as i32 * CHAR_WIDTH
}

/// A number without useless zeros.
fn short(value: &f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

/// Marker number `index` at a place of the chart, ten pixels wide.
fn marker<C>(at: C, index: usize) -> Marker<C> {
    Marker { at, index }
}

/// One of five shapes in one of the palette's colours. An element of its own, since the library's boxed elements need
/// a backend without borrowed parts, and the bitmap's borrows its path.
struct Marker<C> {
    at: C,
    index: usize,
}

impl<'a, C> PointCollection<'a, C> for &'a Marker<C> {
    type Point = &'a C;
    type IntoIter = std::iter::Once<&'a C>;

    fn point_iter(self) -> Self::IntoIter {
        std::iter::once(&self.at)
    }
}

impl<C, DB: DrawingBackend> Drawable<DB> for Marker<C> {
    fn draw<I: Iterator<Item = BackendCoord>>(
        &self,
        mut places: I,
        backend: &mut DB,
        _: (u32, u32),
    ) -> Result<(), DrawingErrorKind<DB::ErrorType>> {
        let Some((x, y)) = places.next() else {
            return Ok(());
        };
        let colour = PALETTE[self.index % PALETTE.len()];
        let line = colour.stroke_width(2);
        match self.index % 5 {
            0 => backend.draw_circle((x, y), 5, &colour, true),
            1 => backend.draw_rect((x - 4, y - 4), (x + 5, y + 5), &colour, true),
            2 => backend.fill_polygon([(x - 6, y + 4), (x + 6, y + 4), (x, y - 6)], &colour),
            3 => {
                backend.draw_line((x - 5, y - 5), (x + 5, y + 5), &line)?;
                backend.draw_line((x - 5, y + 5), (x + 5, y - 5), &line)
            }
            _ => {
                backend.draw_circle((x, y), 5, &WHITE, true)?;
                backend.draw_circle((x, y), 5, &line, false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confidence::{Calibration, CalibrationBin, RiskPoint};
    use crate::tables::{Aggregate, ArmSummary, Summary};

    fn sample() -> Summary {
        let part = |mean: f64, half: f64| Aggregate {
            rows: 960,
            mean,
            min: mean - 0.01,
            max: mean + 0.01,
            ci95: [mean - half, (mean + half).min(1.0)],
        };
        let names = [
            "Human only",
            "Synthetic only",
            "Combined",
            "Interleaved",
            "Pretrain, then human",
            "Nearest name (TF-IDF)",
        ];
        let arms = names.iter().enumerate().map(|(i, name)| {
            let x = i as f64 * 0.04;
            ArmSummary {
                arm: (*name).to_owned(),
                seeds: vec![1, 2, 3],
                all: part(0.70 + x / 2.0, 0.03),
                seen: Some(part(0.99 - x, 0.02)),
                unseen: Some(part(0.05 + x, 0.07)),
                budget: Vec::new(),
            }
        });
        Summary {
            arms: arms.collect(),
        }
    }

    fn curve(label: &str, scale: f64) -> Curve {
        let points = (0..120).map(|step| {
            (
                f64::from(step * 10),
                scale * (-f64::from(step) / 40.0).exp() + 0.4,
            )
        });
        Curve {
            label: label.into(),
            points: points.collect(),
        }
    }

    /// All figures on samples, into the folder that `SYNCABEL_FIGURES` names, else a temporary one.
    #[test]
    fn figures_are_drawn_and_always_the_same() {
        let temporary = tempfile::tempdir().unwrap();
        let folder =
            std::env::var_os("SYNCABEL_FIGURES").map_or(temporary.path().join("a"), PathBuf::from);
        let share_curve = |label: &str, from: f64| ShareCurve {
            label: label.into(),
            points: [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
                .map(|share: f64| {
                    let recall = from + 0.4 * share.sqrt();
                    SharePoint {
                        share,
                        recall,
                        ci95: [recall - 0.04, recall + 0.04],
                    }
                })
                .into(),
        };
        let draw = |folder: &Path| -> Vec<PathBuf> {
            let curves = [
                curve("Human only", 3.0),
                curve("Interleaved", 3.6),
                curve("A rather long name of a strategy", 2.5),
            ];
            let swept = [
                share_curve("Human only", 0.3),
                share_curve("Interleaved", 0.45),
            ];
            let shares = [ShareBar {
                label: "with synthetic data".into(),
                parts: vec![0.67, 0.056, 0.11, 0.059, 0.105],
            }];
            let parts = ["strict", "exact", "broad", "narrow", "no relation"];
            let speeds = [
                ("one", Some(5.0)),
                ("a system of a longer name", Some(187.3)),
                ("unknown", None),
            ];
            let speeds = speeds.map(|(label, value)| Bar {
                label: label.into(),
                value,
            });
            let bins = (0..10).map(|i| CalibrationBin {
                lower: f64::from(i) / 10.0,
                upper: f64::from(i + 1) / 10.0,
                rows: 10,
                mean_score: f64::from(i) / 10.0 + 0.05,
                accuracy: (f64::from(i) / 10.0).sqrt(),
            });
            let calibration = Calibration {
                ece: 0.1,
                mce: 0.2,
                brier: 0.1,
                bins: bins.collect(),
            };
            let risk = [0.1, 0.5, 1.0].map(|coverage| RiskPoint {
                coverage,
                risk: coverage / 3.0,
            });
            [
                stacked_shares(&parts, &shares, folder, "judge").unwrap(),
                bars("mentions per second", &speeds, folder, "speed").unwrap(),
                reliability(&[("score", &calibration)], folder, "reliability").unwrap(),
                risk_coverage(&[("score", &risk)], folder, "risk").unwrap(),
                recall_by_strategy(&sample(), folder, "recall").unwrap(),
                loss_curves(&curves, folder, "loss").unwrap(),
                sweep(Swept::HUMAN_SHARE, &swept, folder, "share").unwrap(),
            ]
            .concat()
        };
        let again = temporary.path().join("b");
        for (first, second) in draw(&folder).iter().zip(draw(&again)) {
            let bytes = std::fs::read(first).unwrap();
            assert!(bytes.len() > 1_000, "{} is nearly empty", first.display());
            assert_eq!(
                bytes,
                std::fs::read(&second).unwrap(),
                "{}",
                first.display()
            );
        }
        let svg = std::fs::read_to_string(folder.join("recall.svg")).unwrap();
        assert!(
            svg.contains("Pretrain, then human") && svg.contains("unseen"),
            "labels are text"
        );
    }

    #[test]
    fn nothing_to_show_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let empty = Summary { arms: Vec::new() };
        assert!(matches!(
            recall_by_strategy(&empty, folder.path(), "x"),
            Err(Error::NothingToShow { .. })
        ));
        let nan = Curve {
            label: "broken".into(),
            points: vec![(0.0, f64::NAN)],
        };
        assert!(matches!(
            loss_curves(&[nan], folder.path(), "x"),
            Err(Error::NothingToShow { .. })
        ));
        assert!(matches!(
            sweep(Swept::HUMAN_SHARE, &[], folder.path(), "x"),
            Err(Error::NothingToShow { .. })
        ));
    }
}
