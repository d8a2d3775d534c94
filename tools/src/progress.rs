//! Progress bars on standard error; silent where that is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for a known amount of work, counted in `unit` ("cells", "blocks").
pub(crate) fn bar(what: &'static str, total: u64, unit: &'static str) -> ProgressBar {
    let template =
        format!("{{msg}} {{bar:32}} {{human_pos}} of {{human_len}} {unit}, {{per_sec}}, {{eta}} left");
    // The template is ours and right; without it there would still be a bar.
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_message(what)
}

/// A bar for work that is measured in units of no meaning.
pub(crate) fn percent(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:32} {percent} %, {eta} left");
    ProgressBar::new(0)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(what)
}

/// Moves a bar whose total may change.
pub(crate) fn set(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}
