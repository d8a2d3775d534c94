//! Footers, schemas and categories that are refused.

use super::*;
use std::collections::HashMap;

#[test]
fn panics_become_errors() {
    let found: Result<(), String> = caught(|| panic!("of Arrow"));
    assert_eq!(found, Err("Arrow cannot read it".into()));
    assert_eq!(caught(|| Ok(5)), Ok(5));
}

fn field(name: &str, data_type: DataType, role: Option<&str>) -> Field {
    let metadata = role.map(|role| (ROLE_KEY.to_string(), role.to_string()));
    Field::new(name, data_type, true).with_metadata(metadata.into_iter().collect::<HashMap<_, _>>())
}

#[test]
fn roles_and_types_belong_to_their_places() {
    let index = || field("cell", DataType::Utf8, Some(ROLE_INDEX));
    let position = || {
        field(
            SOURCE_POSITION_FIELD,
            DataType::UInt32,
            Some(ROLE_SOURCE_POSITION),
        )
    };
    let plain = |name| field(name, DataType::Float32, None);
    let check = |fields: Vec<Field>| check_schema(&Schema::new(fields)).is_ok();
    assert!(check(vec![index()]));
    // AnnData allows a column that is called as the index is.
    assert!(check(vec![index(), plain("cell"), plain("b"), position()]));
    for (reason, fields) in [
        ("no field", vec![]),
        ("no index", vec![plain("a")]),
        ("index in the second place", vec![plain("a"), index()]),
        ("two of them", vec![index(), index()]),
        ("equal names", vec![index(), plain("a"), plain("a")]),
        (
            "a position before a column",
            vec![index(), position(), plain("a")],
        ),
        (
            "another type",
            vec![
                index(),
                field(SOURCE_POSITION_FIELD, DataType::Int32, Some(ROLE_SOURCE_POSITION)),
            ],
        ),
        (
            "another name",
            vec![index(), field("a", DataType::UInt32, Some(ROLE_SOURCE_POSITION))],
        ),
        (
            "an unknown role",
            vec![index(), field("a", DataType::UInt32, Some("a"))],
        ),
        ("no values", vec![index(), field("a", DataType::Null, None)]),
        ("views", vec![index(), field("a", DataType::Utf8View, None)]),
        (
            "columns in columns",
            vec![
                index(),
                field("a", DataType::new_list(DataType::Int8, true), None),
            ],
        ),
    ] {
        assert!(!check(fields), "{reason}");
    }
}

/// A footer of one column of texts, which may have another within it, or no name.
fn footer(name: Option<&str>, has_child: bool) -> Vec<u8> {
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let text = arrow_ipc::Utf8Builder::new(&mut builder)
        .finish()
        .as_union_value();
    let column =
        |builder: &mut flatbuffers::FlatBufferBuilder<'static>, name: Option<&str>, children: &[_]| {
            let args = arrow_ipc::FieldArgs {
                name: name.map(|name| builder.create_string(name)),
                type_type: arrow_ipc::Type::Utf8,
                type_: Some(text),
                children: (!children.is_empty()).then(|| builder.create_vector(children)),
                custom_metadata: {
                    let (key, value) = (builder.create_string(ROLE_KEY), builder.create_string(ROLE_INDEX));
                    let pair = arrow_ipc::KeyValueArgs {
                        key: Some(key),
                        value: Some(value),
                    };
                    let pair = arrow_ipc::KeyValue::create(builder, &pair);
                    Some(builder.create_vector(&[pair]))
                },
                ..arrow_ipc::FieldArgs::default()
            };
            arrow_ipc::Field::create(builder, &args)
        };
    let child = has_child.then(|| column(&mut builder, Some("child"), &[]));
    let field = column(&mut builder, name, child.as_slice());
    let fields = Some(builder.create_vector(&[field]));
    let schema = arrow_ipc::SchemaArgs {
        fields,
        ..arrow_ipc::SchemaArgs::default()
    };
    let schema = Some(arrow_ipc::Schema::create(&mut builder, &schema));
    let version = MetadataVersion::V5;
    let args = arrow_ipc::FooterArgs {
        version,
        schema,
        ..arrow_ipc::FooterArgs::default()
    };
    let footer = arrow_ipc::Footer::create(&mut builder, &args);
    builder.finish(footer, None);
    builder.finished_data().to_vec()
}

#[test]
fn fields_have_names_and_no_others_within_them() {
    let read = |name, has_child| read_footer(&footer(name, has_child)).map(|read| read.schema.fields().len());
    assert_eq!(read(Some("cell"), false), Ok(1));
    assert!(read(None, false).is_err_and(|error| error.contains("no name")));
    assert!(read(Some("cell"), true).is_err_and(|error| error.contains("others in it")));
}
