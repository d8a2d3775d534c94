//! Progress bars on standard error; silent where that is not a terminal, unless a program asks for lines of JSON.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::output;

/// A bar for a known amount of work, counted in `unit` ("cells", "blocks").
pub(crate) fn bar(what: &'static str, total: u64, unit: &'static str) -> ProgressBar {
    let template =
        format!("{{msg}} {{bar:32}} {{human_pos}} of {{human_len}} {unit}, {{per_sec}}, {{eta}} left");
    with_template(&template, total).with_message(what)
}

/// A bar for work that is measured in units of no meaning.
pub(crate) fn percent(what: &'static str) -> ProgressBar {
    with_template("{msg} {bar:32} {percent} %, {eta} left", 0).with_message(what)
}

/// What a program that runs the command sets to `json`, to be told of progress: it gets lines as
/// `{"progress": {"what": "converting", "done": 3, "total": 10}}` on standard error, a few in a second.
const PROGRESS: &str = "CELLRING_PROGRESS";
const LINE: &str = r#"{{"progress":{{"what":"{msg}","done":{pos},"total":{len}}}}}"#;
const LINES_PER_SECOND: u8 = 10;

fn with_template(template: &str, total: u64) -> ProgressBar {
    let is_for_program = std::env::var_os(PROGRESS).is_some_and(|value| value == "json");
    let template = if is_for_program { LINE } else { template };
    // The templates are ours and right; without one there would still be a bar.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total).with_style(style);
    if is_for_program {
        let lines = Box::new(ProgressLines);
        bar.set_draw_target(ProgressDrawTarget::term_like_with_hz(lines, LINES_PER_SECOND));
    }
    bar
}

/// Standard error as a "terminal" on which each state of a bar is a line of its own.
#[derive(Debug)]
struct ProgressLines;

impl ProgressLines {
    fn print(&self, text: &str) -> io::Result<()> {
        match text.trim() {
            "" => Ok(()),
            line => writeln!(io::stderr(), "{line}"),
        }
    }
}

impl TermLike for ProgressLines {
    fn width(&self) -> u16 {
        u16::MAX
    }
    fn move_cursor_up(&self, _n: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _n: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _n: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _n: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, line: &str) -> io::Result<()> {
        self.print(line)
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.print(text)
    }
    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Moves a bar whose total may change.
pub(crate) fn set(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}

/// A bar for epochs, of which each is counted by itself: how many there will be is not known where time is the limit.
#[derive(Debug)]
pub(crate) struct Epochs(ProgressBar);

impl Epochs {
    /// For so much time, or for one epoch.
    pub(crate) fn new(time: Option<Duration>) -> Self {
        let rest = match time {
            Some(time) => format!("{{elapsed}} of {}", output::seconds(time.as_secs_f64())),
            None => "{eta} left".to_owned(),
        };
        let counted = "{human_pos} of {human_len} minibatches, {per_sec}";
        Self(with_template(
            &format!("epoch {{msg}} {{bar:32}} {counted}, {rest}"),
            0,
        ))
    }

    /// One that is never shown.
    pub(crate) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// An epoch begins, of which so many minibatches will be taken at most.
    pub(crate) fn begin(&self, epoch: u64, minibatches: u64) {
        // In this order: nothing is drawn beyond its end.
        self.0.set_length(minibatches);
        self.0.set_position(0);
        self.0.set_message(epoch.to_string());
    }

    /// A minibatch was taken.
    pub(crate) fn advance(&self) {
        self.0.inc(1);
    }

    /// Removes the bar.
    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
