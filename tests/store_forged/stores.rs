//! Manifests, indexes and frames.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::Schema;
use cellring::Store;
use cellring::format::constants::{ROLE_SOURCE_POSITION, SOURCE_POSITION_FIELD};
use cellring::format::{CsrRows, Encoding, ValueBuffer, ValueType};
use cellring::store::verify;
use cellring::writer::{BlockEncoder, StoreWriter, TableKind, WriterOptions};
use serde_json::json;

use crate::common::{
    Kind, matrix, named_var_table, obs_table, role, var_table, write_store, write_store_with_obs,
};
use crate::forge::{Forge, seal_json};
use crate::forgeries::{INDEXES, MANIFESTS, N_VARS, options, sparse_store, store};
use crate::{ENOUGH, alone, assert_refused, epoch, measured, verify_path};

#[test]
fn claims_of_manifests_are_refused_before_anything_is_taken() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let sound = store(dir.path(), Encoding::Packed);
    let path = dir.path().join("forged");
    for (name, change, expected) in MANIFESTS {
        let mut forged = sound.clone();
        change(&mut forged.manifest);
        forged.write(&path);
        let size = std::fs::metadata(path.join("manifest.json")).unwrap().len() as usize;
        let (found, bytes) = measured(|| Store::open(&path).map(drop));
        let message = found
            .err()
            .unwrap_or_else(|| panic!("{name} is taken"))
            .to_string();
        assert!(
            expected.split('|').any(|text| message.contains(text)),
            "{name}: {message}"
        );
        assert!(
            bytes < (8 << 20) + 4 * size,
            "{name}: {bytes} bytes for a manifest of {size}"
        );
    }
    sound.write(&path);
    verify_path(&path).unwrap();
}

/// Manifests that are not JSON, or that are longer than any.
#[test]
fn manifests_of_any_bytes_are_refused() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let sound = store(dir.path(), Encoding::Packed);
    let path = dir.path().join("forged");
    sound.write(&path);
    let file = path.join("manifest.json");
    let seal = |head: String| {
        let text = seal_json(&json!({"x": 0}));
        let tail = String::from_utf8(text).unwrap();
        let tail = &tail[tail.len() - 36..];
        let crc = cellring::format::checksum::crc32c(head.as_bytes());
        head + &tail.replace(&tail[24..32], &format!("{crc:08x}"))
    };
    let sealed = String::from_utf8(seal_json(&sound.manifest)).unwrap();
    let twice = sealed[..sealed.len() - 36].replacen('{', "{\n  \"n_obs\": 40,", 1);
    for (name, text, expected) in [
        ("nothing", String::new(), "checksum"),
        ("brackets", seal("[".repeat(1 << 20)), "not JSON"),
        ("nested objects", seal("{\"a\":".repeat(1 << 18)), "not JSON"),
        ("a member twice", seal(twice), "duplicate"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (found, bytes) = measured(|| Store::open(&path).map(drop));
        assert_refused(name, found, expected);
        assert!(bytes < 16 << 20, "{name}: {bytes} bytes");
    }
    // A sparse file costs nothing to make.
    std::fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    let (found, bytes) = measured(|| Store::open(&path).map(drop));
    assert_refused("a terabyte", found, "more than");
    assert!(bytes < 1 << 20, "{bytes} bytes");
}

/// Files that are not regular ones, in place of each of those of a store. Links to regular ones are read.
#[test]
fn files_are_regular_ones() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let sound = store(dir.path(), Encoding::Packed);
    let path = dir.path().join("forged");
    for file in [
        "manifest.json",
        "index.bin",
        "obs.arrow",
        "var.arrow",
        "shard-00000.bin",
    ] {
        for kind in ["pipe", "device", "directory", "link"] {
            sound.write(&path);
            let place = path.join(file);
            let moved = dir.path().join("moved");
            std::fs::rename(&place, &moved).unwrap();
            match kind {
                "pipe" => {
                    let made = std::process::Command::new("mkfifo").arg(&place).status().unwrap();
                    assert!(made.success());
                }
                "device" => symlink("/dev/zero", &place).unwrap(),
                "directory" => std::fs::create_dir(&place).unwrap(),
                _ => symlink(&moved, &place).unwrap(),
            }
            let found = verify_path(&path);
            if kind == "link" {
                found.unwrap();
                continue;
            }
            let message = found
                .err()
                .unwrap_or_else(|| panic!("{file}: {kind}"))
                .to_string();
            let expected = ["not a regular file", "symbolic link"];
            assert!(
                expected.iter().any(|text| message.contains(text)),
                "{file}, {kind}: {message}"
            );
        }
    }
}

#[test]
fn entries_of_the_index_are_refused_where_they_are_read() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let sound = sparse_store(dir.path());
    let path = dir.path().join("forged");
    for (name, change, expected) in INDEXES {
        let mut forged = sound.clone();
        change(&mut forged);
        forged.seal();
        forged.write(&path);
        let (found, bytes) = measured(|| verify_path(&path));
        assert_refused(name, found, expected);
        assert!(bytes < ENOUGH, "{name}: {bytes} bytes to verify");
        let (found, bytes) = measured(|| epoch(&path, &[]));
        assert_refused(name, found, expected);
        assert!(bytes < ENOUGH, "{name}: {bytes} bytes for an epoch");
        assert!(Store::open(&path).unwrap().rows(0..40).is_err(), "{name}");
        let appended = cellring::writer::StoreAppender::open(&path, false);
        assert_refused(name, appended.map(drop), expected);
    }
}

/// A raw store of these values, the first of which are then replaced by `bytes` as they lie in the block.
fn raw_store(path: &Path, values: ValueBuffer, stored: ValueType, bytes: &[u8]) -> Forge {
    let n = values.len();
    let rows = CsrRows {
        indptr: (0..=n as u64).collect(),
        indices: (0..n as u32).collect(),
        values,
    };
    let mut options = options(Encoding::Raw, rows.values.value_type());
    (options.raw_value_type, options.replace) = (stored, true);
    write_store(path, &rows, options, None).unwrap();
    let mut forged = Forge::open(path);
    let width = stored.size_bytes();
    let at = forged.raw_values(0, 2, width).start;
    forged.file("shard-00000.bin")[at..at + bytes.len()].copy_from_slice(bytes);
    for obs in 0..bytes.len() / width {
        forged.seal_raw(obs, 2, width);
    }
    forged.seal();
    forged
}

/// Values that are none of their type: neither `verify` nor an epoch takes them.
#[test]
fn values_are_those_of_their_type() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("forged");
    for (name, values, stored, bytes, expected) in [
        (
            "a bool of 2",
            ValueBuffer::Bool(vec![true; 8]),
            ValueType::Bool,
            vec![2u8],
            "not of type bool",
        ),
        (
            "an int8 of 200",
            ValueBuffer::I8(vec![5; 8]),
            ValueType::U8,
            vec![200],
            "not of type int8",
        ),
        (
            "an int8 of 300",
            ValueBuffer::I8(vec![5; 8]),
            ValueType::U16,
            vec![44, 1],
            "not of type int8",
        ),
        (
            "a uint8 of 300",
            ValueBuffer::U8(vec![5; 8]),
            ValueType::U16,
            vec![44, 1],
            "not of type uint8",
        ),
        (
            "an int16 of 40000",
            ValueBuffer::I16(vec![5; 8]),
            ValueType::U16,
            vec![64, 156],
            "not of type int16",
        ),
        (
            "an int32 of 2^31",
            ValueBuffer::I32(vec![5; 8]),
            ValueType::U32,
            vec![0, 0, 0, 128],
            "not of type int32",
        ),
        (
            "a float32 of 2^24 + 1",
            ValueBuffer::F32(vec![5.0; 8]),
            ValueType::U32,
            vec![1, 0, 0, 1],
            "not of type float32",
        ),
    ] {
        raw_store(&path, values.clone(), stored, &[]).write(&path);
        verify_path(&path).unwrap();
        epoch(&path, &[]).unwrap();
        raw_store(&path, values, stored, &bytes).write(&path);
        assert_refused(name, verify_path(&path), expected);
        assert_refused(name, epoch(&path, &[]), expected);
    }
}

/// A manifest that says that no value is rounded, of values that are: in each mode of a frame, and raw.
#[test]
fn a_lie_about_rounding_is_found() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("forged");
    let repeated = |of: [f64; 2]| ValueBuffer::F64((0..400).map(|k| of[k % 2]).collect());
    for (name, values) in [
        ("counts", ValueBuffer::I32(vec![16_777_217; 8])),
        (
            "large counts",
            ValueBuffer::U64((0..8).map(|k| (1 << 25) + k).collect()),
        ),
        ("a dictionary", repeated([0.1, 0.5])),
        (
            "plain values",
            ValueBuffer::F64((1..8).map(|k| 1.0 / f64::from(k)).collect()),
        ),
    ] {
        for encoding in [Encoding::Packed, Encoding::Raw] {
            let n = values.len();
            let rows = CsrRows {
                indptr: vec![0, n as u64],
                indices: (0..n as u32).collect(),
                values: values.clone(),
            };
            let mut options = options(encoding, values.value_type());
            options.replace = true;
            write_store(&path, &rows, options, None).unwrap();
            let mut forged = Forge::open(&path);
            assert_eq!(forged.manifest["f32_exact"], false, "{name}");
            assert!(
                epoch(&path, &[]).unwrap_err().to_string().contains("round"),
                "{name}"
            );
            forged.manifest["f32_exact"] = true.into();
            forged.write(&path);
            assert_refused(name, verify_path(&path), "f32_exact");
            assert_refused(name, epoch(&path, &[]), "not a float32");
            assert!(
                Store::open(&path).unwrap().rows(0..1).is_ok(),
                "{name}: exact, as they are"
            );
        }
    }
    // What can be delivered exactly is, whatever the type.
    let exact = CsrRows {
        indptr: vec![0, 400],
        indices: (0..400).collect(),
        values: repeated([0.25, f64::NAN]),
    };
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let mut options = options(encoding, ValueType::F64);
        options.replace = true;
        write_store(&path, &exact, options, None).unwrap();
        epoch(&path, &[]).unwrap();
    }
}

/// The store id is that of the content, also where every place that holds it agrees.
#[test]
fn the_store_id_is_that_of_the_content() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let mut forged = store(dir.path(), Encoding::Packed);
    let path = dir.path().join("forged");
    forged.seal();
    forged.write(&path);
    verify_path(&path).unwrap();
    // Sealed as a store of other values, which `nnz` stands for.
    let nnz = forged.manifest["nnz"].clone();
    forged.manifest["nnz"] = (nnz.as_u64().unwrap() - 1).into();
    forged.seal();
    forged.manifest["nnz"] = nnz;
    forged.write(&path);
    assert_refused("another id", verify_path(&path), "the store id");
}

fn with_positions(positions: &[u32]) -> (arrow_schema::SchemaRef, Vec<RecordBatch>) {
    let (schema, batches) = obs_table(positions.len());
    let column: ArrayRef = Arc::new(UInt32Array::from(positions.to_vec()));
    let field = arrow_schema::Field::new(SOURCE_POSITION_FIELD, column.data_type().clone(), false);
    let fields = schema.fields().iter().cloned();
    let fields: Vec<_> = fields
        .chain([Arc::new(role(field, ROLE_SOURCE_POSITION))])
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let columns = batches[0].columns().iter().cloned().chain([column]).collect();
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    (schema, vec![batch])
}

#[test]
fn obs_have_each_position_once() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let rows = matrix(4, N_VARS, Kind::Counts, 5);
    for (positions, expected) in [
        ([2, 0, 3, 1], None),
        ([2, 0, 2, 1], Some("occurs twice")),
        ([2, 0, 4, 1], Some("out of range")),
    ] {
        let mut options = options(Encoding::Packed, ValueType::F32);
        options.replace = true;
        write_store_with_obs(&path, &rows, options, None, with_positions(&positions)).unwrap();
        match expected {
            None => verify_path(&path).unwrap(),
            Some(expected) => assert_refused("positions", verify_path(&path), expected),
        }
    }
}

/// Writes a store with a layer that has `n_vars` columns of these names.
fn write_layer(path: &Path, n_vars: u64, name: impl Fn(u32) -> String) {
    let rows = matrix(20, 50, Kind::Counts, 6);
    let encoder = |n_vars| BlockEncoder {
        encoding: Encoding::Packed,
        n_vars,
        raw_value_type: ValueType::F32,
        column_of_source: None,
    };
    let mut options = WriterOptions::new(50, ValueType::F32);
    options.replace = true;
    let fill = |writer: &mut StoreWriter, n_vars: u64| {
        writer
            .append(&encoder(n_vars).encode(0, &rows, 0..20).unwrap())
            .unwrap();
    };
    let batches = |list: Vec<RecordBatch>| list.into_iter().map(Ok::<_, cellring::Error>);
    let mut writer = StoreWriter::create(path, options).unwrap();
    writer.set_name("X");
    fill(&mut writer, 50);
    let (schema, obs) = obs_table(20);
    writer.write_table(TableKind::Obs, &schema, batches(obs)).unwrap();
    let (schema, var) = var_table(&(0..50).collect::<Vec<_>>());
    writer.write_table(TableKind::Var, &schema, batches(var)).unwrap();
    let mut layer = writer
        .begin_matrix(WriterOptions::new(n_vars, ValueType::F32))
        .unwrap();
    fill(&mut layer, n_vars);
    let (schema, var) = named_var_table(&(0..n_vars as u32).collect::<Vec<_>>(), name);
    layer.write_table(TableKind::Var, &schema, batches(var)).unwrap();
    writer.add_matrix("layers/x", layer).unwrap();
    writer.finish().unwrap();
}

#[test]
fn a_layer_has_the_columns_of_the_store() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    write_layer(&path, 50, |k| format!("gene_{k}"));
    verify(&Store::open(&path).unwrap(), 1, &|_| ()).unwrap();
    write_layer(&path, 50, |k| format!("gene_{}", if k == 7 { 70 } else { k }));
    assert_refused("names", verify_path(&path), "not have the columns of the store");
    write_layer(&path, 51, |k| format!("gene_{k}"));
    assert_refused("their number", Store::open(&path).map(drop), "51 columns");
}

#[test]
fn hidden_files_are_nobodys_and_others_are_not_allowed() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    write_layer(&path, 50, |k| format!("gene_{k}"));
    for folder in ["", "matrices", "matrices/00000"] {
        let [hidden, more] = [".nfs0001", "more"].map(|name| path.join(folder).join(name));
        std::fs::write(&hidden, "").unwrap();
        verify_path(&path).unwrap();
        std::fs::write(&more, "").unwrap();
        assert_refused(folder, verify_path(&path), "does not belong to the store");
        std::fs::remove_file(&more).unwrap();
    }
}

/// A block is never in memory as a whole: here it has 36 MB.
#[test]
fn long_blocks_are_verified_in_little_memory() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let n_obs = 9_000;
    let rows = CsrRows {
        indptr: (0..=n_obs).map(|obs| obs * 500).collect(),
        indices: (0..n_obs).flat_map(|_| 0..500).collect(),
        values: ValueBuffer::F64(
            (0..n_obs * 500)
                .map(|k| f64::from_bits(k.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1))
                .collect(),
        ),
    };
    for encoding in [Encoding::Packed, Encoding::Raw] {
        let path = dir.path().join(encoding.name());
        let mut options = options(encoding, ValueType::F64);
        options.block_size = 65_536;
        write_store(&path, &rows, options, None).unwrap();
        let store = Store::open(&path).unwrap();
        assert!(store.index().n_blocks() == 1 && store.manifest().shards[0].bytes > 36_000_000);
        let (found, bytes) = measured(|| verify(&store, 2, &|_| ()));
        found.unwrap();
        assert!(bytes < 16 << 20, "{}: {bytes} bytes", encoding.name());
    }
}
