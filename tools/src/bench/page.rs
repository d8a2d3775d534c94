//! The report as one page: nothing is loaded from anywhere else.

use std::fmt::Write;

use super::plots::{self, Plot};
use super::report::{Report, Row};
use crate::failure::Failure;
use crate::output;

const STYLE: &str = "
:root { color-scheme: light; }
body { margin: 0; background: #f1f5f9; color: #1e293b; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 16px 60px; }
h1 { font-size: 26px; margin: 0 0 2px; }
h2 { font-size: 18px; margin: 0 0 4px; }
p { margin: 0 0 10px; max-width: 100ch; }
.sub { color: #64748b; margin-bottom: 18px; }
.warn { background: #fef3c7; border-left: 4px solid #d97706; padding: 8px 12px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 0 0 18px; }
.tile, section { background: #fff; border: 1px solid #e2e8f0; border-radius: 10px; }
.tile { padding: 12px 16px; }
.tile b { display: block; font-size: 24px; font-variant-numeric: tabular-nums; }
.tile span { color: #64748b; font-size: 13px; }
section { padding: 18px 20px; margin: 0 0 18px; overflow-x: auto; }
svg { width: 100%; max-width: 820px; height: auto; display: block; }
@media (max-width: 700px) { main { padding: 12px 4px 40px; } section { padding: 12px 8px; } }
svg text { font-family: system-ui, sans-serif; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 4px 0 6px; font-size: 13px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; vertical-align: -1px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: 4px 8px; border-bottom: 1px solid #e2e8f0; white-space: nowrap; }
th { color: #64748b; font-weight: 600; white-space: normal; vertical-align: bottom; min-width: 3.4em; }
td:first-child, th:first-child { text-align: left; }
";

/// The page.
pub(crate) fn page(report: &Report) -> Result<String, Failure> {
    let mut body = String::new();
    head(&mut body, report);
    tiles(&mut body, report);
    if let Some(plot) = plots::diversity(report)? {
        let text = format!(
            "Each point is one block size (b16 is 16 cells) with one fetch factor. The axis shows how much less mixed minibatches are than in true random order, which has {:.2} bits, as measured by the labels: {}. Further up and further right is better.",
            report.random_entropy_bits.unwrap_or(0.0),
            report.labels
        );
        section(
            &mut body,
            "diversity",
            "Throughput against diversity",
            &text,
            &plot,
        );
    }
    section(
        &mut body,
        "bounds",
        "The loader and what bounds it",
        "The device's ceiling is the same reads by the same engine without decoding; that of the cores is decoding from memory \
         with nothing to read. The loader shares the cores between both.",
        &plots::bounds(report)?,
    );
    section(
        &mut body,
        "ceiling",
        "Part of the ceiling",
        "Cells per second of the loader, as a part of the lower of the two ceilings at the same block size and fetch factor. \
         Above 100 %: the device was faster during the loader's run than during its own.",
        &plots::share_of_ceiling(report)?,
    );
    section(
        &mut body,
        "split",
        "Where the time goes",
        "Time of the decoding threads. Waiting for reads: the device is the limit. Waiting for the consumer: it takes minibatches more \
         slowly than they are made.",
        &plots::time_split(report)?,
    );
    if let Some([best, panels]) = plots::ceilings(report)? {
        section(
            &mut body,
            "backends",
            "The device by read size and backend",
            "Random reads from the shards with nothing else to do, each backend at its best depth.",
            &best,
        );
        section(
            &mut body,
            "depths",
            "The device by read size and depth",
            "The same for each depth: reads in flight of a ring, or threads. mmap goes through the page cache; the others bypass it where the filesystem supports direct I/O.",
            &panels,
        );
    }
    for backend in &report.unavailable {
        let reason = escape(&backend.reason);
        let _ = writeln!(
            body,
            "<p>{} could not be measured: {reason}</p>",
            escape(&backend.backend)
        );
    }
    runs_table(&mut body, report);
    ceilings_table(&mut body, report);
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>cellring bench: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(&report.store)
    ))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn head(body: &mut String, report: &Report) {
    let machine = [
        report.cpu.clone(),
        report.kernel.as_ref().map(|kernel| format!("Linux {kernel}")),
    ];
    let machine: Vec<_> = machine.into_iter().flatten().collect();
    let _ = writeln!(body, "<h1>{}</h1>", escape(&report.store));
    let _ = writeln!(
        body,
        "<p class=\"sub\">{} cells x {} genes, {} values, {}, {} &middot; {} cores, {} &middot; {} &middot; {} a run</p>",
        output::count(report.n_obs),
        output::count(report.n_vars),
        output::count(report.nnz),
        output::bytes(report.bytes),
        report.encoding,
        report.cores,
        escape(&machine.join(", ")),
        escape(report.reason.as_deref().unwrap_or_default()),
        output::seconds(report.seconds_per_run),
    );
    let class = if report.cold == Some(true) { "sub" } else { "warn" };
    let _ = writeln!(body, "<p class=\"{class}\">Data: {}.</p>", report.data());
    if let Some(converted) = &report.converted {
        let _ = writeln!(
            body,
            "<p class=\"sub\">Converted: {}.</p>",
            escape(&converted.sentence())
        );
    }
    if let Some(warning) = &report.too_small {
        let _ = writeln!(body, "<p class=\"warn\">{}.</p>", escape(warning));
    }
}

fn tiles(body: &mut String, report: &Report) {
    let fastest = report
        .runs
        .iter()
        .max_by(|a, b| a.cells_per_second.total_cmp(&b.cells_per_second));
    let random = report.runs.iter().filter(|row| row.block_size == 1);
    let random = random.max_by(|a, b| a.cells_per_second.total_cmp(&b.cells_per_second));
    let mut tile = |value: String, name: String| {
        let _ = writeln!(
            body,
            "<div class=\"tile\"><b>{value}</b><span>{name}</span></div>"
        );
    };
    let cells = |row: &Row| output::count(row.cells_per_second as u64);
    if let Some(row) = fastest {
        tile(
            cells(row),
            format!(
                "cells/s at most: block {}, fetch factor {}",
                row.block_size, row.fetch_factor
            ),
        );
        tile(
            output::rate(row.csr_bytes_per_second),
            "of CSR (8 bytes a value) at that".to_owned(),
        );
    }
    if let Some(row) = random {
        tile(
            cells(row),
            "cells/s in true random order (block size 1)".to_owned(),
        );
    }
    if let Some(nnz) = report.decode_nnz_per_second {
        let decode = format!("{:.2} G/s", nnz * 1e-9);
        tile(decode, "values decoded from memory".to_owned());
    }
    // The tiles were written one after the other: they become a grid.
    let at = body.find("<div class=\"tile\">").unwrap_or(body.len());
    body.insert_str(at, "<div class=\"tiles\">\n");
    body.push_str("</div>\n");
}

fn section(body: &mut String, id: &str, title: &str, text: &str, plot: &Plot) {
    let _ = writeln!(
        body,
        "<section id=\"{id}\">\n<h2>{title}</h2>\n<p>{}</p>",
        escape(text)
    );
    body.push_str("<div class=\"legend\">");
    for (colour, name) in &plot.legend {
        let _ = write!(
            body,
            "<span><i style=\"background:{colour}\"></i>{}</span>",
            escape(name)
        );
    }
    let _ = writeln!(body, "</div>\n{}</section>", plot.svg);
}

fn runs_table(body: &mut String, report: &Report) {
    let header = [
        "block size",
        "fetch factor",
        "cells/s",
        "CSR",
        "read",
        "mean read",
        "bytes read per byte of cells",
        "device, same reads",
        "of ceiling",
        "bound by",
        "CPU s per 1M cells",
        "p50 / p99 / max between minibatches, ms",
        "first minibatch",
        "entropy, bits",
    ];
    let row = |row: &Row| {
        [
            output::count(row.block_size),
            output::count(row.fetch_factor.into()),
            output::count(row.cells_per_second as u64),
            output::rate(row.csr_bytes_per_second),
            output::rate(row.bytes_read_per_second),
            output::bytes(row.mean_read_bytes),
            format!("{:.2}", row.read_amplification),
            output::rate(row.device_bytes_per_second),
            output::percent(row.fraction_of_ceiling),
            row.bound_by.to_owned(),
            format!("{:.2}", row.cpu_seconds_per_million_cells),
            format!(
                "{:.2} / {:.2} / {:.1}",
                row.interval_p50_ms, row.interval_p99_ms, row.interval_max_ms
            ),
            output::seconds(row.first_minibatch_seconds),
            row.entropy_bits
                .map_or("-".to_owned(), |bits| format!("{bits:.3}")),
        ]
    };
    table(
        body,
        "runs",
        "The loader's runs",
        &header,
        report.runs.iter().map(row),
    );
}

fn ceilings_table(body: &mut String, report: &Report) {
    if report.ceilings.is_empty() {
        return;
    }
    let header = [
        "backend",
        "direct",
        "read size",
        "depth",
        "rate",
        "reads/s",
        "CPU s per GB",
        "submission",
        "p50 / p99 of submissions, ms",
    ];
    let row = |raw: &super::raw::Raw| {
        let latencies = raw.submission_p50_ms.zip(raw.submission_p99_ms);
        [
            raw.backend.clone(),
            if raw.direct { "yes" } else { "no" }.to_owned(),
            plots::binary(raw.read_bytes),
            raw.depth.map_or("-".to_owned(), output::count),
            output::rate(raw.bytes_per_second),
            output::count(raw.iops as u64),
            format!("{:.3}", raw.cpu_seconds_per_gb),
            plots::binary(raw.submission_bytes),
            latencies.map_or("-".to_owned(), |(p50, p99)| format!("{p50:.2} / {p99:.2}")),
        ]
    };
    table(
        body,
        "reads",
        "The device's runs",
        &header,
        report.ceilings.iter().map(row),
    );
}

fn table<const N: usize>(
    body: &mut String,
    id: &str,
    title: &str,
    header: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let line = |tag: &str, cells: &[String]| {
        let cells = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let head = line("th", &header.map(str::to_owned));
    let rows: String = rows.map(|row| line("td", &row)).collect();
    let _ = writeln!(
        body,
        "<section id=\"{id}\">\n<h2>{title}</h2>\n<table>\n<thead>\n{head}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n</section>"
    );
}
