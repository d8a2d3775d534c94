//! Throughput beside what bounds it, and where its time goes.

use plotters::prelude::*;

use super::axes::{Axes, line, percent, top};
use super::groups::{distinct, factor_legend, names};
use super::style::*;
use crate::bench::report::{Report, Row};
use crate::failure::Failure;
use crate::output;

/// The part of the ceiling that the loader reaches, for each block size and fetch factor.
pub(in super::super) fn share_of_ceiling(report: &Report) -> Result<Plot, Failure> {
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
        ..Axes::with_categories("", "block size", "of the ceiling", &categories)
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
pub(in super::super) fn bounds(report: &Report) -> Result<Plot, Failure> {
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
        y_max: top(largest.chain(decode)),
        ..Axes::with_categories("", "block size", "cells per second", &categories)
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
        if let Some(decode) = decode {
            line(
                &mut chart,
                &[(axes.x_range.0, decode), (axes.x_range.1, decode)],
                cores,
                true,
            )?;
        }
        line(&mut chart, &points(|row| row.cells_per_second), loader, false)
    })?;
    let loader_name = format!("loader, fetch factor {}", factor.unwrap_or(0));
    let mut legend = vec![
        (css(loader), loader_name),
        (css(device), "device: the same reads without decoding".to_owned()),
    ];
    if decode.is_some() {
        legend.push((css(cores), "cores: decoding from memory".to_owned()));
    }
    Ok(Plot { svg, legend })
}

/// Where the time of the decoding threads goes, one bar for each run.
pub(in super::super) fn time_split(report: &Report) -> Result<Plot, Failure> {
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
