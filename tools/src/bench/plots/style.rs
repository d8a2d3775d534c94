//! Sizes, colours and letters of all plots.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::failure::Failure;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Of all plots, in units that are pixels where a page is narrow: a plot that is drawn wide and shown small cannot be read.
pub(super) const WIDTH: u32 = 640;
/// Heights of text. The backend writes letters of four fifths of these.
pub(super) const TEXT: u32 = 16;
pub(super) const SMALL: u32 = 15;
/// Of the labels in the plot and of the least one of an axis, in letters of its height: as wide as digits are in common fonts.
pub(super) const LETTER: f64 = 0.8 * 0.6;
pub(super) const INK: RGBColor = RGBColor(51, 65, 85);
pub(super) const FAINT: RGBColor = RGBColor(226, 232, 240);
pub(super) const MUTED: RGBColor = RGBColor(148, 163, 184);

/// Colours of series that have no order.
pub(super) const SERIES: [RGBColor; 6] = [
    RGBColor(37, 99, 235),
    RGBColor(217, 119, 6),
    RGBColor(13, 148, 136),
    RGBColor(147, 51, 234),
    RGBColor(219, 39, 119),
    RGBColor(100, 116, 139),
];
/// Colours of series in an order, from little to much.
pub(super) const RAMP: [RGBColor; 4] = [
    RGBColor(147, 197, 253),
    RGBColor(59, 130, 246),
    RGBColor(30, 64, 175),
    RGBColor(15, 23, 42),
];
/// Decoding, waiting for reads, waiting for the consumer, the rest.
pub(super) const SPLIT: [RGBColor; 4] = [
    RGBColor(37, 99, 235),
    RGBColor(245, 158, 11),
    RGBColor(16, 185, 129),
    RGBColor(203, 213, 225),
];

/// A plot and what its colours mean.
#[derive(Debug)]
pub(in super::super) struct Plot {
    pub(in super::super) svg: String,
    pub(in super::super) legend: Vec<(String, String)>,
}

pub(super) fn css(colour: RGBColor) -> String {
    format!("#{:02x}{:02x}{:02x}", colour.0, colour.1, colour.2)
}

pub(super) fn series_colour(i: usize) -> RGBColor {
    SERIES[i % SERIES.len()]
}

pub(super) fn ramp_colour(i: usize, n: usize) -> RGBColor {
    RAMP[(i + RAMP.len().saturating_sub(n + 1)).min(RAMP.len() - 1)]
}

/// Draws on an area of this height.
pub(super) fn draw(
    height: u32,
    what: impl FnOnce(&Area<'_>) -> Result<(), Failure>,
) -> Result<String, Failure> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        what(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

pub(super) fn failed(error: impl std::error::Error) -> Failure {
    Failure::because(format!("a plot could not be drawn: {error}"))
}

/// How wide a text will be, about.
pub(super) fn text_width(text: &str, size: u32) -> i32 {
    (text.chars().count() as f64 * f64::from(size) * LETTER).ceil() as i32
}

pub(super) fn text(size: u32, colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour)
}
