//! Names inputs that are something else for what they are, and says what to do with them.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use cellring_core::few;
use flate2::bufread::MultiGzDecoder;

use super::container::{Kind, SourceFile};
use super::error::{ReadError, Result};
use super::lines::GZIP_SIGNATURE;

/// Bytes of a file that are looked at, of one that is compressed those that it holds.
const START_BYTES: u64 = 4096;

/// Separators that make a table of a single line, and other rows that are looked at.
const MANY_SEPARATORS: usize = 20;
const ROWS: usize = 3;

/// Where a tar archive has its signature.
const TAR_SIGNATURE: (usize, &[u8]) = (257, b"ustar");

/// How a zip file begins.
const ZIP_SIGNATURE: &[u8] = b"PK\x03\x04";

/// Where a zip file has the length of the name of its first member, and that name.
const ZIP_NAME_LENGTH: usize = 26;
const ZIP_NAME: usize = 30;

/// Names that a message shows.
const SHOWN: usize = 8;

/// A better error than that of opening it, where what lies at the path is known. `looked_for` is what makes a directory an input, besides zarr.
pub(super) fn explain(path: &Path, error: ReadError, looked_for: &str) -> ReadError {
    match error {
        ReadError::Io { file, source } => ReadError::Io {
            source: cellring_core::explain(&file, source),
            file,
        },
        ReadError::NotHdf5 { .. } if path.is_dir() => identify_directory(path, looked_for),
        ReadError::NotHdf5 { .. } => identify_file(path).unwrap_or(error),
        ReadError::Damaged { .. } => identify_zip(path, false).unwrap_or(error),
        other => other,
    }
}

fn foreign(path: &Path, form: impl Into<String>, remedy: impl Into<String>) -> ReadError {
    ReadError::Foreign {
        file: path.to_owned(),
        form: form.into(),
        remedy: remedy.into(),
    }
}

/// The first bytes of a reader; fewer where it ends or fails.
fn start_of(reader: impl Read) -> Vec<u8> {
    let mut start = Vec::new();
    // What was read before an error is there all the same.
    let _ = reader.take(START_BYTES).read_to_end(&mut start);
    start
}

const R_REMEDY: &str =
    "convert it in R, with write_h5ad of the package anndataR or writeH5AD of zellkonverter, to .h5ad";
const TEXT_REMEDY: &str = "read it in Python with scanpy.read_csv or read_text and write it with write_h5ad";

/// What begins like this, and what to do about it.
const KINDS: [(&[u8], &str, &str); 18] = [
    (
        b"PAR1",
        "a Parquet file",
        "read it with pandas.read_parquet, make an AnnData object from it and write it with write_h5ad",
    ),
    (
        b"ARROW1",
        "an Arrow file",
        "read it with pandas.read_feather, make an AnnData object from it and write it with write_h5ad",
    ),
    (
        b"FEA1",
        "a Feather file",
        "read it with pandas.read_feather, make an AnnData object from it and write it with write_h5ad",
    ),
    (b"X\n\0\0\0", "an R object (.rds)", R_REMEDY),
    (b"A\n2\n", "an R object (.rds)", R_REMEDY),
    (b"A\n3\n", "an R object (.rds)", R_REMEDY),
    (b"RDX2\n", "an R workspace (.RData)", R_REMEDY),
    (b"RDX3\n", "an R workspace (.RData)", R_REMEDY),
    (
        b"\x93NUMPY",
        "a numpy array",
        "load it with numpy.load, make an AnnData object from it and write it with write_h5ad",
    ),
    (
        b"\x80\x04\x95",
        "a Python pickle",
        "load it in Python and write it with write_h5ad",
    ),
    (
        b"\x80\x05\x95",
        "a Python pickle",
        "load it in Python and write it with write_h5ad",
    ),
    (
        b"BAM\x01",
        "a BAM file of aligned reads",
        "count them first; CellRanger and STARsolo do",
    ),
    (b"BZh", "compressed with bzip2", "unpack it with bunzip2 first"),
    (b"\xfd7zXZ\0", "compressed with xz", "unpack it with unxz first"),
    (
        b"\x28\xb5\x2f\xfd",
        "compressed with zstd",
        "unpack it with unzstd first",
    ),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file itself",
        "fetch that with git lfs pull",
    ),
    (
        b"%%MatrixMarket",
        "a Matrix Market file under another name",
        "give it a name that ends in .mtx or .mtx.gz",
    ),
    (b"%PDF", "a PDF document", "name the file of the data"),
];

/// What a file is that is neither HDF5 nor zarr.
fn identify_file(path: &Path) -> Option<ReadError> {
    let start = start_of(File::open(path).ok()?);
    if start.is_empty() {
        return Some(foreign(path, "empty", "copy or download it again"));
    }
    if start.starts_with(ZIP_SIGNATURE) {
        return identify_zip(path, true);
    }
    if start.starts_with(&GZIP_SIGNATURE) {
        let inner = start_of(MultiGzDecoder::new(BufReader::new(File::open(path).ok()?)));
        return Some(identify_gzip(path, &inner));
    }
    if is_tar(&start) {
        let remedy = format!("unpack it with tar -xf {} and name what it holds", path.display());
        return Some(foreign(path, "a tar archive", remedy));
    }
    identify_start(path, &start)
}

fn is_tar(start: &[u8]) -> bool {
    let (at, signature) = TAR_SIGNATURE;
    start.get(at..).is_some_and(|rest| rest.starts_with(signature))
}

fn identify_gzip(path: &Path, inner: &[u8]) -> ReadError {
    let shown = path.display();
    if inner.starts_with(b"\x89HDF\r\n\x1a\n") {
        return foreign(
            path,
            "a gzipped HDF5 file",
            format!("unpack it with gunzip -k {shown} first"),
        );
    }
    if is_tar(inner) {
        let remedy = format!("unpack it with tar -xzf {shown} and name what it holds");
        return foreign(path, "a gzipped tar archive", remedy);
    }
    match identify_start(path, inner) {
        Some(error) => error,
        None => foreign(
            path,
            "a gzip file of something that cannot be read",
            format!("unpack it with gunzip -k {shown} and see what it holds"),
        ),
    }
}

/// What begins like this, compressed or not.
fn identify_start(path: &Path, start: &[u8]) -> Option<ReadError> {
    if let Some((_, form, remedy)) = KINDS.iter().find(|(signature, ..)| start.starts_with(signature)) {
        return Some(foreign(path, *form, *remedy));
    }
    // The last character may be cut off.
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if start.len() - error.valid_up_to() < 4 => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return None,
    };
    if text.contains('\0') {
        return None;
    }
    let head = text.trim_start().to_ascii_lowercase();
    if head.starts_with("<!doctype") || head.starts_with("<html") || head.starts_with("<?xml") {
        let remedy = "it may be an error page that a server sent instead of the file; open it in a browser, and download the file again";
        return Some(foreign(path, "an HTML or XML page", remedy));
    }
    let tables = [
        ('\t', "a table of tab-separated text"),
        (',', "a table of comma-separated text"),
        (';', "a table of text"),
    ];
    // The last line is cut off where there is more.
    let whole = match text.rfind('\n') {
        Some(end) if start.len() as u64 == START_BYTES => &text[..end],
        _ => text,
    };
    // Prose and programs have commas too, but not as many in each line. A header may lack the name of the first column, and may be
    // longer than what is looked at.
    let is_table = |separator: char| {
        let mut counts = whole.lines().map(|line| line.matches(separator).count());
        let head = counts.next().unwrap_or(0);
        match counts.next() {
            None => head > MANY_SEPARATORS,
            Some(row) => row > 0 && (row == head || row == head + 1) && counts.take(ROWS).all(|n| n == row),
        }
    };
    let (_, form) = tables.iter().find(|(separator, _)| is_table(*separator))?;
    Some(foreign(path, *form, TEXT_REMEDY))
}

/// What a zip file is that holds no zarr hierarchy at its root, or, where that is not known, of which another kind.
fn identify_zip(path: &Path, is_without_root: bool) -> Option<ReadError> {
    let start = start_of(File::open(path).ok()?);
    if !start.starts_with(ZIP_SIGNATURE) {
        return None;
    }
    let length = start.get(ZIP_NAME_LENGTH..ZIP_NAME_LENGTH + 2)?;
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    let name = start.get(ZIP_NAME..ZIP_NAME + length)?;
    let name = String::from_utf8_lossy(name);
    let top = name.split('/').next().unwrap_or_default();
    if name == "[Content_Types].xml" {
        let remedy = "export the sheet as text, read it with pandas and make an AnnData of it";
        return Some(foreign(path, "an Office document", remedy));
    }
    if top.ends_with(".npy") {
        let remedy = "load it with numpy.load or scipy.sparse.load_npz, make an AnnData object from it and write it with write_h5ad";
        return Some(foreign(path, "an archive of numpy arrays (.npz)", remedy));
    }
    if !is_without_root {
        return None;
    }
    let remedy = format!("unpack it with unzip {} and name what it holds", path.display());
    let form = format!("a zip archive without zarr at its root (its first member is {name})");
    Some(foreign(path, form, remedy))
}

/// What a directory is that holds neither zarr nor a matrix.
fn identify_directory(path: &Path, looked_for: &str) -> ReadError {
    let has = |name: &str| path.join(name).exists();
    let mut names: Vec<String> = match path.read_dir() {
        Ok(entries) => entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect(),
        Err(source) => {
            return ReadError::Io {
                file: path.to_owned(),
                source: cellring_core::explain(path, source),
            };
        }
    };
    names.sort();
    let is_node = |name: &String| {
        let node = path.join(name);
        [".zgroup", ".zarray", "zarr.json"]
            .iter()
            .any(|document| node.join(document).is_file())
    };
    if has(".zmetadata")
        || has(".zattrs")
        || ["X", "obs", "var"]
            .iter()
            .any(|name| is_node(&(*name).to_owned()))
    {
        let form =
            "a zarr hierarchy whose root has neither .zgroup nor zarr.json, so that it was not copied whole";
        return foreign(path, form, "copy it again, hidden files too");
    }
    if names.iter().any(|name| name.ends_with(".parquet")) {
        let remedy =
            "read it with pandas.read_parquet, make an AnnData object from it and write it with write_h5ad";
        return foreign(path, "a directory of Parquet files", remedy);
    }
    let is_input = |name: &&String| {
        [".h5ad", ".h5", ".h5mu", ".zarr", ".zarr.zip"]
            .iter()
            .any(|end| name.ends_with(end))
            || is_node(name)
    };
    let inputs: Vec<&String> = names.iter().filter(is_input).collect();
    match inputs.as_slice() {
        [] => foreign(
            path,
            match names.is_empty() {
                true => "an empty directory",
                false => "a directory without any input that can be read",
            },
            format!("looked for zarr.json or .zgroup of zarr, and for {looked_for}"),
        ),
        some => ReadError::Choice {
            file: path.to_owned(),
            found: few(some, SHOWN),
            remedy: "name one of them, or several, instead of the directory".to_owned(),
        },
    }
}

/// What an HDF5 file or zarr hierarchy is that holds no AnnData, where that is known by its members.
pub(super) fn identify_members(file: &SourceFile) -> Result<Option<ReadError>> {
    let is = |name: &str, kind| Ok::<_, ReadError>(file.kind(name)? == Some(kind));
    let all_are = |names: &[&str], kind| {
        for name in names {
            if !is(name, kind)? {
                return Ok::<_, ReadError>(false);
            }
        }
        Ok(true)
    };
    let found = |form: &str, remedy: &str| Ok(Some(foreign(file.path(), form, remedy)));
    if is("matrix", Kind::Dataset)? && all_are(&["row_attrs", "col_attrs"], Kind::Group)? {
        return found(
            "a loom file",
            "read it in Python with anndata.io.read_loom (which needs the package loompy) and write it with write_h5ad",
        );
    }
    // Of CellRanger 3 and later, and before.
    if all_are(&["barcode_idx", "feature_idx", "umi"], Kind::Dataset)?
        || all_are(&["barcode", "gene", "umi"], Kind::Dataset)?
    {
        return found(
            "a molecule_info file of CellRanger, which has a row for each molecule",
            "convert filtered_feature_bc_matrix.h5 of the same run, which has their counts",
        );
    }
    if is("assays", Kind::Group)? && (is("cell.names", Kind::Dataset)? || is("meta.data", Kind::Group)?) {
        return found(
            "an h5Seurat file",
            "convert it in R with SeuratDisk::Convert(file, dest = \"h5ad\")",
        );
    }
    // AnnData of which a part is missing is told so by whoever reads that part.
    for name in ["X", "obs", "var", "layers", "raw"] {
        if file.kind(name)?.is_some() {
            return Ok(None);
        }
    }
    let mut names = file.members("")?;
    names.sort();
    let form = match names.is_empty() {
        true => "an empty hierarchy, neither AnnData nor a matrix of 10x Genomics".to_owned(),
        false => format!(
            "neither AnnData nor a matrix of 10x Genomics (it holds {})",
            few(&names, SHOWN)
        ),
    };
    let remedy = "read it with the program that wrote it, and write it with write_h5ad of anndata";
    Ok(Some(foreign(file.path(), form, remedy)))
}
