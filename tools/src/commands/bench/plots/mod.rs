//! The plots of a report, as SVG.

mod diversity;
mod places;
#[cfg(test)]
mod tests;

use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::raw::Raw;
use super::report::{Report, Row};
use crate::failure::Failure;
use crate::output;
pub(super) use diversity::diversity;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Of all plots, in units that are pixels where a page is narrow: a plot that is drawn wide and shown small cannot be read.
const WIDTH: u32 = 640;
/// Heights of text. The backend writes letters of four fifths of these.
const TEXT: u32 = 16;
const SMALL: u32 = 15;
/// Of the labels in the plot and of the least one of an axis, in letters of its height: as wide as digits are in common fonts.
const LETTER: f64 = 0.8 * 0.6;
const INK: RGBColor = RGBColor(51, 65, 85);
const FAINT: RGBColor = RGBColor(226, 232, 240);
const MUTED: RGBColor = RGBColor(148, 163, 184);

/// Colours of series that have no order.
const SERIES: [RGBColor; 6] = [
    RGBColor(37, 99, 235),
    RGBColor(217, 119, 6),
    RGBColor(13, 148, 136),
    RGBColor(147, 51, 234),
    RGBColor(219, 39, 119),
    RGBColor(100, 116, 139),
];
/// Colours of series in an order, from little to much.
const RAMP: [RGBColor; 4] = [
    RGBColor(147, 197, 253),
    RGBColor(59, 130, 246),
    RGBColor(30, 64, 175),
    RGBColor(15, 23, 42),
];
/// Decoding, waiting for reads, waiting for the consumer, the rest.
const SPLIT: [RGBColor; 4] = [
    RGBColor(37, 99, 235),
    RGBColor(245, 158, 11),
    RGBColor(16, 185, 129),
    RGBColor(203, 213, 225),
];

/// A plot and what its colours mean.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) svg: String,
    pub(super) legend: Vec<(String, String)>,
}

fn css(colour: RGBColor) -> String {
    format!("#{:02x}{:02x}{:02x}", colour.0, colour.1, colour.2)
}

fn series_colour(i: usize) -> RGBColor {
    SERIES[i % SERIES.len()]
}

fn ramp_colour(i: usize, n: usize) -> RGBColor {
    RAMP[(i + RAMP.len().saturating_sub(n + 1)).min(RAMP.len() - 1)]
}

/// Draws on an area of this height.
fn draw(height: u32, what: impl FnOnce(&Area<'_>) -> Result<(), Failure>) -> Result<String, Failure> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        what(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::because(format!("a plot could not be drawn: {error}"))
}

/// How wide a text will be, about.
fn text_width(text: &str, size: u32) -> i32 {
    (text.chars().count() as f64 * f64::from(size) * LETTER).ceil() as i32
}

fn text(size: u32, colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour)
}

/// The labels and scales of a chart. Categories on the x axis stand at 0, 1, 2 and so on.
struct Axes<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    x_range: (f64, f64),
    y_max: f64,
    categories: &'a [String],
    has_x_labels: bool,
    y_label: &'a dyn Fn(&f64) -> String,
}

impl<'a> Axes<'a> {
    fn of_categories(title: &'a str, x: &'a str, y: &'a str, categories: &'a [String]) -> Self {
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

    fn on<'b, 'c>(&self, area: &'c Area<'b>) -> Result<Chart<'c, 'b>, Failure> {
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
fn short(value: &f64) -> String {
    match *value {
        v if v >= 1e6 => format!("{}M", trimmed(v * 1e-6)),
        v if v >= 1e3 => format!("{}k", trimmed(v * 1e-3)),
        v => trimmed(v),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn percent(value: &f64) -> String {
    format!("{value:.0} %")
}

fn gb(value: &f64) -> String {
    trimmed(value * 1e-9)
}

/// The top of an axis: a little above the largest value.
fn top(values: impl Iterator<Item = f64>) -> f64 {
    let largest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    if largest > 0.0 { largest * 1.12 } else { 1.0 }
}

/// A line with a dot at each point.
fn line(
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

/// Distinct values in the order of their size.
fn distinct<T: Ord + Copy>(rows: &[Row], of: impl Fn(&Row) -> T) -> Vec<T> {
    let mut values: Vec<T> = rows.iter().map(of).collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn names<T: Into<u64> + Copy>(values: &[T]) -> Vec<String> {
    values.iter().map(|&value| output::count(value.into())).collect()
}

fn factor_legend(factors: &[u32]) -> Vec<(String, String)> {
    let name = |(i, factor): (usize, &u32)| (css(series_colour(i)), format!("fetch factor {factor}"));
    factors.iter().enumerate().map(name).collect()
}

/// The part of the ceiling that the loader reaches, for each block size and fetch factor.
pub(super) fn of_ceiling(report: &Report) -> Result<Plot, Failure> {
    let rows = &report.runs;
    let (blocks, factors) = (
        distinct(rows, |row| row.block_size),
        distinct(rows, |row| row.fetch_factor),
    );
    let categories = names(&blocks);
    let axes = Axes {
        // A run beside which the device stood still would hide all others.
        y_max: top(rows.iter().map(|row| row.fraction_of_ceiling * 100.0)).clamp(112.0, 160.0),
        y_label: &percent,
        ..Axes::of_categories("", "block size", "of the ceiling", &categories)
    };
    let svg = draw(340, |area| {
        let mut chart = axes.on(area)?;
        let width = 0.76 / factors.len() as f64;
        for row in rows {
            let block = blocks
                .iter()
                .position(|&block| block == row.block_size)
                .unwrap_or(0);
            let factor = factors
                .iter()
                .position(|&factor| factor == row.fetch_factor)
                .unwrap_or(0);
            let left = block as f64 - 0.38 + factor as f64 * width;
            let value = row.fraction_of_ceiling * 100.0;
            let shown = value.min(axes.y_max);
            let bar = [(left + 0.01, 0.0), (left + width - 0.01, shown)];
            chart
                .draw_series([Rectangle::new(bar, series_colour(factor).filled())])
                .map_err(failed)?;
            let at = chart.backend_coord(&(left + width / 2.0, shown));
            let is_high = shown > axes.y_max / 10.0;
            let (down, colour) = if is_high { (5, WHITE) } else { (-17, INK) };
            let name = format!("{value:.0}");
            // Numbers that would run into each other are left to the table.
            let bar_width = chart.backend_coord(&(left + width, 0.0)).0 - chart.backend_coord(&(left, 0.0)).0;
            if text_width(&name, SMALL) > bar_width {
                continue;
            }
            let middle = at.0 - text_width(&name, SMALL) / 2;
            area.draw(&Text::new(name, (middle, at.1 + down), text(SMALL, colour)))
                .map_err(failed)?;
        }
        let ends = [(axes.x_range.0, 100.0), (axes.x_range.1, 100.0)];
        line(&mut chart, &ends, INK, true)
    })?;
    Ok(Plot {
        svg,
        legend: factor_legend(&factors),
    })
}

/// The loader with the largest fetch factor, between the ceilings of the device and of the cores.
pub(super) fn bounds(report: &Report) -> Result<Plot, Failure> {
    let factor = report.runs.iter().map(|row| row.fetch_factor).max();
    let mut rows: Vec<&Row> = report
        .runs
        .iter()
        .filter(|row| Some(row.fetch_factor) == factor)
        .collect();
    rows.sort_by_key(|row| row.block_size);
    let categories: Vec<String> = rows.iter().map(|row| output::count(row.block_size)).collect();
    let decode = report.decode_cells_per_second;
    let largest = rows
        .iter()
        .map(|row| row.device_cells_per_second.max(row.cells_per_second));
    let axes = Axes {
        y_max: top(largest.chain([decode])),
        ..Axes::of_categories("", "block size", "cells per second", &categories)
    };
    let [loader, device, cores] = [series_colour(0), series_colour(1), series_colour(2)];
    let svg = draw(340, |area| {
        let mut chart = axes.on(area)?;
        let points = |of: fn(&Row) -> f64| -> Vec<(f64, f64)> {
            rows.iter()
                .enumerate()
                .map(|(i, row)| (i as f64, of(row)))
                .collect()
        };
        line(
            &mut chart,
            &points(|row| row.device_cells_per_second),
            device,
            false,
        )?;
        line(
            &mut chart,
            &[(axes.x_range.0, decode), (axes.x_range.1, decode)],
            cores,
            true,
        )?;
        line(&mut chart, &points(|row| row.cells_per_second), loader, false)
    })?;
    let loader_name = format!("loader, fetch factor {}", factor.unwrap_or(0));
    let legend = vec![
        (css(loader), loader_name),
        (css(device), "device: the same reads without decoding".to_owned()),
        (css(cores), "cores: decoding from memory".to_owned()),
    ];
    Ok(Plot { svg, legend })
}

/// Where the time of the decoding threads goes, one bar for each run.
pub(super) fn time_split(report: &Report) -> Result<Plot, Failure> {
    const ROW: i32 = 24;
    let rows = &report.runs;
    let name = |row: &Row| format!("block {}, fetch {}", row.block_size, row.fetch_factor);
    let widest = rows.iter().map(|row| text_width(&name(row), TEXT)).max();
    let (left, right, head) = (widest.unwrap_or(0) + 16, WIDTH as i32 - 26, 8);
    let height = head + ROW * rows.len() as i32 + 40;
    let svg = draw(height as u32, |area| {
        let x_of = |part: f64| left + (f64::from(right - left) * part) as i32;
        let bottom = head + ROW * rows.len() as i32;
        for tenth in (0..=10).step_by(2) {
            let x = x_of(f64::from(tenth) / 10.0);
            area.draw(&PathElement::new([(x, head), (x, bottom)], FAINT))
                .map_err(failed)?;
            let name = format!("{} %", tenth * 10);
            let middle = x - text_width(&name, TEXT) / 2;
            area.draw(&Text::new(name, (middle, bottom + 6), text(TEXT, INK)))
                .map_err(failed)?;
        }
        for (i, row) in rows.iter().enumerate() {
            let y = head + ROW * i as i32;
            area.draw(&Text::new(name(row), (6, y + 4), text(TEXT, INK)))
                .map_err(failed)?;
            let parts = [
                row.time_decoding,
                row.time_waiting_for_reads,
                row.time_waiting_for_consumer,
                row.time_otherwise,
            ];
            let mut begins = 0.0;
            for (part, colour) in parts.into_iter().zip(SPLIT) {
                let corners = [(x_of(begins), y + 2), (x_of(begins + part), y + ROW - 3)];
                area.draw(&Rectangle::new(corners, colour.filled()))
                    .map_err(failed)?;
                begins += part;
            }
        }
        Ok(())
    })?;
    let names = [
        "decoding",
        "waiting for reads",
        "waiting for the consumer",
        "the rest: starting, locks, other threads on the core",
    ];
    let legend = SPLIT
        .into_iter()
        .zip(names)
        .map(|(colour, name)| (css(colour), name.to_owned()));
    Ok(Plot {
        svg,
        legend: legend.collect(),
    })
}

/// Random reads by size: for each backend a panel with a line for each depth, and one with the best depth of each.
pub(super) fn ceilings(report: &Report) -> Result<Option<[Plot; 2]>, Failure> {
    let raws = &report.ceilings;
    let mut backends: Vec<&str> = Vec::new();
    for raw in raws {
        if !backends.contains(&raw.backend.as_str()) {
            backends.push(&raw.backend);
        }
    }
    if backends.is_empty() {
        return Ok(None);
    }
    let mut sizes: Vec<u64> = raws.iter().map(|raw| raw.read_bytes).collect();
    let mut depths: Vec<u64> = raws.iter().filter_map(|raw| raw.depth).collect();
    for values in [&mut sizes, &mut depths] {
        values.sort_unstable();
        values.dedup();
    }
    let categories: Vec<String> = sizes.iter().map(|&bytes| short_binary(bytes)).collect();
    let y_max = top(raws.iter().map(|raw| raw.bytes_per_second));
    let points = |chosen: &dyn Fn(&Raw) -> bool| -> Vec<(f64, f64)> {
        let best = |&bytes: &u64| {
            let of_size = raws.iter().filter(|raw| raw.read_bytes == bytes && chosen(raw));
            of_size.map(|raw| raw.bytes_per_second).reduce(f64::max)
        };
        let values = sizes.iter().map(best).enumerate();
        values.filter_map(|(i, value)| Some((i as f64, value?))).collect()
    };
    let axes = |title| Axes {
        y_max,
        y_label: &gb,
        ..Axes::of_categories(title, "bytes read at once", "GB/s", &categories)
    };
    let best = draw(340, |area| {
        let mut chart = axes("").on(area)?;
        for (i, &backend) in backends.iter().enumerate() {
            line(
                &mut chart,
                &points(&|raw| raw.backend == backend),
                series_colour(i),
                false,
            )?;
        }
        Ok(())
    })?;
    let panel_rows = backends.len().div_ceil(PANELS_IN_A_ROW);
    let panels = draw(270 * panel_rows as u32, |area| {
        for (panel, &backend) in area
            .split_evenly((panel_rows, PANELS_IN_A_ROW))
            .iter()
            .zip(&backends)
        {
            let mut chart = axes(backend).on(panel)?;
            for (i, &depth) in depths.iter().enumerate() {
                let of_depth = points(&|raw| raw.backend == backend && raw.depth == Some(depth));
                line(&mut chart, &of_depth, ramp_colour(i, depths.len()), false)?;
            }
        }
        Ok(())
    })?;
    let backend_legend = |(i, &name): (usize, &&str)| (css(series_colour(i)), name.to_owned());
    let depth_legend =
        |(i, depth): (usize, &u64)| (css(ramp_colour(i, depths.len())), format!("depth {depth}"));
    Ok(Some([
        Plot {
            svg: best,
            legend: backends.iter().enumerate().map(backend_legend).collect(),
        },
        Plot {
            svg: panels,
            legend: depths.iter().enumerate().map(depth_legend).collect(),
        },
    ]))
}

/// Of the smaller plots.
const PANELS_IN_A_ROW: usize = 2;

/// The same for the axis of a narrow plot.
fn short_binary(bytes: u64) -> String {
    binary(bytes)
        .replace(" KiB", "K")
        .replace(" MiB", "M")
        .replace(" B", "")
}

/// A size of reads in binary units, which they are multiples of.
pub(super) fn binary(bytes: u64) -> String {
    match bytes {
        n if n >= 1 << 20 && n.is_multiple_of(1 << 20) => format!("{} MiB", n >> 20),
        n if n >= 1 << 10 && n.is_multiple_of(1 << 10) => format!("{} KiB", n >> 10),
        n => format!("{n} B"),
    }
}
