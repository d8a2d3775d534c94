//! Axes, the numbers on them, and lines.

use plotters::chart::ChartContext;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::style::{Area, FAINT, INK, MUTED, TEXT, failed, text};
use crate::failure::Failure;

pub(super) type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The labels and scales of a chart. Categories on the x axis stand at 0, 1, 2 and so on.
pub(super) struct Axes<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    pub(super) x_range: (f64, f64),
    pub(super) y_max: f64,
    pub(super) categories: &'a [String],
    pub(super) has_x_labels: bool,
    pub(super) y_label: &'a dyn Fn(&f64) -> String,
}

impl<'a> Axes<'a> {
    pub(super) fn with_categories(title: &'a str, x: &'a str, y: &'a str, categories: &'a [String]) -> Self {
        Self {
            title,
            x,
            y,
            x_range: (-0.5, categories.len() as f64 - 0.5),
            y_max: 1.0,
            categories,
            has_x_labels: true,
            y_label: &short,
        }
    }

    pub(super) fn on<'b, 'c>(&self, area: &'c Area<'b>) -> Result<Chart<'c, 'b>, Failure> {
        let mut builder = ChartBuilder::on(area);
        builder
            .margin(10)
            .margin_right(18)
            .set_label_area_size(LabelAreaPosition::Left, 66)
            .set_label_area_size(LabelAreaPosition::Bottom, 48);
        if !self.title.is_empty() {
            builder.caption(self.title, text(TEXT + 2, INK));
        }
        let mut chart = builder
            .build_cartesian_2d(self.x_range.0..self.x_range.1, 0.0..self.y_max)
            .map_err(failed)?;
        let x_label = |x: &f64| match (x - x.round()).abs() < 1e-6 && *x > -0.5 && self.has_x_labels {
            true => self
                .categories
                .get(x.round() as usize)
                .cloned()
                .unwrap_or_default(),
            false => String::new(),
        };
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(MUTED)
            .label_style(text(TEXT, INK))
            .axis_desc_style(text(TEXT, INK))
            .x_desc(self.x)
            .y_desc(self.y)
            .y_labels(6)
            .y_label_formatter(self.y_label)
            .x_label_formatter(&x_label);
        mesh.disable_x_mesh().x_labels(self.categories.len() + 2);
        mesh.draw().map_err(failed)?;
        Ok(chart)
    }
}

/// A number with three digits at most: 340k.
pub(super) fn short(value: &f64) -> String {
    match *value {
        v if v >= 1e6 => format!("{}M", trimmed(v * 1e-6)),
        v if v >= 1e3 => format!("{}k", trimmed(v * 1e-3)),
        v => trimmed(v),
    }
}

pub(super) fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn percent(value: &f64) -> String {
    format!("{value:.0} %")
}

pub(super) fn gb(value: &f64) -> String {
    trimmed(value * 1e-9)
}

/// The top of an axis: a little above the largest value.
pub(super) fn top(values: impl Iterator<Item = f64>) -> f64 {
    let largest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    if largest > 0.0 { largest * 1.12 } else { 1.0 }
}

/// A line with a dot at each point.
pub(super) fn line(
    chart: &mut Chart<'_, '_>,
    points: &[(f64, f64)],
    colour: RGBColor,
    is_dashed: bool,
) -> Result<(), Failure> {
    let style = colour.stroke_width(2);
    let points = points.iter().copied();
    if is_dashed {
        chart
            .draw_series(DashedLineSeries::new(points, 7, 5, style))
            .map_err(failed)?;
        return Ok(());
    }
    chart
        .draw_series(LineSeries::new(points.clone(), style))
        .map_err(failed)?;
    chart
        .draw_series(points.map(|point| Circle::new(point, 4, colour.filled())))
        .map_err(failed)?;
    Ok(())
}

/// The same for the axis of a narrow plot.
pub(super) fn short_binary(bytes: u64) -> String {
    binary(bytes)
        .replace(" KiB", "K")
        .replace(" MiB", "M")
        .replace(" B", "")
}

/// A size of reads in binary units, which they are multiples of.
pub(in super::super) fn binary(bytes: u64) -> String {
    match bytes {
        n if n >= 1 << 20 && n.is_multiple_of(1 << 20) => format!("{} MiB", n >> 20),
        n if n >= 1 << 10 && n.is_multiple_of(1 << 10) => format!("{} KiB", n >> 10),
        n => format!("{n} B"),
    }
}
