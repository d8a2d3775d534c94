//! Several matrices of the same cells in one store.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cellring::engine::{Backend, EngineConfig};
use cellring::format::{CsrRows, Encoding, ValueBuffer, VarOrder};
use cellring::loader::{Collection, MatrixChoice};
use cellring::minibatch::{Layout, Matrix, OutputType, Values};
use cellring::plan::SamplerConfig;
use cellring::store::verify;
use cellring::{ErrorKind, Loader, LoaderConfig, Store};
use cellring_anndata::Selection;
use cellring_tools::convert::{ConvertOptions, ObsOrder};
use cellring_tools::export::{ExportOptions, export};

use super::round_trip::compare;
use super::{python, run_convert, scratch, shared_data};

/// Files with layers and more, the matrix of the store, and the other ones.
fn inputs() -> Vec<(PathBuf, Selection, Vec<Selection>)> {
    let Some(data) = shared_data() else { return vec![] };
    let layer = |name: &&str| Selection::Layer((*name).to_owned());
    let obsm = |name: &&str| Selection::Obsm((*name).to_owned());
    let mut velocity: Vec<Selection> = ["spliced", "unspliced", "Ms", "velocity", "fit_tau_"]
        .iter()
        .map(layer)
        .collect();
    velocity.push(Selection::Raw);
    velocity.extend(["X_pca", "X_diffmap", "X_umap"].iter().map(obsm));
    let mut example: Vec<Selection> = ["csc_counts", "dense_X", "dense_counts"]
        .iter()
        .map(layer)
        .collect();
    example.extend(["X_pca", "X_umap"].iter().map(obsm));
    vec![
        (
            data.join("compat/cellrank_100_raw_layers.h5ad"),
            Selection::X,
            velocity,
        ),
        (
            data.join("compat/anndataR_example.h5ad"),
            layer(&"counts"),
            example,
        ),
        (
            data.join("compat/scp_anndata_test_raw_dense.h5ad"),
            Selection::Raw,
            vec![obsm(&"X_tsne"), obsm(&"spatial")],
        ),
        (
            data.join("compat/bpcells_mini_i64_v0.12.6.h5ad"),
            Selection::X,
            vec![layer(&"dense"), layer(&"transpose"), obsm(&"obs_mat")],
        ),
    ]
}

fn options(selection: &Selection, further: &[Selection]) -> ConvertOptions {
    ConvertOptions {
        selection: selection.clone(),
        other_matrices: further.to_vec(),
        block_size: 16,
        force: true,
        ..ConvertOptions::default()
    }
}

/// Stores verify, a reader written from the specification alone agrees, and what is exported equals the source, each matrix in its
/// place.
#[test]
fn every_matrix_comes_back_to_its_place() {
    let directory = scratch();
    let mut lines = String::new();
    for (number, (path, selection, further)) in inputs().into_iter().enumerate() {
        for (encoding, obs_order) in [
            (Encoding::Packed, None),
            (Encoding::Raw, Some(ObsOrder::Shuffled { seed: 5 })),
        ] {
            let options = ConvertOptions {
                encoding,
                obs_order,
                ..options(&selection, &further)
            };
            let name = directory.path().join(format!("{number}-{}", encoding.name()));
            let (store, exported) = (name.with_extension("cellring"), name.with_extension("h5ad"));
            let report = run_convert(&path, &store, &options).unwrap();
            assert_eq!(report.matrices.len(), 1 + further.len());
            let opened = Store::open(&store).unwrap();
            verify(&opened, 2, &|_| {}).unwrap();
            assert_eq!(opened.total_bytes(), bytes_in(&store), "all files are counted");
            let spec_reader = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/spec_reader.py");
            let read = Command::new(python())
                .arg(spec_reader)
                .arg(&store)
                .output()
                .unwrap();
            assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
            export(&store, &exported, &ExportOptions::default(), &|_, _| {}).unwrap();
            for selection in std::iter::once(&selection).chain(&further) {
                write!(lines, "{}\t{}", path.display(), exported.display()).unwrap();
                match selection {
                    Selection::X => lines += "\t--in-place",
                    // Alone it is X of the export.
                    Selection::Raw if number == 2 => lines += "\t--raw",
                    Selection::Raw => lines += "\t--raw\t--in-place",
                    Selection::Layer(name) => write!(lines, "\t--layer\t{name}\t--in-place").unwrap(),
                    Selection::Obsm(name) => write!(lines, "\t--obsm\t{name}").unwrap(),
                }
                lines.push('\n');
            }
        }
    }
    compare(&lines);
}

fn bytes_in(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| match path.is_dir() {
            true => bytes_in(&path),
            false => path.metadata().unwrap().len(),
        })
        .sum()
}

/// What a row holds, by column, zeros left out: the bits of its values as `f64`, which NaN and negative zeros differ in as well.
type Row = Vec<(i64, u64)>;

fn without_zeros(columns: impl Iterator<Item = i64>, values: impl Iterator<Item = f64>) -> Row {
    let bits = values.map(f64::to_bits);
    columns.zip(bits).filter(|(_, bits)| *bits != 0).collect()
}

fn row_of(matrix: &Matrix, row: usize) -> Row {
    let at = |values: Values<'_>, k: usize| match values {
        Values::F32(values) => f64::from(values[k]),
        Values::F64(values) => values[k],
        Values::I64(values) => values[k] as f64,
        Values::I32(values) => f64::from(values[k]),
        other => panic!("{other:?}"),
    };
    if let Some(csr) = matrix.csr() {
        let range = csr.indptr.at(row) as usize..csr.indptr.at(row + 1) as usize;
        return without_zeros(
            range.clone().map(|k| csr.indices.at(k)),
            range.map(|k| at(csr.values, k)),
        );
    }
    let (dense, n_vars) = (matrix.dense().unwrap(), matrix.n_vars());
    let values = (0..n_vars).map(|column| at(dense.values, row * n_vars + column));
    without_zeros(0..n_vars as i64, values)
}

fn expected_row(rows: &CsrRows) -> Row {
    let columns = rows.indices.iter().map(|&column| i64::from(column));
    let values: Vec<f64> = match &rows.values {
        ValueBuffer::F32(values) => values.iter().map(|&value| value.into()).collect(),
        ValueBuffer::F64(values) => values.clone(),
        ValueBuffer::I64(values) => values.iter().map(|&value| value as f64).collect(),
        ValueBuffer::I32(values) => values.iter().map(|&value| value.into()).collect(),
        other => panic!("{other:?}"),
    };
    without_zeros(columns, values.into_iter())
}

fn config(further: &[Selection], engine: EngineConfig) -> LoaderConfig {
    let exact = |name: String| {
        let choice = MatrixChoice::from(name.as_str());
        let output = choice.output.clone().value_type(OutputType::Source);
        choice.output(output)
    };
    LoaderConfig::default()
        .sampler(
            SamplerConfig::default()
                .block_size(4)
                .batch_size(10)
                .fetch_factor(3),
        )
        .engine(engine)
        .memory_bytes(16 << 20)
        .allow_rounding(true)
        .matrices(further.iter().map(|selection| exact(selection.path())))
}

/// The other matrices of a minibatch are those of its cells, whatever reads them, and with which encoding.
#[test]
fn minibatches_hold_the_same_cells_of_every_matrix() {
    let directory = scratch();
    let (mut n_rows, mut n_dense) = (0, 0);
    for (path, selection, further) in inputs() {
        for encoding in [Encoding::Packed, Encoding::Raw] {
            let store = directory.path().join("loaded.cellring");
            let options = ConvertOptions {
                encoding,
                ..options(&selection, &further)
            };
            run_convert(&path, &store, &options).unwrap();
            let store = Arc::new(Store::open(&store).unwrap());
            for backend in [Backend::Auto, Backend::Uring, Backend::Pread, Backend::Mmap] {
                let mut engine = EngineConfig::default();
                engine.backend = backend;
                let loader = Loader::new(store.clone(), config(&further, engine)).unwrap();
                for epoch in 0..2 {
                    let mut cells = 0;
                    for minibatch in loader.epoch(epoch).unwrap() {
                        let minibatch = minibatch.unwrap();
                        assert_eq!(minibatch.matrices().len(), further.len());
                        for (matrix, source) in minibatch.matrices().iter().zip(store.matrices()) {
                            assert_eq!(
                                (matrix.n_obs(), matrix.n_vars()),
                                (minibatch.n_obs(), source.n_vars() as usize)
                            );
                            for (row, &obs) in minibatch.obs().iter().enumerate() {
                                let expected = expected_row(&source.rows(obs..obs + 1).unwrap());
                                let same = row_of(matrix, row) == expected;
                                assert!(same, "{:?}, obs {obs}", source.name());
                                n_rows += 1;
                                n_dense += usize::from(matrix.layout() == Layout::Dense);
                            }
                        }
                        cells += minibatch.n_obs() as u64;
                    }
                    assert_eq!(cells, store.n_obs());
                }
            }
        }
    }
    if shared_data().is_some() {
        assert!(n_rows > 10_000 && n_dense > 3_000, "{n_rows}, {n_dense}");
    }
}

/// Layers of several stores follow the genes of the collection, whatever order each store has them in.
#[test]
fn layers_of_several_stores_have_the_genes_of_the_collection() {
    let Some((path, selection, further)) = inputs().into_iter().next() else {
        return;
    };
    let directory = scratch();
    let stores = [VarOrder::Detection, VarOrder::Source].map(|var_order| {
        let store = directory.path().join(format!("{var_order:?}.cellring"));
        let options = ConvertOptions {
            var_order: Some(var_order),
            ..options(&selection, &further)
        };
        run_convert(&path, &store, &options).unwrap();
        Arc::new(Store::open(&store).unwrap())
    });
    let n_obs = stores[0].n_obs();
    for layer in stores[0]
        .matrices()
        .iter()
        .filter(|matrix| matrix.name().unwrap().starts_with("layers/"))
    {
        let positions = |store: &Store| store.source_positions().unwrap();
        assert_eq!(
            positions(layer),
            positions(&stores[0]),
            "layers have the order of the store"
        );
    }
    let collection = Collection::new(stores.to_vec()).unwrap();
    let loader = Loader::new(collection, config(&further, EngineConfig::default())).unwrap();
    let mut rows = vec![vec![]; 2 * n_obs as usize];
    for minibatch in loader.epoch(0).unwrap() {
        let minibatch = minibatch.unwrap();
        for (row, &obs) in minibatch.obs().iter().enumerate() {
            let all = std::iter::once(minibatch.matrix()).chain(minibatch.matrices());
            rows[obs as usize] = all.map(|matrix| row_of(matrix, row)).collect();
        }
    }
    let (first, second) = rows.split_at(n_obs as usize);
    assert!(first == second, "the same cells, twice");
    assert!(first.iter().all(|row| row.len() == 1 + further.len()));
}

#[test]
fn matrices_that_are_not_there_are_named() {
    let Some((path, selection, further)) = inputs().into_iter().next() else {
        return;
    };
    let directory = scratch();
    let store = directory.path().join("named.cellring");
    run_convert(&path, &store, &options(&selection, &further[..1])).unwrap();
    let opened = Arc::new(Store::open(&store).unwrap());
    let engine = EngineConfig::default();
    let error = Loader::new(opened.clone(), config(&[Selection::Raw], engine.clone())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    let message = error.to_string();
    assert!(
        message.contains("\"raw/X\"") && message.contains("layers/spliced"),
        "{message}"
    );
    // Damage in another matrix is found as in the first.
    let shard = store.join("matrices/00000/shard-00000.bin");
    let mut bytes = std::fs::read(&shard).unwrap();
    let at = 4096 + 40;
    bytes[at] ^= 4;
    std::fs::write(&shard, bytes).unwrap();
    let message = verify(&opened, 1, &|_| {}).unwrap_err().to_string();
    assert!(message.contains("matrices/00000/shard-00000.bin"), "{message}");
    let loader = Loader::new(opened, config(&further[..1], engine)).unwrap();
    let failed = loader
        .epoch(0)
        .unwrap()
        .filter_map(Result::err)
        .next()
        .unwrap()
        .to_string();
    assert!(failed.contains("matrices/00000/shard-00000.bin"), "{failed}");
    std::fs::write(store.join("matrices/stray"), "").unwrap();
    let message = verify(&Store::open(&store).unwrap(), 1, &|_| {})
        .unwrap_err()
        .to_string();
    assert!(message.contains("stray"), "{message}");
    // A matrix whose files are missing is not opened without them.
    std::fs::remove_file(store.join("matrices/00000/index.bin")).unwrap();
    let message = Store::open(&store).unwrap_err().to_string();
    assert!(message.contains("matrices/00000/index.bin"), "{message}");
}
