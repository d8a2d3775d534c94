//! The `cellring` command.
fn main() {}
