//! Writes the index of a linked matrix.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use super::complete::WrittenTable;
use super::error::WriteError;
use super::linked_source::{SourceArray, SourceInput, SourceLayout, SourceMatrix};
use super::spool::write_header;
use crate::Error;
use crate::format::checksum::HashingWriter;
use crate::format::constants::{
    DEFAULT_ALIGNMENT, INDEX_FILE, INDEX_HEADER_BYTES, SECTION_ALIGNMENT, VERSION,
};
use crate::format::encoding::linked::checksum;
use crate::format::file::FileName;
use crate::format::linked::{
    ArrayLayout, ColumnMap, Description, Extent, GROUP_OBS, LinkedArray, LinkedFile, LinkedInput,
    LinkedLayout, Totals, count_bytes,
};
use crate::format::linked_id::identifying;
use crate::format::manifest::{FileEntry, id_text, linked_features};
use crate::format::{CsrRows, Encoding, Manifest, ValueType, VarOrder};
use crate::linked::array::most_stored_bytes;
use cellring_core::put;

/// Writes the index into `directory`, and gives the manifest of the matrix.
pub(super) fn write_index(
    directory: &Path,
    matrix: &SourceMatrix,
    files: Vec<LinkedFile>,
    obs: &WrittenTable,
    var: &WrittenTable,
) -> Result<Manifest, Error> {
    let counts = || matrix.inputs.iter().flat_map(|input| &input.counts);
    assert_eq!(
        (obs.n_rows, var.n_rows),
        (counts().count() as u64, matrix.n_vars),
        "rows of the tables"
    );
    let is_joined = matrix.inputs.len() > 1;
    assert!(
        matrix
            .checksums
            .as_ref()
            .is_none_or(|checksums| checksums.len() as u64 == obs.n_rows),
        "a checksum for each row"
    );
    let totals = Totals {
        n_obs: obs.n_rows,
        n_vars: matrix.n_vars,
        nnz: counts().map(|&count| u64::from(count)).sum(),
        value_type: matrix.value_type,
        is_joined,
    };
    let description = described(matrix, files);
    let unfit = |rule| WriteError::Option(format!("{rule}; convert the files instead"));
    description.check(&totals).map_err(unfit)?;
    for input in &matrix.inputs {
        let named = |problem: WriteError| match description.files.get(input.file as usize) {
            Some(file) if is_joined => WriteError::Option(format!("{}: {problem}", file.path)),
            _ => problem,
        };
        check_input(input, matrix).map_err(named)?;
    }
    let max_obs_nnz = counts().copied().max().unwrap_or(0);
    let layout = description.n_extents().and_then(|n_extents| {
        let bytes = u32::try_from(description.to_bytes().len()).ok()?;
        LinkedLayout::new(
            totals.n_obs,
            totals.nnz,
            count_bytes(max_obs_nnz),
            bytes,
            n_extents,
            matrix.checksums.is_some(),
        )
    });
    let layout = layout.ok_or_else(|| {
        WriteError::Option("the index would be longer than it can be (64 MiB for the names of files, and for how the genes of each file are mapped); link fewer files".to_owned())
    })?;
    let path = directory.join(INDEX_FILE);
    let sections = write_sections(&path, &layout, &description, matrix).map_err(WriteError::io(&path))?;
    let mut manifest = Manifest {
        format: "cellring".into(),
        version: VERSION,
        features: linked_features(is_joined, matrix.checksums.is_some()),
        store_id: String::new(),
        n_obs: layout.n_obs,
        n_vars: matrix.n_vars,
        nnz: totals.nnz,
        encoding: Encoding::Linked,
        value_type: matrix.value_type,
        raw_value_type: None,
        // Whoever reads a value that an f32 rounds, and does not want that, finds it.
        f32_exact: true,
        block_size: GROUP_OBS as u32,
        alignment: DEFAULT_ALIGNMENT,
        max_obs_nnz,
        max_obs_bytes: 0,
        var_order: VarOrder::Source,
        shards: Vec::new(),
        index: FileEntry {
            file: FileName::own(INDEX_FILE),
            bytes: layout.file_bytes,
            crc32c: [].into(),
        },
        obs: obs.entry.clone(),
        var: var.entry.clone(),
        name: None,
        matrices: Vec::new(),
        source: matrix.source.clone(),
    };
    let store_id = manifest.id_of_content(sections, obs.crc, var.crc);
    manifest.store_id = id_text(store_id);
    manifest.index.crc32c = write_header(&path, &layout.header(store_id))?.into();
    Ok(manifest)
}

/// The checksum of each row of a matrix, for [`SourceMatrix::checksums`]. The rows are canonical, with the columns and the type of values
/// that the matrix has in the store.
pub fn row_checksums(rows: &CsrRows) -> Vec<u32> {
    let value_type = rows.values.value_type();
    let bounds = rows
        .indptr
        .windows(2)
        .map(|pair| pair[0] as usize..pair[1] as usize);
    cellring_core::with_values!(&rows.values, values => {
        let mut bytes = Vec::new();
        let checksums = bounds.map(|row| {
            bytes.clear();
            values[row.clone()].iter().for_each(|&value| put(value, &mut bytes));
            checksum(&rows.indices[row], &bytes, value_type, value_type)
        });
        checksums.collect()
    })
}

/// Whether a reader would take an input.
fn check_input(input: &SourceInput, matrix: &SourceMatrix) -> Result<(), WriteError> {
    let of_map = input.column_map.as_ref().map(|map| map.len() as u64);
    let n_vars = of_map.unwrap_or(matrix.n_vars);
    if let Some(&most) = input.counts.iter().max()
        && u64::from(most) > n_vars
    {
        return Err(WriteError::Option(format!(
            "an obs has {most} values in {n_vars} columns, so that some are of the same column; convert the file instead"
        )));
    }
    let mut arrays = input.indices.iter().chain([&input.data]);
    arrays.try_for_each(check_stored)
}

/// Whether a reader would take the chunks of an array.
fn check_stored(array: &SourceArray) -> Result<(), WriteError> {
    let (elements, chunks) = match &array.layout {
        SourceLayout::Runs(_) => return Ok(()),
        SourceLayout::Chunks { elements, chunks } => (*elements, chunks),
        SourceLayout::Tiles {
            rows,
            columns,
            chunks,
        } => (rows.saturating_mul(*columns), chunks),
    };
    let most = most_stored_bytes(elements.saturating_mul(array.value_type.size_bytes() as u64));
    match chunks
        .iter()
        .position(|chunk| u64::from(chunk.stored_bytes) > most)
    {
        None => Ok(()),
        Some(number) => Err(WriteError::Option(format!(
            "chunk {number} of {} takes {} bytes in its file, expected at most {most}; convert the file instead",
            array.path, chunks[number].stored_bytes
        ))),
    }
}

/// The columns of a dense matrix.
fn implied() -> LinkedArray {
    LinkedArray {
        path: String::new(),
        value_type: ValueType::U32,
        big_endian: false,
        layout: ArrayLayout::Implied,
        n_extents: 0,
        filters: Vec::new(),
        fill: [0; 8],
    }
}

/// What the index says of the inputs of a matrix. A map that several of them have is there once.
fn described(matrix: &SourceMatrix, files: Vec<LinkedFile>) -> Description {
    let mut maps: Vec<Arc<[u32]>> = Vec::new();
    let mut number_of = |map: &Arc<[u32]>| {
        let known = maps
            .iter()
            .position(|known| Arc::ptr_eq(known, map) || known == map);
        let number = known.unwrap_or_else(|| {
            maps.push(Arc::clone(map));
            maps.len() - 1
        });
        number as u32
    };
    let input = |input: &SourceInput| LinkedInput {
        n_obs: input.counts.len() as u64,
        n_values: input.counts.iter().map(|&count| u64::from(count)).sum(),
        file: input.file,
        map: input.column_map.as_ref().map(&mut number_of),
        arrays: [
            input.indices.as_ref().map_or_else(implied, described_array),
            described_array(&input.data),
        ],
    };
    let inputs: Vec<LinkedInput> = matrix.inputs.iter().map(input).collect();
    Description {
        files,
        is_joined: inputs.len() > 1,
        maps: maps.into_iter().map(ColumnMap::from).collect(),
        inputs,
    }
}

fn described_array(array: &SourceArray) -> LinkedArray {
    let (layout, n_extents) = match &array.layout {
        SourceLayout::Runs(runs) => (ArrayLayout::Runs, runs.len()),
        SourceLayout::Chunks { elements, chunks } => {
            (ArrayLayout::Chunks { elements: *elements }, chunks.len())
        }
        SourceLayout::Tiles {
            rows,
            columns,
            chunks,
        } => {
            let (rows, columns) = (*rows, *columns);
            (ArrayLayout::Tiles { rows, columns }, chunks.len())
        }
    };
    let filter = |(id, words): &(u16, Vec<u32>)| cellring_filters::Filter {
        id: *id,
        name: None,
        client_data: words.clone(),
    };
    LinkedArray {
        path: array.path.clone(),
        value_type: array.value_type,
        big_endian: array.big_endian,
        layout,
        n_extents: n_extents as u64,
        filters: array.filters.iter().map(filter).collect(),
        fill: array.fill,
    }
}

/// Writes everything but the header, and gives the checksum of what the store id is made of.
fn write_sections(
    path: &Path,
    layout: &LinkedLayout,
    description: &Description,
    matrix: &SourceMatrix,
) -> io::Result<u32> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    file.write_all(&[0; INDEX_HEADER_BYTES])?;
    let gaps = layout.gaps();
    let padding = |gap: usize| &[0; SECTION_ALIGNMENT][..(gaps[gap].1 - gaps[gap].0) as usize];
    file.write_all(&description.to_bytes())?;
    file.write_all(padding(0))?;
    let mut out = HashingWriter::after(&identifying(description), file);
    let counts = || matrix.inputs.iter().flat_map(|input| &input.counts);
    let mut start = 0u64;
    for (obs, &count) in (0u64..).zip(counts()) {
        if obs % GROUP_OBS == 0 {
            out.write_all(&start.to_le_bytes())?;
        }
        start += u64::from(count);
    }
    out.write_all(padding(1))?;
    for count in counts() {
        out.write_all(&count.to_le_bytes()[..layout.count_bytes as usize])?;
    }
    out.write_all(padding(2))?;
    for indices in matrix.inputs.iter().filter_map(|input| input.indices.as_ref()) {
        write_extents(&indices.layout, &mut out)?;
    }
    out.write_all(padding(3))?;
    for input in &matrix.inputs {
        write_extents(&input.data.layout, &mut out)?;
    }
    if let Some(checksums) = &matrix.checksums {
        out.write_all(padding(4))?;
        out.write_all(bytemuck::cast_slice(checksums))?;
    }
    let (mut file, hasher) = out.into_parts();
    file.flush()?;
    Ok(hasher.whole())
}

fn write_extents(layout: &SourceLayout, out: &mut impl Write) -> io::Result<()> {
    match layout {
        SourceLayout::Runs(runs) => runs.iter().try_for_each(|run| out.write_all(&run.to_bytes())),
        SourceLayout::Chunks { chunks, .. } | SourceLayout::Tiles { chunks, .. } => chunks
            .iter()
            .try_for_each(|chunk| out.write_all(&chunk.to_bytes())),
    }
}
