//! What the order of the cells does to a model: the same classifier, fed by streaming, by block sampling and in true random
//! order from a store whose cells are sorted by class.
//!
//! ```sh
//! cellring convert tools/data/mousebrain10k.h5ad -o mouse.cellring
//! cargo run --release --example bias -- mouse.cellring
//! ```
//!
//! A stream shows the model one class after the other, and it forgets all but the last. Block sampling mixes blocks from all
//! over the store in each fetch, and does as well as true random order while reading in blocks.
#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

#[path = "linear/bias.rs"]
mod bias;
mod linear;

use std::sync::Arc;

use cellring::Store;

fn main() -> linear::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: bias STORE [COLUMN]")?;
    let store = Arc::new(Store::open(path)?);
    let scratch = tempfile::tempdir()?;
    println!("{:40} accuracy  macro-F1", "one epoch, mean of 3 seeds");
    for fed in bias::compare(&store, arguments.next().as_deref(), scratch.path(), 3)? {
        println!(
            "{:40} {:8.3}  {:8.3}",
            fed.name, fed.scores.accuracy, fed.scores.macro_f1
        );
    }
    Ok(())
}
