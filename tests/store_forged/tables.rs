//! Arrow files: what their messages and footers say.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray};
use arrow_ipc::writer::FileWriter;
use arrow_ipc::{Block, root_as_footer, root_as_message};
use arrow_schema::{Field, Schema};
use cellring::Store;
use cellring::format::constants::{ROLE_INDEX, ROLE_SOURCE_POSITION};
use cellring::writer::WriterOptions;

use crate::common::{Kind, Mix, matrix, role, value_type, write_store};
use crate::forge::Forge;
use crate::{ENOUGH, alone, assert_refused, epoch, measured, verify_path};

const N_OBS: usize = 40;

fn store(dir: &Path) -> Forge {
    let path = dir.join("sound");
    let mut options = WriterOptions::new(60, value_type(Kind::Counts));
    (options.block_size, options.alignment) = (16, 512);
    write_store(&path, &matrix(N_OBS, 60, Kind::Counts, 5), options, None).unwrap();
    Forge::open(&path)
}

/// Where the numbers of an Arrow file lie that its reader acts on, each of 8 bytes but the length of a block's head.
pub(crate) struct Places {
    /// Of the record batch: offset and length of each buffer.
    pub(crate) buffers: Vec<usize>,
    /// Rows and missing values of each column.
    nodes: Vec<usize>,
    /// The same of the dictionary.
    dictionary: Vec<usize>,
    /// Offset, length of the head and of the body, of the batch and of the dictionary.
    blocks: Vec<usize>,
    /// What stands before the message of the batch.
    head: usize,
    /// The bytes of the messages and of the footer.
    metadata: Vec<std::ops::Range<usize>>,
}

impl Places {
    pub(crate) fn find(file: &[u8]) -> Self {
        let at = |bytes: &[u8]| bytes.as_ptr() as usize - file.as_ptr() as usize;
        let len = file.len();
        let footer_len = i32::from_le_bytes(file[len - 10..len - 6].try_into().unwrap()) as usize;
        let footer_at = len - 10 - footer_len;
        let footer = root_as_footer(&file[footer_at..len - 10]).unwrap();
        let batch = footer.recordBatches().unwrap();
        let dictionary = footer.dictionaries().unwrap();
        let head = |block: &Block| {
            let start = block.offset() as usize;
            start..start + block.metaDataLength() as usize
        };
        let (batch_head, dictionary_head) = (head(batch.get(0)), head(dictionary.get(0)));
        let message = root_as_message(&file[batch_head.start + 8..batch_head.end]).unwrap();
        let record = message.header_as_record_batch().unwrap();
        let of_dictionary = root_as_message(&file[dictionary_head.start + 8..dictionary_head.end]).unwrap();
        let values = of_dictionary
            .header_as_dictionary_batch()
            .unwrap()
            .data()
            .unwrap();
        let pairs = |bytes: &[u8]| {
            (0..bytes.len() / 8)
                .map(|k| at(bytes) + 8 * k)
                .collect::<Vec<_>>()
        };
        let dictionary_places = [values.nodes().unwrap().bytes(), values.buffers().unwrap().bytes()];
        Self {
            buffers: pairs(record.buffers().unwrap().bytes()),
            nodes: pairs(record.nodes().unwrap().bytes()),
            dictionary: dictionary_places.into_iter().flat_map(pairs).collect(),
            blocks: [batch.bytes(), dictionary.bytes()]
                .into_iter()
                .flat_map(pairs)
                .collect(),
            head: batch_head.start,
            metadata: vec![batch_head, dictionary_head, footer_at..len],
        }
    }
}

/// Reads everything that there is in the tables; `verify` must refuse it.
fn assert_found(name: &str, forged: &mut Forge, path: &Path) {
    forged.seal();
    forged.write(path);
    let (found, bytes) = measured(|| verify_path(path));
    let message = found
        .err()
        .unwrap_or_else(|| panic!("{name} is taken"))
        .to_string();
    assert!(message.contains("obs.arrow: "), "{name}: {message}");
    assert!(
        !message.contains("Arrow cannot read it"),
        "{name}: it was Arrow that found it"
    );
    assert!(bytes < ENOUGH, "{name}: {bytes} bytes");
    let (_, bytes) = measured(|| epoch(path, &["plate", "score", "number"]));
    assert!(bytes < ENOUGH, "{name}: {bytes} bytes for an epoch");
}

/// Every offset and length, each as any of the numbers that go wrong.
#[test]
fn offsets_and_lengths_are_within_their_message() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let sound = store(dir.path());
    let path = dir.path().join("forged");
    let places = Places::find(&sound.files["obs.arrow"]);
    let fields = [
        ("buffer", &places.buffers),
        ("node", &places.nodes),
        ("dictionary", &places.dictionary),
        ("block", &places.blocks),
    ];
    assert!(places.buffers.len() == 2 * (3 + 2 + 2 + 2) && places.nodes.len() == 2 * 4);
    let mut n = 0;
    for (kind, list) in fields {
        for &place in list {
            for value in [
                1 << 20,
                i64::MAX,
                i64::MIN,
                -1,
                (1 << 40) + 8,
                i64::from(i32::MAX),
            ] {
                let mut forged = sound.clone();
                forged.file("obs.arrow")[place..place + 8].copy_from_slice(&value.to_le_bytes());
                assert_found(&format!("{kind} at {place} of {value}"), &mut forged, &path);
                n += 1;
            }
        }
    }
    for length in [0u32, 7, 1 << 20, u32::MAX, 1 << 31] {
        let mut forged = sound.clone();
        let at = places.head + 4;
        forged.file("obs.arrow")[at..at + 4].copy_from_slice(&length.to_le_bytes());
        assert_found(&format!("a message of {length} bytes"), &mut forged, &path);
        n += 1;
    }
    assert!(n > 200, "{n} forgeries");
}

/// What several name would be read, and take memory, several times.
#[test]
fn blocks_and_buffers_do_not_share_bytes() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let sound = store(dir.path());
    let path = dir.path().join("forged");
    let file = &sound.files["obs.arrow"];
    let places = Places::find(file);
    let number = |at: usize| i64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let put = |forged: &mut Forge, at: usize, value: i64| {
        forged.file("obs.arrow")[at..at + 8].copy_from_slice(&value.to_le_bytes());
    };
    let refused = |mut forged: Forge, reason: &str| {
        assert_found(reason, &mut forged, &path);
        let found = verify_path(&path).unwrap_err().to_string();
        assert!(found.contains(reason), "{found}");
    };
    // Every buffer is the whole body of its message.
    let [batch, dictionary] = [0, 1].map(|k| &places.blocks[3 * k..3 * k + 3]);
    let mut forged = sound.clone();
    for pair in places.buffers.chunks(2) {
        put(&mut forged, pair[0], 0);
        put(&mut forged, pair[1], number(batch[2]));
    }
    refused(forged, "its buffers overlap or are not in order");
    // The blocks, of 24 bytes each with the length of the head in 4 of them, reach to the end of the file.
    let mut forged = sound.clone();
    for block in [batch, dictionary] {
        let head = number(block[1]) & i64::from(u32::MAX);
        put(&mut forged, block[2], file.len() as i64 - number(block[0]) - head);
    }
    refused(forged, "its blocks overlap or are not in order");
    // What does not lie as its elements must.
    let mut forged = sound.clone();
    let last = &places.buffers[places.buffers.len() - 2..];
    put(&mut forged, last[0], number(last[0]) + 1);
    put(&mut forged, last[1], number(last[1]) - 1);
    refused(forged, "not a multiple of");
}

/// Bytes of the messages and of the footer at random: an error, or the same values; and never a panic.
#[test]
fn messages_of_any_bytes_are_refused_or_read() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let sound = store(dir.path());
    let path = dir.path().join("forged");
    let places = Places::find(&sound.files["obs.arrow"]).metadata;
    let mut mix = Mix(11);
    let mut refused = 0;
    let n: u64 = std::env::var("CELLRING_MUTANTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(600);
    for mutant in 0..n {
        let mut forged = sound.clone();
        for _ in 0..1 + mix.below(3) {
            let range = &places[mix.below(places.len() as u64) as usize];
            let at = range.start + mix.below(range.len() as u64) as usize;
            forged.file("obs.arrow")[at] = match mix.below(3) {
                0 => 0xFF,
                1 => mix.next() as u8,
                _ => forged.files["obs.arrow"][at] ^ (1 << mix.below(8)),
            };
        }
        forged.seal();
        forged.write(&path);
        let (found, bytes) = measured(|| verify_path(&path));
        assert!(bytes < ENOUGH, "mutant {mutant}: {bytes} bytes");
        match found {
            Ok(()) => drop(epoch(&path, &[])),
            Err(error) => {
                let message = error.to_string();
                assert!(
                    !message.contains("Arrow cannot read it"),
                    "mutant {mutant}: {message}"
                );
                refused += 1;
            }
        }
        drop(epoch(&path, &["plate", "score", "number"]));
    }
    assert!(refused > n / 3, "{refused} of {n} mutants are refused");
}

/// An Arrow file of these columns, which no writer of ours checks.
fn arrow_file(fields: Vec<Field>, columns: Vec<ArrayRef>) -> Vec<u8> {
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let mut writer = FileWriter::try_new(Vec::new(), &schema).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn fields_have_their_roles_and_names_of_their_own() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let sound = store(dir.path());
    let path = dir.path().join("forged");
    let texts = || -> ArrayRef { Arc::new(StringArray::from_iter_values((0..N_OBS).map(|k| k.to_string()))) };
    let numbers = || -> ArrayRef { Arc::new(Int64Array::from_iter_values(0..N_OBS as i64)) };
    let booleans = |n: usize| -> ArrayRef {
        let keys = arrow_array::Int8Array::from(vec![0; N_OBS]);
        let values = arrow_array::BooleanArray::from(vec![true; n]);
        Arc::new(arrow_array::DictionaryArray::new(keys, Arc::new(values)))
    };
    let floats = || -> ArrayRef { Arc::new(Float32Array::from(vec![0.5; N_OBS])) };
    let lists = || -> ArrayRef {
        let list = (0..N_OBS).map(|k| Some(vec![Some(k as i32)]));
        Arc::new(arrow_array::ListArray::from_iter_primitive::<
            arrow_array::types::Int32Type,
            _,
            _,
        >(list))
    };
    let plain = |name: &str, column: &ArrayRef| Field::new(name, column.data_type().clone(), true);
    let index = || role(plain("cell", &texts()), ROLE_INDEX);
    type Case = (&'static str, Vec<Field>, Vec<ArrayRef>, Option<&'static str>);
    let cases: Vec<Case> = vec![
        (
            "sound",
            vec![index(), plain("a", &floats())],
            vec![texts(), floats()],
            None,
        ),
        (
            "the index's name",
            vec![index(), plain("cell", &texts())],
            vec![texts(), texts()],
            None,
        ),
        (
            "no index",
            vec![plain("a", &texts())],
            vec![texts()],
            Some("role"),
        ),
        (
            "a late index",
            vec![plain("a", &floats()), index()],
            vec![floats(), texts()],
            Some("role"),
        ),
        (
            "equal names",
            vec![index(), plain("a", &floats()), plain("a", &numbers())],
            vec![texts(), floats(), numbers()],
            Some("two columns"),
        ),
        (
            "positions of another type",
            vec![
                index(),
                role(
                    plain("cellring.source_position", &numbers()),
                    ROLE_SOURCE_POSITION,
                ),
            ],
            vec![texts(), numbers()],
            Some("role"),
        ),
        (
            "more categories than there are values",
            vec![index(), plain("a", &booleans(4))],
            vec![texts(), booleans(4)],
            Some("has 4 categories of type Boolean, expected at most 3"),
        ),
        (
            "two of them",
            vec![index(), plain("a", &booleans(2))],
            vec![texts(), booleans(2)],
            None,
        ),
        (
            "lists",
            vec![index(), plain("a", &lists())],
            vec![texts(), lists()],
            Some("of type List"),
        ),
    ];
    for (name, fields, columns, expected) in cases {
        let mut forged = sound.clone();
        *forged.file("obs.arrow") = arrow_file(fields, columns);
        forged.seal();
        forged.write(&path);
        match expected {
            None => verify_path(&path).unwrap(),
            Some(expected) => assert_refused(name, verify_path(&path), expected),
        }
    }
    // The writer makes none that a reader refuses.
    let schema = Arc::new(Schema::new(vec![plain("a", &texts())]));
    let table = cellring::format::table_writer::TableWriter::create(&dir.path().join("t.arrow"), &schema);
    assert!(table.is_err());
    Store::open(dir.path().join("sound")).unwrap();
}
