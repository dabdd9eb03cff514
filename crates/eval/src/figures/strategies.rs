//! Recall by strategy: one panel each for all, seen and unseen concepts, a point and its interval per strategy.

use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::coord::ranged1d::SegmentValue;
use plotters::prelude::*;

use super::{Drawn, GRID, INK, Picture, marker, save, text, text_width};
use crate::Error;
use crate::tables::{Aggregate, ArmSummary, Summary};

const ROW_HEIGHT: u32 = 38;
const PANEL_WIDTH: u32 = 290;

/// Draws recall@1 by strategy with 95 % intervals, seen and unseen concepts side by side, as `stem.svg` and `stem.png`.
///
/// # Errors
/// [`Error::NothingToShow`] for a summary without arms, [`Error::Io`], [`Error::Draw`].
pub fn recall_by_strategy(
    summary: &Summary,
    folder: &Path,
    stem: &str,
) -> Result<[PathBuf; 2], Error> {
    if summary.arms.is_empty() {
        return Err(Error::NothingToShow {
            what: "recall by strategy",
            why: "there are no runs".into(),
        });
    }
    save(
        &Strategies {
            arms: &summary.arms,
        },
        folder,
        stem,
    )
}

/// Title of a panel and what it takes from an arm.
type Panel = (&'static str, fn(&ArmSummary) -> Option<Aggregate>);

struct Strategies<'s> {
    arms: &'s [ArmSummary],
}

impl Strategies<'_> {
    fn panels(&self) -> Vec<Panel> {
        let panels: [Panel; 3] = [
            ("all mentions", |a| Some(a.all)),
            ("seen concepts", |a| a.seen),
            ("unseen concepts", |a| a.unseen),
        ];
        panels
            .into_iter()
            .filter(|(_, part)| self.arms.iter().any(|arm| part(arm).is_some()))
            .collect()
    }

    fn label_width(&self) -> u32 {
        let widths = self.arms.iter().map(|arm| text_width(&arm.arm));
        widths.max().unwrap_or(0) as u32 + 24
    }

    fn draw_panel<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        index: usize,
        (title, part): Panel,
        label_width: u32,
    ) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        let count = self.arms.len();
        let mut chart = ChartBuilder::on(area)
            .caption(title, text(18))
            .margin_top(8)
            .margin_right(22)
            .margin_left(8)
            .x_label_area_size(48)
            .y_label_area_size(label_width)
            .build_cartesian_2d(0.0..100.0, (0..count).into_segmented())?;
        let label = |segment: &SegmentValue<usize>| match segment {
            SegmentValue::CenterOf(row) if label_width > 0 && *row < count => {
                self.arms[count - 1 - row].arm.clone()
            }
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .x_labels(6)
            .y_labels(count)
            .x_desc("recall@1 (%)")
            .axis_desc_style(text(15))
            .label_style(text(15))
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&label)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .draw()?;
        for (row, arm) in self.arms.iter().rev().enumerate() {
            let Some(score) = part(arm).filter(|score| score.rows > 0) else {
                continue;
            };
            let y = || SegmentValue::CenterOf(row);
            let [low, high] = score.ci95.map(|end| end * 100.0);
            chart.draw_series([PathElement::new(
                vec![(low, y()), (high, y())],
                INK.stroke_width(2),
            )])?;
            for end in [low, high] {
                chart.draw_series([
                    EmptyElement::at((end, y())) + PathElement::new(vec![(0, -5), (0, 5)], INK)
                ])?;
            }
            let mean = score.mean * 100.0;
            chart.draw_series([marker((mean, y()), index)])?;
            let number = Text::new(format!("{mean:.1}"), (-14, -21), text(14));
            chart.draw_series([EmptyElement::at((mean.clamp(6.0, 94.0), y())) + number])?;
        }
        Ok(())
    }
}

impl Picture for Strategies<'_> {
    fn size(&self) -> (u32, u32) {
        let panels = self.panels().len() as u32;
        (
            self.label_width() + panels * PANEL_WIDTH,
            112 + self.arms.len() as u32 * ROW_HEIGHT,
        )
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        area.fill(&WHITE)?;
        let mut rest = area.clone();
        for (index, panel) in self.panels().into_iter().enumerate() {
            let label_width = if index == 0 { self.label_width() } else { 0 };
            let (left, right) = rest.split_horizontally(PANEL_WIDTH + label_width);
            self.draw_panel(&left, index, panel, label_width)?;
            rest = right;
        }
        Ok(())
    }
}
