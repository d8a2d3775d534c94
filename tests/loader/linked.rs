//! Linked stores: the same minibatches as from a store that holds the values, whatever the file is like; and errors, never wrong data,
//! where it is not what it was.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cellring::engine::{Backend, Direct};
use cellring::format::{CsrRows, Element, ValueBuffer, ValueType};
use cellring::minibatch::OutputType;
use cellring::plan::{SamplerConfig, Strategy};
use cellring::store::verify;
use cellring::writer::{
    LinkedWriter, SourceArray, SourceChunk, SourceLayout, SourceMatrix, SourceRun, TableKind, WriterOptions,
};
use cellring::{ErrorKind, Loader, LoaderConfig, Minibatch, OutputConfig, Store};
use tempfile::TempDir;

use crate::common::{Mix, obs_table, var_table, write_store};

const DEFLATE: u16 = 1;
const SHUFFLE: u16 = 2;

/// A matrix as a file may hold it: columns in any order and several times, zeros, and values of any type.
struct Source {
    n_vars: u64,
    value_type: ValueType,
    index_type: ValueType,
    /// Of each obs the columns, and the values as bits.
    rows: Vec<Vec<(u32, u64)>>,
}

/// How the arrays of a file are written.
#[derive(Clone, Copy, Debug)]
struct Form {
    big_endian: bool,
    /// Elements of a chunk; none: one run.
    chunk: Option<usize>,
    shuffle: bool,
    deflate: bool,
    /// Chunks that the filters were not applied to, or that were never written as all they hold is zero.
    odd_chunks: bool,
}

impl Source {
    /// `odd`: rows that are not canonical.
    fn random(
        n_obs: usize,
        n_vars: u64,
        value_type: ValueType,
        index_type: ValueType,
        odd: bool,
        seed: u64,
    ) -> Self {
        let mut rng = Mix(seed);
        let mut rows = Vec::new();
        for row in 0..n_obs {
            let most = if row % 7 == 3 { 1 } else { n_vars / 3 };
            let mut entries = BTreeMap::new();
            for _ in 0..rng.below(most) {
                let large = if rng.below(200) == 0 { 300 } else { 6 };
                entries.insert(rng.below(n_vars) as u32, 1 + rng.below(large));
            }
            let mut entries: Vec<(u32, u64)> = entries.into_iter().collect();
            if odd && row % 3 == 0 && (entries.len() as u64) + 2 < n_vars {
                // Two of one column, a zero, and another order.
                if let Some(&(column, _)) = entries.first() {
                    entries.push((column, 2));
                }
                entries.push((rng.below(n_vars) as u32, 0));
                for k in (1..entries.len()).rev() {
                    entries.swap(k, rng.below(k as u64 + 1) as usize);
                }
            }
            let bits = |count: u64| {
                cellring::with_element!(value_type, T => match u32::try_from(count).unwrap() {
                    0 => T::from_bits(0),
                    count => T::from_count(if value_type.size_bytes() == 1 { 1 + count % 40 } else { count }),
                }
                .bits())
            };
            rows.push(
                entries
                    .iter()
                    .map(|&(column, count)| (column, bits(count)))
                    .collect(),
            );
        }
        Self {
            n_vars,
            value_type,
            index_type,
            rows,
        }
    }

    fn nnz(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    /// The rows as a conversion makes them.
    fn canonical(&self) -> CsrRows {
        cellring::with_element!(self.value_type, T => self.canonical_of::<T>())
    }

    fn canonical_of<T: Element>(&self) -> CsrRows {
        let (mut indptr, mut indices, mut values) = (vec![0], vec![], Vec::<T>::new());
        for row in &self.rows {
            let mut sums: BTreeMap<u32, T> = BTreeMap::new();
            for &(column, bits) in row {
                let value = T::from_bits(bits);
                let sum = match sums.get(&column) {
                    Some(&before) => before.sum(value).unwrap(),
                    None => value,
                };
                sums.insert(column, sum);
            }
            for (column, value) in sums.into_iter().filter(|(_, value)| value.bits() != 0) {
                indices.push(column);
                values.push(value);
            }
            indptr.push(indices.len() as u64);
        }
        let mut buffer = ValueBuffer::with_capacity(T::VALUE_TYPE, 0);
        *T::vec_mut(&mut buffer).unwrap() = values;
        CsrRows {
            indptr,
            indices,
            values: buffer,
        }
    }

    /// The elements of an array, in the byte order of the file.
    fn elements(&self, value_type: ValueType, big_endian: bool, of: impl Fn(&(u32, u64)) -> u64) -> Vec<u8> {
        let mut bytes = vec![];
        for entry in self.rows.iter().flatten() {
            let mut le = of(entry).to_le_bytes()[..value_type.size_bytes()].to_vec();
            if big_endian {
                le.reverse();
            }
            bytes.extend(le);
        }
        bytes
    }
}

/// Appends an array to a file, and says where it lies.
fn put_array(
    file: &mut Vec<u8>,
    path: &str,
    bytes: &[u8],
    value_type: ValueType,
    form: Form,
    rng: &mut Mix,
) -> SourceArray {
    let width = value_type.size_bytes();
    let gap = |file: &mut Vec<u8>, rng: &mut Mix| file.extend((0..rng.below(300)).map(|k| k as u8 ^ 0x5A));
    gap(file, rng);
    let mut filters = vec![];
    if form.shuffle {
        filters.push((SHUFFLE, vec![width as u32]));
    }
    if form.deflate {
        filters.push((DEFLATE, vec![4]));
    }
    let layout = match form.chunk {
        None => {
            let offset_bytes = file.len() as u64;
            file.extend_from_slice(bytes);
            SourceLayout::Runs(vec![SourceRun {
                first: 0,
                offset_bytes,
                file: 0,
            }])
        }
        Some(elements) if filters.is_empty() && !form.odd_chunks => {
            // Chunks that lie anywhere, of which some follow each other.
            let mut runs: Vec<SourceRun> = vec![];
            for (number, chunk) in bytes.chunks(elements * width).enumerate() {
                if number == 0 || rng.below(3) == 0 {
                    gap(file, rng);
                    runs.push(SourceRun {
                        first: (number * elements) as u64,
                        offset_bytes: file.len() as u64,
                        file: 0,
                    });
                }
                file.extend_from_slice(chunk);
            }
            SourceLayout::Runs(runs)
        }
        Some(elements) => {
            let mut chunks = vec![
                SourceChunk {
                    offset_bytes: 0,
                    stored_bytes: 0,
                    file: 0,
                    filter_mask: 0,
                };
                bytes.len().div_ceil(elements * width)
            ];
            let mut order: Vec<usize> = (0..chunks.len()).collect();
            order.reverse();
            for number in order {
                gap(file, rng);
                let mut chunk = bytes[number * elements * width..].to_vec();
                chunk.resize(elements * width, 0);
                if form.odd_chunks && chunk.iter().all(|&byte| byte == 0) {
                    continue;
                }
                let is_plain = form.odd_chunks && number % 4 == 1;
                let stored = match is_plain {
                    true => chunk,
                    false => filtered(&chunk, width, form),
                };
                chunks[number] = SourceChunk {
                    offset_bytes: file.len() as u64,
                    stored_bytes: stored.len() as u32,
                    file: 0,
                    filter_mask: if is_plain { (1 << filters.len()) - 1 } else { 0 },
                };
                file.extend(stored);
            }
            SourceLayout::Chunks {
                elements: elements as u64,
                chunks,
            }
        }
    };
    SourceArray {
        path: path.to_owned(),
        value_type,
        big_endian: form.big_endian,
        layout,
        filters,
        fill: [0; 8],
    }
}

fn filtered(chunk: &[u8], width: usize, form: Form) -> Vec<u8> {
    let mut bytes = chunk.to_vec();
    if form.shuffle {
        let n = chunk.len() / width;
        bytes = (0..width)
            .flat_map(|byte| (0..n).map(move |element| chunk[element * width + byte]))
            .collect();
    }
    if form.deflate {
        let level = libdeflater::CompressionLvl::new(4).unwrap();
        let mut compressor = libdeflater::Compressor::new(level);
        let mut out = vec![0; compressor.zlib_compress_bound(bytes.len())];
        let n = compressor.zlib_compress(&bytes, &mut out).unwrap();
        out.truncate(n);
        bytes = out;
    }
    bytes
}

/// Has a file look as if it had been left alone since this moment.
fn age(path: &Path) {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(then)
        .unwrap();
}

/// Writes the file, and the two stores of it: linked, and with the values.
fn stores(
    directory: &Path,
    name: &str,
    source: &Source,
    form: Form,
    seed: u64,
) -> (PathBuf, Arc<Store>, Arc<Store>) {
    let path = directory.join(format!("{name}.bin"));
    let (matrix, bytes) = matrix(source, form, seed);
    std::fs::write(&path, bytes).unwrap();
    age(&path);
    let linked = directory.join(format!("{name}.linked"));
    link(&linked, &path, &matrix).unwrap();
    let held = directory.join(format!("{name}.held"));
    let options = WriterOptions::new(source.n_vars, source.value_type).replace(true);
    write_store(&held, &source.canonical(), options, None).unwrap();
    let open = |path: &Path| Arc::new(Store::open(path).unwrap());
    (path, open(&linked), open(&held))
}

fn matrix(source: &Source, form: Form, seed: u64) -> (SourceMatrix, Vec<u8>) {
    let mut rng = Mix(seed);
    let mut file = b"a header".to_vec();
    let columns = source.elements(source.index_type, form.big_endian, |entry| entry.0.into());
    let values = source.elements(source.value_type, form.big_endian, |entry| entry.1);
    let indices = put_array(
        &mut file,
        "X/indices",
        &columns,
        source.index_type,
        form,
        &mut rng,
    );
    let data = put_array(&mut file, "X/data", &values, source.value_type, form, &mut rng);
    let matrix = SourceMatrix {
        n_vars: source.n_vars,
        indices,
        data,
        counts: source.rows.iter().map(|row| row.len() as u32).collect(),
        source: serde_json::json!({}),
    };
    (matrix, file)
}

fn link(store: &Path, file: &Path, matrix: &SourceMatrix) -> Result<(), cellring::Error> {
    let mut writer = LinkedWriter::create(store, file.parent().unwrap(), true)?;
    let identity: Vec<u32> = (0..matrix.n_vars as u32).collect();
    let tables = [
        (TableKind::Obs, obs_table(matrix.counts.len())),
        (TableKind::Var, var_table(&identity)),
    ];
    for (kind, (schema, batches)) in tables {
        writer.write_table(kind, &schema, batches.into_iter().map(Ok::<_, cellring::Error>))?;
    }
    writer.add_file(file)?;
    writer.set_matrix(matrix)?;
    writer.finish().map(drop)
}

fn sampler(block_size: u64, batch_size: u32, fetch_factor: u32) -> SamplerConfig {
    SamplerConfig::default()
        .block_size(block_size)
        .batch_size(batch_size)
        .fetch_factor(fetch_factor)
        .seed(5)
}

fn config(sampler: SamplerConfig) -> LoaderConfig {
    LoaderConfig::default()
        .sampler(sampler)
        .memory_bytes(32 << 20)
        .decode_threads(2)
        .output(OutputConfig::default().value_type(OutputType::Source))
}

/// Everything that a minibatch holds.
fn content(minibatch: &Minibatch) -> (Vec<u64>, String) {
    (
        minibatch.obs().to_vec(),
        format!("{:?}", minibatch.csr().unwrap()),
    )
}

fn epoch(store: &Arc<Store>, config: &LoaderConfig, epoch: u64) -> Vec<(Vec<u64>, String)> {
    let loader = Loader::new(store.clone(), config.clone()).unwrap();
    let minibatches = loader.epoch(epoch).unwrap();
    minibatches
        .map(|minibatch| content(&minibatch.unwrap()))
        .collect()
}

const PLAIN: Form = Form {
    big_endian: false,
    chunk: None,
    shuffle: false,
    deflate: false,
    odd_chunks: false,
};

const GZIP: Form = Form {
    chunk: Some(1000),
    deflate: true,
    ..PLAIN
};

fn forms() -> Vec<Form> {
    let mut forms = vec![PLAIN];
    for chunk in [3, 64, 1000, 100_000] {
        for (shuffle, deflate) in [(false, false), (true, false), (false, true), (true, true)] {
            for odd_chunks in [false, true] {
                forms.push(Form {
                    big_endian: chunk == 64,
                    chunk: Some(chunk),
                    shuffle,
                    deflate,
                    odd_chunks,
                });
            }
        }
    }
    forms
}

#[test]
fn minibatches_are_those_of_a_store_that_holds_the_values() {
    let directory = tempfile::tempdir().unwrap();
    let types = [
        (ValueType::F32, ValueType::I32),
        (ValueType::I32, ValueType::I64),
        (ValueType::F64, ValueType::U16),
        (ValueType::U8, ValueType::U32),
        (ValueType::I64, ValueType::I32),
        (ValueType::U16, ValueType::I64),
        (ValueType::Bool, ValueType::I32),
        (ValueType::I8, ValueType::I16),
    ];
    for (number, form) in forms().into_iter().enumerate() {
        let (value_type, index_type) = types[number % types.len()];
        let source = Source::random(230, 300, value_type, index_type, number % 3 != 0, number as u64);
        let (_, linked, held) = stores(directory.path(), "one", &source, form, 7);
        let samplers = [
            sampler(1, 16, 2),
            sampler(16, 32, 4),
            sampler(500, 64, 1).strategy(Strategy::Sequential),
        ];
        for sampler in samplers {
            let config = config(sampler);
            assert!(
                epoch(&linked, &config, 1) == epoch(&held, &config, 1),
                "{value_type:?} {index_type:?} {form:?}"
            );
        }
        assert_eq!(
            linked.rows(3..200).unwrap(),
            held.rows(3..200).unwrap(),
            "{form:?}"
        );
        let report = verify(&linked, 2, &|_| ()).unwrap();
        assert_eq!((report.n_obs, report.nnz), (230, source.nnz() as u64));
    }
}

#[test]
fn wide_columns_and_every_backend_give_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::random(60, 70_000, ValueType::F32, ValueType::I32, true, 3);
    let (_, linked, held) = stores(
        directory.path(),
        "wide",
        &source,
        Form {
            chunk: Some(40_000),
            ..GZIP
        },
        9,
    );
    let base = config(sampler(4, 8, 2));
    let expected = epoch(&held, &base, 2);
    for backend in [Backend::Uring, Backend::Pread, Backend::Mmap] {
        for direct in [Direct::Auto, Direct::Off] {
            for threads in [1, 4] {
                let engine = cellring::engine::EngineConfig::default()
                    .backend(backend)
                    .direct(direct);
                let config = base.clone().engine(engine).decode_threads(threads);
                match Loader::new(linked.clone(), config.clone()) {
                    Ok(_) => assert!(
                        epoch(&linked, &config, 2) == expected,
                        "{backend:?} {direct:?} {threads}"
                    ),
                    // Where a way of reading is not available.
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                }
            }
        }
    }
}

#[test]
fn chosen_rows_collections_and_resumed_epochs_are_those_of_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::random(200, 120, ValueType::F32, ValueType::I32, true, 4);
    let (_, linked, held) = stores(directory.path(), "a", &source, GZIP, 1);
    let other = Source::random(90, 120, ValueType::F32, ValueType::I64, false, 5);
    let (_, plain, _) = stores(directory.path(), "b", &other, PLAIN, 2);
    let config = config(sampler(8, 10, 3));
    let rows = |store: &Arc<Store>| {
        let loader = Loader::new(store.clone(), config.clone()).unwrap();
        content(&loader.rows(&[199, 3, 3, 0, 57]).unwrap())
    };
    assert_eq!(rows(&linked), rows(&held));
    // Linked stores beside each other, and beside one that holds its values.
    let together = |first: &Arc<Store>| {
        let collection = cellring::Collection::new(vec![first.clone(), plain.clone()]).unwrap();
        let loader = Loader::new(collection, config.clone()).unwrap();
        let minibatches = loader.epoch(0).unwrap();
        minibatches.map(|m| content(&m.unwrap())).collect::<Vec<_>>()
    };
    assert!(together(&linked) == together(&held));
    let chosen = |first: &Arc<Store>| {
        let collection = cellring::Collection::new(vec![first.clone(), held.clone()]).unwrap();
        let loader = Loader::new(collection, config.clone()).unwrap();
        content(&loader.rows(&[0, 399, 5, 200]).unwrap())
    };
    assert_eq!(chosen(&linked), chosen(&held));
    let loader = Loader::new(linked.clone(), config.clone()).unwrap();
    let mut begun = loader.epoch(0).unwrap();
    let before: Vec<_> = begun.by_ref().take(7).map(|m| content(&m.unwrap())).collect();
    let state = begun.state();
    drop(begun);
    let after = loader.resume(&state).unwrap().map(|m| content(&m.unwrap()));
    assert!(before.into_iter().chain(after).collect::<Vec<_>>() == epoch(&held, &config, 0));
}

/// A store whose fetches need most of the memory, of a file that is read in many batches.
fn large(directory: &TempDir) -> (PathBuf, Arc<Store>, Arc<Store>) {
    let source = Source::random(3000, 2000, ValueType::F32, ValueType::I32, false, 6);
    stores(
        directory.path(),
        "large",
        &source,
        Form {
            chunk: Some(5000),
            ..GZIP
        },
        3,
    )
}

#[test]
fn a_fetch_fits_the_budget_or_is_refused_with_what_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    let (_, linked, held) = large(&directory);
    // About a million values: 3 bytes each as they are kept, 6 before that is known.
    let config = |memory_bytes: usize| {
        config(sampler(4, 50, 60))
            .output(OutputConfig::default())
            .memory_bytes(memory_bytes)
    };
    assert!(epoch(&linked, &config(40 << 20), 0) == epoch(&held, &config(40 << 20), 0));
    let loader = Loader::new(linked, config(9 << 20)).unwrap();
    let error = loader.epoch(0).unwrap().find_map(Result::err).unwrap();
    assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
    assert!(error.to_string().contains("a fetch of 3000 obs needs"), "{error}");
}

#[test]
fn a_file_that_changes_is_an_error_and_never_wrong_data() {
    let directory = tempfile::tempdir().unwrap();
    let (path, linked, held) = large(&directory);
    let config = config(sampler(4, 25, 4)).output(OutputConfig::default());
    let expected = epoch(&held, &config, 0);
    let content_before = std::fs::read(&path).unwrap();
    // Rewritten in place while an epoch runs: what comes before the error is right.
    let loader = Loader::new(linked.clone(), config.clone()).unwrap();
    let mut found = loader.epoch(0).unwrap();
    assert_eq!(content(&found.next().unwrap().unwrap()), expected[0]);
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&vec![0x77; content_before.len()], 0).unwrap();
    let mut error = None;
    for (minibatch, expected) in found.zip(&expected[1..]) {
        match minibatch {
            Ok(minibatch) => assert!(content(&minibatch) == *expected),
            Err(found) => error = Some(found),
        }
    }
    let error = error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
    assert_eq!(Store::open(linked.path()).unwrap_err().kind(), ErrorKind::Changed);
    // Its old bytes are not enough: the time is another one.
    std::fs::write(&path, &content_before).unwrap();
    let error = Store::open(linked.path()).unwrap_err();
    assert!(error.to_string().contains("modified at"), "{error}");
    age(&path);
    assert!(epoch(&Arc::new(Store::open(linked.path()).unwrap()), &config, 0) == expected);
    // Other bytes, the same length and time: samples differ.
    let mut other = content_before.clone();
    other[..100].fill(0x11);
    std::fs::write(&path, &other).unwrap();
    age(&path);
    let error = Store::open(linked.path()).unwrap_err();
    assert!(error.to_string().contains("some of its bytes differ"), "{error}");
    // Shorter.
    std::fs::write(&path, &content_before[..1000]).unwrap();
    let error = Store::open(linked.path()).unwrap_err();
    assert!(error.to_string().contains("has 1000 bytes"), "{error}");
    // Gone, and in its place what is no file.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(Store::open(linked.path()).unwrap_err().kind(), ErrorKind::Io);
    std::fs::create_dir(&path).unwrap();
    assert_eq!(Store::open(linked.path()).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_file_that_is_replaced_is_read_to_the_end_of_the_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let (path, linked, held) = large(&directory);
    let config = config(sampler(4, 25, 4)).output(OutputConfig::default());
    let expected = epoch(&held, &config, 0);
    let loader = Loader::new(linked.clone(), config.clone()).unwrap();
    let mut minibatches = loader.epoch(0).unwrap();
    let mut found = vec![content(&minibatches.next().unwrap().unwrap())];
    let other = directory.path().join("other");
    std::fs::write(&other, b"another file").unwrap();
    std::fs::rename(&other, &path).unwrap();
    found.extend(minibatches.map(|minibatch| content(&minibatch.unwrap())));
    assert!(found == expected);
    assert_eq!(
        Loader::new(linked, config).unwrap_err().kind(),
        ErrorKind::Changed
    );
}

#[test]
fn files_lie_below_the_store_or_a_root_that_was_named() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::random(20, 30, ValueType::F32, ValueType::I32, false, 8);
    let (matrix, bytes) = matrix(&source, PLAIN, 1);
    let at = |name: &str| directory.path().join(name);
    for name in ["files", "stores", "elsewhere"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    std::fs::write(at("files/a.bin"), &bytes).unwrap();
    age(&at("files/a.bin"));
    let make = |root: &Path| {
        let mut writer = LinkedWriter::create(&at("stores/s"), root, true)?;
        let identity: Vec<u32> = (0..30).collect();
        for (kind, (schema, batches)) in [
            (TableKind::Obs, obs_table(20)),
            (TableKind::Var, var_table(&identity)),
        ] {
            writer.write_table(kind, &schema, batches.into_iter().map(Ok::<_, cellring::Error>))?;
        }
        writer.add_file(&at("files/a.bin"))?;
        writer.set_matrix(&matrix)?;
        writer.finish().map(drop)
    };
    let error = make(&at("stores")).unwrap_err();
    assert!(error.to_string().contains("is not below"), "{error}");
    assert!(!at("stores/s").exists());
    make(directory.path()).unwrap();
    Store::open_below(at("stores/s"), directory.path()).unwrap();
    // Without a root it would be below `stores`.
    assert_eq!(Store::open(at("stores/s")).unwrap_err().kind(), ErrorKind::Io);
    // A link on the way that leads out.
    std::fs::rename(at("files"), at("elsewhere/files")).unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::rename(at("elsewhere/files"), outside.path().join("files")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("files"), at("files")).unwrap();
    let error = Store::open_below(at("stores/s"), directory.path()).unwrap_err();
    assert!(error.to_string().contains("is not below"), "{error}");
    // Both moved together are found again.
    std::fs::remove_file(at("files")).unwrap();
    std::fs::rename(outside.path().join("files"), at("elsewhere/files")).unwrap();
    std::fs::rename(at("stores"), at("elsewhere/stores")).unwrap();
    Store::open_below(at("elsewhere/stores/s"), at("elsewhere")).unwrap();
}

/// What is wrong with a file or an index is an error with the place; bytes that are not values are never delivered.
#[test]
fn hostile_places_and_damaged_chunks_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::random(100, 80, ValueType::F32, ValueType::I32, false, 9);
    let (good, bytes) = matrix(
        &source,
        Form {
            chunk: Some(50),
            ..GZIP
        },
        1,
    );
    let path = directory.path().join("a.bin");
    let store = directory.path().join("s");
    let chunks = |array: &mut SourceArray, change: &dyn Fn(&mut Vec<SourceChunk>)| {
        if let SourceLayout::Chunks { chunks, .. } = &mut array.layout {
            change(chunks);
        }
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&mut SourceMatrix, &mut Vec<u8>));
    let changes: [Change<'_>; 11] = [
        ("lie within a file", &|m, _| {
            chunks(&mut m.data, &|c| c[3].offset_bytes = u64::MAX - 3);
        }),
        ("lie within a file", &|m, _| {
            chunks(&mut m.data, &|c| c[3].stored_bytes = u32::MAX)
        }),
        ("lie within a file", &|m, _| {
            chunks(&mut m.indices, &|c| c[3].file = 7)
        }),
        ("is damaged", &|m, _| {
            chunks(&mut m.data, &|c| c[3].stored_bytes = 4)
        }),
        ("chunks of 50 elements", &|m, _| {
            chunks(&mut m.data, &|c| c.truncate(c.len() - 1))
        }),
        ("element", &|m, _| {
            // A chunk of values in the place of all those of columns.
            let chunks = match &m.data.layout {
                SourceLayout::Chunks { chunks, .. } => chunks.clone(),
                SourceLayout::Runs(_) => vec![],
            };
            if let SourceLayout::Chunks { chunks: own, .. } = &mut m.indices.layout {
                own.fill(chunks[0]);
            }
        }),
        ("element", &|m, _| {
            m.indices.layout = SourceLayout::Runs(vec![SourceRun {
                first: 0,
                offset_bytes: 0,
                file: 0,
            }]);
            m.indices.filters.clear();
        }),
        ("do not ascend", &|m, _| {
            m.indices.filters.clear();
            m.indices.layout = SourceLayout::Runs(vec![
                SourceRun {
                    first: 900,
                    offset_bytes: 0,
                    file: 0,
                };
                3
            ]);
        }),
        ("is damaged", &|m, _| {
            m.data.filters = vec![(32015, vec![])];
        }),
        ("elements of 4 bytes", &|m, _| {
            if let SourceLayout::Chunks { elements, .. } = &mut m.data.layout {
                *elements = 1 << 40;
            }
        }),
        ("is damaged", &|m, bytes| {
            if let SourceLayout::Chunks { chunks, .. } = &m.data.layout {
                bytes[chunks[2].offset_bytes as usize + 9] ^= 0x10;
            }
        }),
    ];
    for (number, (expected, change)) in changes.into_iter().enumerate() {
        let (mut matrix, mut bytes) = (good.clone(), bytes.clone());
        change(&mut matrix, &mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        age(&path);
        let outcome = link(&store, &path, &matrix).and_then(|()| {
            let store = Arc::new(Store::open(&store)?);
            let verified = verify(&store, 1, &|_| ()).map(drop);
            let loader = Loader::new(store, config(sampler(4, 8, 2)))?;
            let loaded = loader.epoch(0)?.try_for_each(|minibatch| minibatch.map(drop));
            assert_eq!(verified.is_err(), loaded.is_err(), "change {number}");
            loaded
        });
        let error = outcome.expect_err(&format!("change {number} is taken"));
        assert!(
            error.to_string().contains(expected),
            "change {number}: {error}, expected {expected}"
        );
    }
}

#[test]
fn what_needs_blocks_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::random(20, 30, ValueType::F64, ValueType::I32, false, 8);
    let (_, linked, _) = stores(directory.path(), "a", &source, PLAIN, 1);
    let loader = Loader::new(linked.clone(), LoaderConfig::default()).unwrap();
    assert_eq!(loader.fetches(0).unwrap_err().kind(), ErrorKind::Unavailable);
    let error = cellring::writer::StoreAppender::open(linked.path(), false)
        .map(drop)
        .unwrap_err();
    assert!(
        error.to_string().contains("appending obs needs one that holds"),
        "{error}"
    );
    // Values that a float32 rounds are met when they are read.
    let mut source = source;
    source.rows[4].push((29, 0.1f64.to_bits()));
    source.rows[4].sort_unstable();
    source.rows[4].dedup_by_key(|entry| entry.0);
    let (_, linked, _) = stores(directory.path(), "b", &source, PLAIN, 1);
    let first_error = |config: LoaderConfig| {
        let loader = Loader::new(linked.clone(), config).unwrap();
        loader.epoch(0).unwrap().find_map(Result::err)
    };
    let error = first_error(LoaderConfig::default()).unwrap();
    assert!(
        error
            .to_string()
            .contains("float64 values that f32 cannot represent"),
        "{error}"
    );
    assert!(first_error(LoaderConfig::default().allow_rounding(true)).is_none());
}
