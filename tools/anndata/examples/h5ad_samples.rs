//! Writes sample `.h5ad` files for `tests/python/check_h5ad_writer.py`, which reads them with anndata.

#[path = "../tests/samples/mod.rs"]
mod samples;

fn main() {
    let directory = std::env::args_os().nth(1).map(std::path::PathBuf::from);
    samples::write_all(&directory.unwrap_or_else(std::env::temp_dir));
}
