//! Horizontal bars: shares that add up to a whole, and single numbers side by side.
//!
//! Parts of a stacked bar run from dark to light and carry their share in print, so a grey copy reads as well.

use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{Drawn, GRID, INK, Picture, anchored, save, text_width};
use crate::Error;

const BAR_HEIGHT: i32 = 26;
const ROW_HEIGHT: i32 = 40;
const BAR_WIDTH: i32 = 560;

/// Dark to light, each apart from its neighbours in grey as well.
const SHADES: [RGBColor; 6] = [
    RGBColor(0, 62, 102),
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(245, 215, 140),
    RGBColor(235, 235, 235),
];

/// A stacked bar.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareBar {
    /// What it is about.
    pub label: String,
    /// Shares from 0 to 1, in the order of the parts.
    pub parts: Vec<f64>,
}

/// A single bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it is about.
    pub label: String,
    /// Its length; `None` is said in words.
    pub value: Option<f64>,
}

/// Draws stacked bars as `stem.svg` and `stem.png`.
///
/// # Errors
/// [`Error::NothingToShow`] without bars or with more than six parts, [`Error::Io`], [`Error::Draw`].
pub fn stacked_shares(
    parts: &[&str],
    bars: &[ShareBar],
    folder: &Path,
    stem: &str,
) -> Result<[PathBuf; 2], Error> {
    if bars.is_empty() || parts.len() > SHADES.len() {
        return Err(Error::NothingToShow {
            what: "the figure of shares",
            why: format!(
                "{} bars of {} parts; one to six parts can be told apart",
                bars.len(),
                parts.len()
            ),
        });
    }
    save(&Stacked { parts, bars }, folder, stem)
}

/// Draws bars on a common scale from 0 as `stem.svg` and `stem.png`.
///
/// # Errors
/// [`Error::NothingToShow`] if no bar has a value, [`Error::Io`], [`Error::Draw`].
pub fn bars(unit: &str, bars: &[Bar], folder: &Path, stem: &str) -> Result<[PathBuf; 2], Error> {
    let longest = bars.iter().filter_map(|b| b.value).fold(0.0, f64::max);
    if longest <= 0.0 {
        return Err(Error::NothingToShow {
            what: "the figure of bars",
            why: "no bar has a length".into(),
        });
    }
    let picture = Single {
        unit,
        bars,
        longest,
    };
    save(&picture, folder, stem)
}

fn label_width<'l>(labels: impl Iterator<Item = &'l String>) -> i32 {
    labels.map(|label| text_width(label)).max().unwrap_or(0) + 24
}

/// Pixels that a part takes in the legend, the gap behind it included.
fn legend_width(part: &str) -> i32 {
    22 + text_width(part) + 18
}

struct Stacked<'b> {
    parts: &'b [&'b str],
    bars: &'b [ShareBar],
}

impl Stacked<'_> {
    fn left(&self) -> i32 {
        label_width(self.bars.iter().map(|b| &b.label))
    }
}

impl Picture for Stacked<'_> {
    fn size(&self) -> (u32, u32) {
        let rows = self.bars.len() as i32;
        let legend: i32 = self.parts.iter().map(|part| legend_width(part)).sum();
        (
            (self.left() + legend.max(BAR_WIDTH + 24)) as u32,
            (64 + rows * ROW_HEIGHT) as u32,
        )
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        area.fill(&WHITE)?;
        let left = self.left();
        let mut x = left;
        for (part, shade) in self.parts.iter().zip(SHADES) {
            area.draw(&Rectangle::new([(x, 16), (x + 16, 32)], shade.filled()))?;
            area.draw(&Rectangle::new([(x, 16), (x + 16, 32)], INK))?;
            area.draw(&Text::new(
                (*part).to_owned(),
                (x + 22, 24),
                anchored(15, HPos::Left, &INK),
            ))?;
            x += legend_width(part);
        }
        for (row, bar) in self.bars.iter().enumerate() {
            let top = 52 + row as i32 * ROW_HEIGHT;
            let middle = top + BAR_HEIGHT / 2;
            area.draw(&Text::new(
                bar.label.clone(),
                (left - 10, middle),
                anchored(15, HPos::Right, &INK),
            ))?;
            let mut sum = 0.0;
            for (index, share) in bar.parts.iter().enumerate() {
                let at = |sum: f64| left + (sum * f64::from(BAR_WIDTH)).round() as i32;
                let (from, to) = (at(sum), at(sum + share));
                sum += share;
                let corners = [(from, top), (to, top + BAR_HEIGHT)];
                area.draw(&Rectangle::new(
                    corners,
                    SHADES[index % SHADES.len()].filled(),
                ))?;
                area.draw(&Rectangle::new(corners, INK))?;
                if to - from > 30 {
                    let ink = if index < 2 { WHITE } else { INK };
                    let number = format!("{:.1}", share * 100.0);
                    area.draw(&Text::new(
                        number,
                        ((from + to) / 2, middle),
                        anchored(14, HPos::Center, &ink),
                    ))?;
                }
            }
        }
        Ok(())
    }
}

struct Single<'b> {
    unit: &'b str,
    bars: &'b [Bar],
    longest: f64,
}

impl Single<'_> {
    fn left(&self) -> i32 {
        label_width(self.bars.iter().map(|b| &b.label))
    }
}

impl Picture for Single<'_> {
    fn size(&self) -> (u32, u32) {
        let rows = self.bars.len() as i32;
        (
            (self.left() + BAR_WIDTH + 90) as u32,
            (52 + rows * ROW_HEIGHT) as u32,
        )
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        area.fill(&WHITE)?;
        let left = self.left();
        let bottom = 12 + self.bars.len() as i32 * ROW_HEIGHT;
        area.draw(&PathElement::new(
            vec![(left, 6), (left, bottom)],
            GRID.stroke_width(2),
        ))?;
        for (row, bar) in self.bars.iter().enumerate() {
            let top = 12 + row as i32 * ROW_HEIGHT;
            let middle = top + BAR_HEIGHT / 2;
            area.draw(&Text::new(
                bar.label.clone(),
                (left - 10, middle),
                anchored(15, HPos::Right, &INK),
            ))?;
            let length = bar.value.unwrap_or(0.0).max(0.0) / self.longest * f64::from(BAR_WIDTH);
            let end = left + length.round() as i32;
            area.draw(&Rectangle::new(
                [(left, top), (end, top + BAR_HEIGHT)],
                SHADES[1].filled(),
            ))?;
            let number = bar
                .value
                .map_or_else(|| "not known".to_owned(), |v| format!("{v:.1}"));
            area.draw(&Text::new(
                number,
                (end + 8, middle),
                anchored(15, HPos::Left, &INK),
            ))?;
        }
        area.draw(&Text::new(
            self.unit.to_owned(),
            (left, bottom + 18),
            anchored(15, HPos::Left, &INK),
        ))?;
        Ok(())
    }
}
