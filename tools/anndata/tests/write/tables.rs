//! obs and var: encodings, and columns and tables that are refused.

use super::*;

#[test]
fn columns_get_the_encodings_of_anndata() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.h5ad");
    write(
        &path,
        spec(ValueType::F32, N_COLUMN_ROWS, 5),
        &columns(),
        &names("gene", 5),
        3,
    );
    let file = Hdf5File::open(&path).unwrap();
    assert_eq!(
        file.root_group()
            .unwrap()
            .attribute("encoding-type")
            .unwrap()
            .read_string()
            .unwrap(),
        "anndata"
    );
    let obs = file.group("obs").unwrap();
    assert_eq!(obs.attribute("_index").unwrap().read_string().unwrap(), "barcode");
    let order = obs.attribute("column-order").unwrap().read_strings().unwrap();
    let schema = columns().schema();
    let expected: Vec<_> = schema.fields()[1..]
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(order, expected);
    assert_eq!(
        file.group("var")
            .unwrap()
            .attribute("column-order")
            .unwrap()
            .num_elements()
            .unwrap(),
        0
    );
    for (name, kind) in [
        ("i8", "array"),
        ("flag", "array"),
        ("text", "string-array"),
        ("int_missing", "nullable-integer"),
        ("int_none_missing", "nullable-integer"),
        ("flag_missing", "nullable-boolean"),
        ("text_missing", "nullable-string-array"),
        ("category", "categorical"),
        ("nested/deeply/column", "array"),
    ] {
        assert_eq!(encoding(&file, &format!("obs/{name}")), kind, "{name}");
    }
    assert_eq!(integers(&file, "obs/i64"), [0, 3, 6, 9, 12, 15, 18]);
    assert_eq!(integers(&file, "obs/flag"), [1, 0, 1, 0, 1, 0, 1]);
    assert_eq!(integers(&file, "obs/int_missing/values"), [0, 0, 2, 3, 0, 5, 6]);
    assert_eq!(integers(&file, "obs/int_missing/mask"), [0, 1, 0, 0, 1, 0, 0]);
    assert_eq!(integers(&file, "obs/int_none_missing/mask"), [0; 7]);
    assert_eq!(integers(&file, "obs/level/codes"), [2, 0, -1, 1, 1, 0, 2]);
    assert_eq!(
        texts(&file, "obs/level/categories"),
        ["low", "mid", "high", "unused"]
    );
    assert_eq!(integers(&file, "obs/number_category/categories"), [30, 10, 20]);
    assert_eq!(
        texts(&file, "obs/text"),
        [
            "",
            "plain",
            "gr\u{fc}n",
            "\u{65e5}\u{672c}",
            "a/b",
            " padded ",
            "x"
        ]
    );
    assert_eq!(texts(&file, "obs/barcode")[6], "cell-6");
    let ordered = |name: &str| {
        file.group(&format!("obs/{name}"))
            .unwrap()
            .attribute("ordered")
            .unwrap()
            .raw_data
            == [1]
    };
    assert!(ordered("level") && !ordered("category"));
    for name in ["layers", "obsm", "obsp", "uns", "varm", "varp"] {
        assert_eq!(encoding(&file, name), "dict");
    }
}

#[test]
fn long_columns_are_chunked_and_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.h5ad");
    let n = 150_001;
    write(
        &path,
        spec(ValueType::U8, n, 3),
        &samples::long(n),
        &names("gene", 3),
        6_999,
    );
    let file = Hdf5File::open(&path).unwrap();
    assert!(file.dataset("obs/number").unwrap().chunks().is_some());
    assert_eq!(
        integers(&file, "obs/number"),
        (0..n as i64).map(|i| i * i).collect::<Vec<_>>()
    );
    let missing = integers(&file, "obs/late/mask");
    assert!(
        missing.len() == n
            && missing
                .iter()
                .enumerate()
                .all(|(i, &m)| (m == 1) == (i >= 140_000 && i % 2 == 1))
    );
    let ids = texts(&file, "obs/_index");
    assert!(ids.len() == n && ids.iter().enumerate().all(|(i, id)| *id == format!("cell-{i}")));
    let long = texts(&file, "obs/text");
    assert_eq!(
        (long[1].len(), long[2].as_str(), long[3].as_str()),
        (100_000, "abab", "")
    );
}

#[test]
fn columns_that_anndata_cannot_hold_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let numbers = || Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef;
    let index = || Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef;
    let category = |codes: Vec<i8>, labels: Vec<Option<&str>>| -> ArrayRef {
        let labels = Arc::new(StringArray::from(labels));
        Arc::new(DictionaryArray::<Int8Type>::try_new(Int8Array::from(codes), labels).unwrap())
    };
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<
        arrow_array::types::Int32Type,
        _,
        _,
    >([Some(vec![Some(1)]), Some(vec![])]));
    let problem = |columns: Vec<(&str, ArrayRef)>| {
        let batch = table(
            columns
                .into_iter()
                .map(|(name, array)| (name, array, &[][..]))
                .collect(),
        );
        let (mut writer, _) = small(directory.path());
        let error = writer
            .write_table(Axis::Obs, &batch.schema(), [batch])
            .unwrap_err();
        let text = error.to_string();
        match error.kind() {
            WriteErrorKind::Column {
                axis: Axis::Obs,
                fault,
            } => (format!("{:?}", fault.problem), text),
            other => panic!("{other}"),
        }
    };
    let is =
        |found: (String, String), kind: &str| assert!(found.0.starts_with(kind), "{found:?}, not {kind}");
    for name in [
        "",
        "/a",
        "a/",
        "a//b",
        "a/./b",
        ".",
        "_index",
        "nul\0",
        &"a/".repeat(99),
    ] {
        is(problem(vec![("i", index()), (name, numbers())]), "Name");
    }
    is(
        problem(vec![("i", index()), ("a", numbers()), ("a", numbers())]),
        "Collision",
    );
    is(
        problem(vec![("i", index()), ("a", numbers()), ("a/b", numbers())]),
        "Collision",
    );
    is(
        problem(vec![("i", index()), ("a/b", numbers()), ("a", numbers())]),
        "Collision",
    );
    is(problem(vec![("i", index()), ("a", lists)]), "Type");
    is(
        problem(vec![("i", Arc::new(StringArray::from(vec![Some("a"), None])))]),
        "NullIndex",
    );
    is(
        problem(vec![
            ("i", index()),
            ("a", Arc::new(StringArray::from(vec!["x", "y\0"]))),
        ]),
        "Nul { row: 1 }",
    );
    is(
        problem(vec![
            ("i", index()),
            ("a", category(vec![0, 1], vec![Some("x"), Some("x")])),
        ]),
        "BadCategories",
    );
    is(
        problem(vec![
            ("i", index()),
            ("a", category(vec![0, 1], vec![Some("x"), None])),
        ]),
        "BadCategories",
    );
}

#[test]
fn categories_may_grow_but_not_change() {
    let directory = tempfile::tempdir().unwrap();
    let batch = |labels: Vec<&str>| {
        let column = DictionaryArray::<Int8Type>::try_new(
            Int8Array::from(vec![labels.len() as i8 - 1]),
            Arc::new(StringArray::from(labels)),
        );
        let index: ArrayRef = Arc::new(StringArray::from(vec!["c"]));
        table(vec![
            ("i", index, &[]),
            ("a", Arc::new(column.unwrap()) as ArrayRef, &[]),
        ])
    };
    let path = directory.path().join("small.h5ad");
    let (mut writer, rows) = small(directory.path());
    writer.push_rows(&rows).unwrap();
    let batches = [batch(vec!["x"]), batch(vec!["x", "y"])];
    writer
        .write_table(Axis::Obs, &batches[0].schema(), batches)
        .unwrap();
    let error = writer.table(Axis::Obs, &names("c", 2).schema()).err().unwrap();
    assert!(
        matches!(error.kind(), WriteErrorKind::Table { times: 2, .. }),
        "{error}"
    );
    let var = names("gene", 3);
    writer.write_table(Axis::Var, &var.schema(), [var]).unwrap();
    writer.finish().unwrap();
    let file = Hdf5File::open(&path).unwrap();
    assert_eq!(integers(&file, "obs/a/codes"), [0, 1]);
    assert_eq!(texts(&file, "obs/a/categories"), ["x", "y"]);

    let (mut writer, _) = small(directory.path());
    let mut obs = writer.table(Axis::Obs, &batch(vec!["x"]).schema()).unwrap();
    obs.push(&batch(vec!["x", "y"])).unwrap();
    let error = obs.push(&batch(vec!["y", "x"])).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            WriteErrorKind::Column {
                fault: ColumnFault {
                    problem: ColumnProblem::CategoriesChanged { row: 1 },
                    ..
                },
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn tables_of_another_size_or_schema_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for n in [1, 3] {
        let (mut writer, _) = small(directory.path());
        let error = writer
            .write_table(Axis::Obs, &names("c", n).schema(), [names("c", n)])
            .unwrap_err();
        assert!(
            matches!(error.kind(), WriteErrorKind::Count { expected: 2, .. }),
            "{error}"
        );
    }
    let (mut writer, _) = small(directory.path());
    let error = writer
        .write_table(Axis::Obs, &names("c", 2).schema(), [columns()])
        .unwrap_err();
    assert!(
        matches!(error.kind(), WriteErrorKind::Batch { axis: Axis::Obs }),
        "{error}"
    );
    drop(writer);
    // One list of names must fit an object header.
    let many: Vec<String> = (0..5_000).map(|i| format!("column {i}")).collect();
    let column = || Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef;
    let about: &[(&str, &str)] = &[];
    let wide = table(
        std::iter::once("i")
            .chain(many.iter().map(String::as_str))
            .map(|n| (n, column(), about))
            .collect(),
    );
    let (mut writer, rows) = small(directory.path());
    writer.push_rows(&rows).unwrap();
    writer.write_table(Axis::Obs, &wide.schema(), [wide]).unwrap();
    let var = names("gene", 3);
    writer.write_table(Axis::Var, &var.schema(), [var]).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(matches!(error.kind(), WriteErrorKind::TooLong { .. }), "{error}");
    assert_eq!(files_in(directory.path()), 0);
}
