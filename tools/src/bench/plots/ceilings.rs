//! Random reads by every backend.

use super::axes::{Axes, gb, line, short_binary, top};
use super::style::{Plot, css, draw, ramp_colour, series_colour};
use crate::bench::raw::Raw;
use crate::bench::report::Report;
use crate::failure::Failure;

/// Of the smaller plots.
const PANELS_IN_A_ROW: usize = 2;

/// Random reads by size: for each backend a panel with a line for each depth, and one with the best depth of each.
pub(in super::super) fn ceilings(report: &Report) -> Result<Option<[Plot; 2]>, Failure> {
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
        ..Axes::with_categories(title, "bytes read at once", "GB/s", &categories)
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
