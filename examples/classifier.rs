//! Trains a linear classifier of cell type, in plain Rust.
//!
//! ```sh
//! cellring convert tools/data/mousebrain10k.h5ad -o mouse.cellring
//! cargo run --release --example classifier -- mouse.cellring
//! ```
//!
//! The shipped data set has no cell types: there, types are found by clustering on every other gene, and learnt from the
//! remaining genes. For a store that has them, name the column: `... -- atlas.cellring cell_type`.
#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

mod linear;

use std::sync::Arc;

use cellring::Store;
use cellring::plan::SamplerConfig;

fn main() -> linear::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: classifier STORE [COLUMN]")?;
    let store = Arc::new(Store::open(path)?);
    let task = linear::Task::new(&store, arguments.next().as_deref())?;
    let [training, testing] = task.split(0)?;
    println!(
        "{} cells to train on, {} to test on, {} classes",
        training.len(),
        testing.len(),
        task.classes.len()
    );
    // Blocks of 16 cells, shuffled 16,384 cells at a time.
    let sampler = SamplerConfig::default().seed(1);
    for n_epochs in [1, 3] {
        let model = linear::train(&store, &task, &training, sampler.clone(), n_epochs)?;
        let scores = linear::test(&store, &task, &testing, &model)?;
        println!(
            "after {n_epochs} epoch(s): accuracy {:.3}, macro-F1 {:.3}",
            scores.accuracy, scores.macro_f1
        );
    }
    Ok(())
}
