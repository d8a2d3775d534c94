//! Files as others write them, and the stores of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cellring::Store;
use cellring::format::{CsrRows, Element, ValueBuffer, ValueType};
use cellring::writer::{
    LinkedWriter, SourceArray, SourceChunk, SourceInput, SourceLayout, SourceMatrix, SourceRun, TableKind,
    WriterOptions,
};

use crate::common::{Mix, obs_table, var_table, write_store};

pub(super) const DEFLATE: u16 = 1;
pub(super) const SHUFFLE: u16 = 2;

/// A matrix as a file may hold it: columns in any order and several times, zeros, and values of any type.
pub(super) struct Source {
    pub(super) n_vars: u64,
    pub(super) value_type: ValueType,
    pub(super) index_type: ValueType,
    /// Of each obs the columns, and the values as bits.
    pub(super) rows: Vec<Vec<(u32, u64)>>,
}

/// How the arrays of a file are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) big_endian: bool,
    /// Elements of a chunk; none: one run.
    pub(super) chunk: Option<usize>,
    pub(super) shuffle: bool,
    pub(super) deflate: bool,
    /// Chunks that the filters were not applied to, or that were never written as all they hold is zero.
    pub(super) odd_chunks: bool,
}

impl Source {
    /// `odd`: rows that are not canonical.
    pub(super) fn random(
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

    pub(super) fn nnz(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    /// The rows as a conversion makes them.
    pub(super) fn canonical(&self) -> CsrRows {
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
    pub(super) fn elements(
        &self,
        value_type: ValueType,
        big_endian: bool,
        of: impl Fn(&(u32, u64)) -> u64,
    ) -> Vec<u8> {
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
pub(super) fn put_array(
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
pub(super) fn age(path: &Path) {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(then)
        .unwrap();
}

/// Writes the file, and the two stores of it: linked, and with the values.
pub(super) fn stores(
    directory: &Path,
    name: &str,
    source: &Source,
    form: Form,
    seed: u64,
) -> (PathBuf, Arc<Store>, Arc<Store>) {
    let (matrix, bytes) = matrix(source, form, seed);
    stores_of(directory, name, source, &matrix, bytes)
}

/// The same of a matrix that is in a file of these bytes.
pub(super) fn stores_of(
    directory: &Path,
    name: &str,
    source: &Source,
    matrix: &SourceMatrix,
    bytes: Vec<u8>,
) -> (PathBuf, Arc<Store>, Arc<Store>) {
    let path = directory.join(format!("{name}.bin"));
    std::fs::write(&path, bytes).unwrap();
    age(&path);
    let linked = directory.join(format!("{name}.linked"));
    link(&linked, &path, matrix).unwrap();
    let held = directory.join(format!("{name}.held"));
    let options = WriterOptions::new(source.n_vars, source.value_type).replace(true);
    write_store(&held, &source.canonical(), options, None).unwrap();
    let open = |path: &Path| Arc::new(Store::open(path).unwrap());
    (path, open(&linked), open(&held))
}

pub(super) fn matrix(source: &Source, form: Form, seed: u64) -> (SourceMatrix, Vec<u8>) {
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
    let input = SourceInput {
        file: 0,
        column_map: None,
        indices: Some(indices),
        data,
        counts: source.rows.iter().map(|row| row.len() as u32).collect(),
    };
    (matrix_of(source.n_vars, input), file)
}

/// The matrix of one input.
pub(super) fn matrix_of(n_vars: u64, input: SourceInput) -> SourceMatrix {
    SourceMatrix {
        checksums: None,
        n_vars,
        value_type: input.data.value_type,
        inputs: vec![input],
        source: serde_json::json!({}),
    }
}

pub(super) fn link(store: &Path, file: &Path, matrix: &SourceMatrix) -> Result<(), cellring::Error> {
    link_all(store, &[file], matrix)
}

/// Links a matrix that is in these files of one directory.
pub(super) fn link_all(store: &Path, files: &[&Path], matrix: &SourceMatrix) -> Result<(), cellring::Error> {
    let mut writer = LinkedWriter::create(store, store.parent().unwrap(), true)?;
    let identity: Vec<u32> = (0..matrix.n_vars as u32).collect();
    let tables = [
        (
            TableKind::Obs,
            obs_table(matrix.inputs.iter().map(|input| input.counts.len()).sum()),
        ),
        (TableKind::Var, var_table(&identity)),
    ];
    for (kind, (schema, batches)) in tables {
        writer.write_table(kind, &schema, batches.into_iter().map(Ok::<_, cellring::Error>))?;
    }
    for file in files {
        writer.add_file(file, &[], 1)?;
    }
    writer.set_matrix(matrix)?;
    writer.finish().map(drop)
}
pub(super) const PLAIN: Form = Form {
    big_endian: false,
    chunk: None,
    shuffle: false,
    deflate: false,
    odd_chunks: false,
};

pub(super) const GZIP: Form = Form {
    chunk: Some(1000),
    deflate: true,
    ..PLAIN
};

pub(super) fn forms() -> Vec<Form> {
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
