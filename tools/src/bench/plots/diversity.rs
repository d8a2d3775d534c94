//! Throughput against diversity.

use plotters::prelude::*;

use super::axes::{Axes, line, top, trimmed};
use super::groups::{distinct, factor_legend};
use super::label_places::LabelPlaces;
use super::style::*;
use crate::bench::report::{Report, Row};
use crate::failure::Failure;

/// Bits below true random sampling that are marked on the axis of diversity. What is nearer than the last counts as it:
/// a plan is only looked at in a sample of its minibatches.
const LOSSES: [f64; 6] = [3.0, 1.0, 0.3, 0.1, 0.03, 0.01];

/// Cells per second against the entropy that minibatches lose, on a logarithmic axis from much to nothing: one line for
/// each fetch factor, from large blocks to block size 1.
pub(in super::super) fn diversity(report: &Report) -> Result<Option<Plot>, Failure> {
    let rows = &report.runs;
    let Some(random) = report.random_entropy_bits else {
        return Ok(None);
    };
    let x_of = |loss: f64| -loss.max(LOSSES[5]).log10();
    let loss = |row: &Row| row.entropy_bits.map(|bits| random - bits);
    let factors = distinct(rows, |row| row.fetch_factor);
    let most = rows.iter().filter_map(loss).fold(LOSSES[1], f64::max);
    let axes = Axes {
        x: "entropy below true random sampling, bits (right: better mixed)",
        x_range: (x_of(most) - 0.08, x_of(0.0) + 0.12),
        y_max: top(rows.iter().map(|row| row.cells_per_second)),
        has_x_labels: false,
        ..Axes::with_categories("", "", "cells per second", &[])
    };
    let svg = draw(420, |area| {
        let mut chart = axes.on(area)?;
        for mark in LOSSES.into_iter().filter(|&mark| mark <= most) {
            let x = x_of(mark);
            let up = [(x, 0.0), (x, axes.y_max)];
            chart.draw_series([PathElement::new(up, FAINT)]).map_err(failed)?;
            let sign = if mark == LOSSES[5] { "\u{2264} " } else { "" };
            let name = format!("{sign}{}", trimmed(mark));
            let at = chart.backend_coord(&(x, 0.0));
            let left = at.0 - text_width(&name, TEXT) / 2;
            area.draw(&Text::new(name, (left, at.1 + 6), text(TEXT, INK)))
                .map_err(failed)?;
        }
        let well = x_of(random * 0.01);
        line(&mut chart, &[(well, 0.0), (well, axes.y_max)], MUTED, true)?;
        let ends = [(axes.x_range.0, 0.0), (axes.x_range.1, axes.y_max)].map(|end| chart.backend_coord(&end));
        let mut places = LabelPlaces::within(ends[0], ends[1]);
        let at = chart.backend_coord(&(well, axes.y_max));
        let name = "1 % below";
        let at = places.beside((at.0, at.1 + 8), name, TEXT).at;
        area.draw(&Text::new(name, at, text(TEXT, INK))).map_err(failed)?;
        let mut named = Vec::new();
        for (i, &factor) in factors.iter().enumerate() {
            let of_factor = rows.iter().filter(|row| row.fetch_factor == factor);
            let mut points: Vec<_> = of_factor
                .filter_map(|row| Some((x_of(loss(row)?), row.cells_per_second, row.block_size)))
                .collect();
            points.sort_by_key(|&(.., block_size)| std::cmp::Reverse(block_size));
            let xy: Vec<_> = points.iter().map(|&(x, y, _)| (x, y)).collect();
            line(&mut chart, &xy, series_colour(i), false)?;
            named.extend(points.into_iter().map(|(x, y, block_size)| {
                (
                    chart.backend_coord(&(x, y)),
                    format!("b{block_size}"),
                    series_colour(i),
                )
            }));
        }
        named.iter().for_each(|(point, ..)| places.keep_free(*point));
        for (point, name, colour) in named {
            let place = places.beside(point, &name, SMALL);
            if place.is_far {
                let (x, y) = place.at;
                let to = (x + text_width(&name, SMALL) / 2, y + SMALL as i32 / 2);
                area.draw(&PathElement::new([point, to], colour.mix(0.4)))
                    .map_err(failed)?;
            }
            area.draw(&Text::new(name, place.at, text(SMALL, colour)))
                .map_err(failed)?;
        }
        Ok(())
    })?;
    let legend = factor_legend(&factors);
    Ok(Some(Plot { svg, legend }))
}
