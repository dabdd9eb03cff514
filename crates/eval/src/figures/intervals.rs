//! Values with their intervals, one line each, several systems staggered within a line.

use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{Drawn, GRID, INK, PALETTE, Picture, anchored, marker, save, text_width};
use crate::Error;
use crate::bootstrap::Interval;

const PLOT_WIDTH: i32 = 460;
const NOTE_WIDTH: i32 = 84;
const VALUE_WIDTH: i32 = 58;
const MARK_HEIGHT: i32 = 18;
const ROW_GAP: i32 = 8;
/// Extra room before a row that begins a new part of the chart.
const PART_GAP: i32 = 10;
const AXIS_HEIGHT: i32 = 58;
const HEAD_HEIGHT: i32 = 26;
/// Longer labels lose their beginning: the end of a file name says more than its folder.
const LABEL_CHARS: usize = 44;

/// A value and its 95 % interval, in the unit of the axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntervalMark {
    /// The value.
    pub value: f64,
    /// Its interval.
    pub ci95: Interval,
}

/// A line of the chart.
#[derive(Debug, Clone, PartialEq)]
pub struct IntervalRow {
    /// What it is about.
    pub label: String,
    /// What stands at its end, such as a number of mentions.
    pub note: String,
    /// One mark per series; `None` where a series has nothing to say.
    pub marks: Vec<Option<IntervalMark>>,
    /// Whether a part of the chart begins here.
    pub begins_part: bool,
}

/// A chart of intervals.
#[derive(Debug, Clone, PartialEq)]
pub struct IntervalChart<'c> {
    /// Names of the series; the legend shows them where there are several.
    pub series: Vec<&'c str>,
    /// What the axis measures, with its unit.
    pub axis: String,
    /// Head of the column of notes.
    pub note: &'c str,
    /// Ends of the axis; as wide as the intervals where left out, and always with 0 in it then.
    pub range: Option<(f64, f64)>,
    /// Whether values are differences, printed with a sign beside a line at 0.
    pub signed: bool,
    /// Its lines.
    pub rows: Vec<IntervalRow>,
}

/// Draws a chart of intervals as `stem.svg` and `stem.png`.
///
/// # Errors
/// [`Error::NothingToShow`] if no value is finite, [`Error::Io`], [`Error::Draw`].
pub fn interval_chart(
    chart: &IntervalChart<'_>,
    folder: &Path,
    stem: &str,
) -> Result<[PathBuf; 2], Error> {
    let marks = || chart.rows.iter().flat_map(|row| &row.marks).flatten();
    if !marks().any(|mark| mark.value.is_finite()) {
        return Err(Error::NothingToShow {
            what: "the chart of intervals",
            why: "no value is finite".into(),
        });
    }
    let range = chart.range.unwrap_or_else(|| {
        let ends = marks()
            .flat_map(|m| [m.value, m.ci95[0], m.ci95[1]])
            .filter(|v| v.is_finite());
        let (low, high) = ends.fold((0.0f64, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
        let room = (0.06 * (high - low)).max(0.1);
        (low - room, high + room)
    });
    save(&Drawing { chart, range }, folder, stem)
}

struct Drawing<'c> {
    chart: &'c IntervalChart<'c>,
    range: (f64, f64),
}

impl Drawing<'_> {
    fn left(&self) -> i32 {
        let labels = self.chart.rows.iter().map(|row| clipped(&row.label));
        labels.map(|label| text_width(&label)).max().unwrap_or(0) + 24
    }

    fn legend_height(&self) -> i32 {
        match self.chart.series.len() {
            0 | 1 => 8,
            count => 24 * count as i32 + 12,
        }
    }

    fn row_height(&self) -> i32 {
        MARK_HEIGHT * self.chart.series.len().max(1) as i32 + ROW_GAP
    }

    /// Height of all rows.
    fn rows_height(&self) -> i32 {
        let parts = self.chart.rows.iter().filter(|row| row.begins_part).count();
        self.chart.rows.len() as i32 * self.row_height() + parts as i32 * PART_GAP
    }

    fn x(&self, value: f64) -> i32 {
        let share = (value - self.range.0) / (self.range.1 - self.range.0);
        self.left() + (share.clamp(0.0, 1.0) * f64::from(PLOT_WIDTH)).round() as i32
    }

    fn draw_legend<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        if self.chart.series.len() < 2 {
            return Ok(());
        }
        for (index, name) in self.chart.series.iter().enumerate() {
            let (x, y) = (self.left(), 18 + 24 * index as i32);
            let line = vec![(x, y), (x + 32, y)];
            area.draw(&PathElement::new(line, colour(index).stroke_width(2)))?;
            area.draw(&marker((x + 16, y), index))?;
            let name = Text::new(clipped(name), (x + 42, y), anchored(15, HPos::Left, &INK));
            area.draw(&name)?;
        }
        Ok(())
    }

    /// Grid, axis and heads; `top` and `bottom` are those of the rows.
    fn draw_frame<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        [top, bottom]: [i32; 2],
    ) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        for tick in ticks(self.range) {
            let x = self.x(tick);
            area.draw(&PathElement::new(vec![(x, top), (x, bottom)], GRID))?;
            let number = Text::new(
                tick_label(tick, self.chart.signed),
                (x, bottom + 14),
                anchored(15, HPos::Center, &INK),
            );
            area.draw(&number)?;
        }
        if self.chart.signed {
            let x = self.x(0.0);
            area.draw(&PathElement::new(
                vec![(x, top), (x, bottom)],
                INK.stroke_width(2),
            ))?;
        }
        let (left, right) = (self.left(), self.left() + PLOT_WIDTH);
        area.draw(&PathElement::new(
            vec![(left, bottom), (right, bottom)],
            INK,
        ))?;
        area.draw(&Text::new(
            self.chart.axis.clone(),
            ((left + right) / 2, bottom + 40),
            anchored(15, HPos::Center, &INK),
        ))?;
        let head = Text::new(
            self.chart.note.to_owned(),
            (right + VALUE_WIDTH + NOTE_WIDTH, top - 12),
            anchored(14, HPos::Right, &INK),
        );
        Ok(area.draw(&head)?)
    }

    fn draw_mark<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        index: usize,
        mark: IntervalMark,
        y: i32,
    ) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        let colour = colour(index);
        let [low, high] = mark.ci95.map(|end| self.x(end));
        area.draw(&PathElement::new(
            vec![(low, y), (high, y)],
            colour.stroke_width(2),
        ))?;
        for end in [low, high] {
            area.draw(&PathElement::new(
                vec![(end, y - 4), (end, y + 4)],
                colour.stroke_width(2),
            ))?;
        }
        area.draw(&marker((self.x(mark.value), y), index))?;
        let number = match self.chart.signed {
            true => format!("{:+.1}", mark.value),
            false => format!("{:.1}", mark.value),
        };
        let place = (self.left() + PLOT_WIDTH + VALUE_WIDTH - 4, y);
        Ok(area.draw(&Text::new(number, place, anchored(14, HPos::Right, &INK)))?)
    }
}

impl Picture for Drawing<'_> {
    fn size(&self) -> (u32, u32) {
        let width = self.left() + PLOT_WIDTH + VALUE_WIDTH + NOTE_WIDTH + 16;
        let height = self.legend_height() + HEAD_HEIGHT + self.rows_height() + AXIS_HEIGHT;
        (width as u32, height as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        area.fill(&WHITE)?;
        self.draw_legend(area)?;
        let top = self.legend_height() + HEAD_HEIGHT;
        self.draw_frame(area, [top, top + self.rows_height()])?;
        let right = self.left() + PLOT_WIDTH + VALUE_WIDTH + NOTE_WIDTH;
        let mut y = top;
        for row in &self.chart.rows {
            if row.begins_part {
                let rule = vec![(12, y + PART_GAP / 2), (right, y + PART_GAP / 2)];
                area.draw(&PathElement::new(rule, GRID))?;
                y += PART_GAP;
            }
            let middle = y + self.row_height() / 2;
            area.draw(&Text::new(
                clipped(&row.label),
                (self.left() - 10, middle),
                anchored(15, HPos::Right, &INK),
            ))?;
            let note = (right, middle);
            area.draw(&Text::new(
                row.note.clone(),
                note,
                anchored(14, HPos::Right, &INK),
            ))?;
            for (index, mark) in row.marks.iter().enumerate() {
                if let Some(mark) = mark.filter(|m| m.value.is_finite()) {
                    let y = y + ROW_GAP / 2 + MARK_HEIGHT / 2 + MARK_HEIGHT * index as i32;
                    self.draw_mark(area, index, mark, y)?;
                }
            }
            y += self.row_height();
        }
        Ok(())
    }
}

fn colour(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

fn clipped(label: &str) -> String {
    let count = label.chars().count();
    match count > LABEL_CHARS {
        true => format!(
            "…{}",
            label
                .chars()
                .skip(count - LABEL_CHARS + 1)
                .collect::<String>()
        ),
        false => label.to_owned(),
    }
}

/// Round numbers within a range, about five to eight of them.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let rough = (high - low) / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

fn tick_label(tick: f64, signed: bool) -> String {
    let text = super::short(&tick);
    match signed && tick > 0.0 {
        true => format!("+{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((0.0, 100.0)), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks((-3.2, 5.1)), [-2.0, 0.0, 2.0, 4.0]);
        assert_eq!(ticks((0.0, 0.6)).len(), 7);
        assert_eq!(tick_label(-0.0, true), "0");
        assert_eq!(
            (tick_label(2.5, true), tick_label(2.5, false)),
            ("+2.5".into(), "2.5".into())
        );
    }

    #[test]
    fn long_labels_keep_their_end() {
        let label = format!("{}/interleaved.tsv", "folder".repeat(20));
        let short = clipped(&label);
        assert_eq!(short.chars().count(), LABEL_CHARS);
        assert!(short.starts_with('…') && short.ends_with("/interleaved.tsv"));
        assert_eq!(clipped("concept: seen"), "concept: seen");
    }
}
