//! Columns of `obs` and values of several inputs, united.

use super::*;

#[test]
fn real_files_of_different_genes_become_one() {
    let Some(shared) = shared_data() else { return };
    let directory = scratch();
    let names = [
        "sc_celseq2",
        "sc_celseq2_5cl_p1",
        "sc_celseq2_5cl_p3",
        "sc_dropseq",
    ];
    let inputs = names.map(|name| shared.join("multi").join(format!("{name}.h5ad")));
    let mut cases = vec![];
    for (number, var) in [VarJoin::Inner, VarJoin::Outer].into_iter().enumerate() {
        let join = join_of(var)
            .label_column("file".to_owned())
            .index_unique((number == 1).then(|| "-".to_owned()));
        let orders = [None, Some(ObsOrder::Shuffled { seed: 5 })];
        let by = Some(ObsOrder::SortedBy(vec!["file".to_owned(), "outliers".to_owned()]));
        for (place, obs_order) in orders.into_iter().chain([by]).enumerate() {
            let options = ConvertOptions {
                obs_order,
                ..options(join.clone())
            };
            let name = directory.path().join(format!("{number}-{place}"));
            let (mut case, warnings) = case(&name, &inputs, &options);
            case["label"] = "file".into();
            case["labels"] = names.to_vec().into();
            if number == 1 {
                case["unique"] = "-".into();
            }
            // The barcodes of two plates are the same.
            assert_eq!(warnings.len(), 1 - number, "{warnings:?}");
            cases.push(case);
        }
        let manifest = Store::open(directory.path().join(format!("{number}-0.cellring"))).unwrap();
        let source = &manifest.manifest().source;
        assert_eq!(source["files"][3], "sc_dropseq.h5ad");
        assert_eq!(source["join"], join_name(var));
    }
    compare(&cases);
    let paths = inputs.each_ref().map(|path| path.to_str().unwrap());
    let store = directory.path().join("x");
    let out = ["-o", store.to_str().unwrap()];
    let message = fail(&[&["convert"], &paths[..], &out].concat());
    assert!(
        message.contains("12866 of the first are not in the second, 226 of the second not in the first"),
        "{message}"
    );
}

/// One matrix in all forms: the same genes in the same order, as CSR, CSC, dense, zarr and Matrix Market do not differ.
#[test]
fn inputs_of_different_forms_become_one() {
    let Some(shared) = shared_data() else { return };
    let directory = scratch();
    let inputs = [
        "pbmc3k_csc_gzip_v012.h5ad",
        "pbmc3k_1000_unsorted_u16.h5ad",
        "zarr/pbmc3k_1200_v3_csc_sharded.zarr",
        "compat/pbmc3k_300_bool.h5ad",
        "zarr/pbmc3k_1200_v2_blosc.zarr",
        "pbmc3k_csr_int64idx_lzf.h5ad",
    ]
    .map(|name| shared.join(name));
    // So little that the columns pass through files.
    let options = ConvertOptions {
        memory_bytes: 200 << 20,
        ..options(JoinOptions::default())
    };
    compare(&[case(&directory.path().join("all"), &inputs, &options).0]);
}

#[test]
fn columns_and_values_of_other_types_are_united() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    let first: Vec<u32> = (0..9).collect();
    write(
        &path("a.h5ad"),
        ValueType::F32,
        &samples::columns(),
        &genes(&first, 1),
    );
    write(
        &path("b.h5ad"),
        ValueType::I32,
        &other_columns(),
        &genes(&[12, 3, 8, 5, 20, 0, 4], 2),
    );
    let third: Vec<u32> = (3..9).rev().chain(30..33).collect();
    write(
        &path("c.h5ad"),
        ValueType::U16,
        &samples::names("cell", 6),
        &genes(&third, 3),
    );
    let inputs = [path("a.h5ad"), path("b.h5ad"), path("c.h5ad")];
    let mut cases = vec![];
    for (number, (var, key)) in [
        (VarJoin::Inner, None),
        (VarJoin::Outer, None),
        (VarJoin::Outer, Some("gene_ids")),
    ]
    .into_iter()
    .enumerate()
    {
        let join = join_of(var)
            .var_key(key.map(str::to_owned))
            .index_unique("/".to_owned())
            .labels(["x", "y", "z"].map(str::to_owned).to_vec());
        let (mut case, warnings) = case(&path(&number.to_string()), &inputs, &options(join));
        case["left_out"] = json!(["n_cells"]);
        case["unique"] = "/".into();
        case["labels"] = json!(["x", "y", "z"]);
        if let Some(key) = key {
            case["key"] = key.into();
        }
        assert!(
            warnings.len() == 1 && warnings[0].contains("var columns n_cells"),
            "{warnings:?}"
        );
        cases.push(case);
    }
    compare(&cases);
    // Ordered categories that agree stay so: "low" < "high" are two of "low" < "mid" < "high" < "unused".
    let store = Store::open(path("1.cellring")).unwrap();
    let level = store.obs().column("level").unwrap();
    assert_eq!(level.field().metadata()["anndata.ordered"], "true");
    let i8 = store.obs().column("i8").unwrap();
    assert_eq!(i8.field().metadata()["anndata.encoding"], "nullable-integer");
    assert_eq!(i8.field().data_type(), &arrow_schema::DataType::Int64);
}

/// Names that are numbers or booleans in some inputs become texts, as anndata makes them, also where they are appended.
#[test]
fn names_of_different_kinds_become_texts() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    let names: [(&str, ArrayRef); 4] = [
        (
            "texts.h5ad",
            index(["c0", "c1", "7"].map(str::to_owned).into_iter()),
        ),
        (
            "integers.h5ad",
            Arc::new(Int64Array::from(vec![-3, 0, 10_000_000_000])),
        ),
        ("floats.h5ad", Arc::new(Float64Array::from(vec![1.5, 3.0, 1e16]))),
        (
            "booleans.h5ad",
            Arc::new(BooleanArray::from(vec![true, false, true])),
        ),
    ];
    for (name, names) in names {
        let obs = samples::table(vec![("index", names, INDEX)]);
        write(&path(name), ValueType::F32, &obs, &genes(&[0, 1, 2], 1));
    }
    let all = ["integers.h5ad", "texts.h5ad", "floats.h5ad", "booleans.h5ad"].map(path);
    let (plain, warnings) = case(&path("plain"), &all, &options(JoinOptions::default()));
    let of_index: Vec<&String> = warnings
        .iter()
        .filter(|warning| warning.contains("the index of obs holds "))
        .collect();
    assert_eq!(of_index.len(), 1, "{warnings:?}");
    assert!(
        of_index[0].ends_with("; all become texts, as in anndata"),
        "{warnings:?}"
    );
    let unique = JoinOptions::default()
        .index_unique("-".to_owned())
        .labels(["i", "t", "f", "b"].map(str::to_owned).to_vec());
    let (mut with_labels, _) = case(&path("unique"), &all, &options(unique));
    with_labels["unique"] = "-".into();
    with_labels["labels"] = json!(["i", "t", "f", "b"]);
    // Numbers of one kind stay numbers.
    let (_, warnings) = case(
        &path("numbers"),
        &[all[0].clone(), all[0].clone()],
        &options(JoinOptions::default()),
    );
    assert!(
        !warnings
            .iter()
            .any(|warning| warning.contains("the index of obs holds ")),
        "{warnings:?}"
    );

    let store = path("appended.cellring");
    run(&all[1..2], &store, &options(JoinOptions::default()));
    let more = ["integers.h5ad", "floats.h5ad", "booleans.h5ad"].map(|name| path(name).display().to_string());
    let at = store.display().to_string();
    let args: Vec<&str> = ["append", &at]
        .into_iter()
        .chain(more.iter().map(String::as_str))
        .collect();
    let (code, _, stderr) = cellring(&args);
    assert_eq!(code, 0, "{stderr}");
    let out = path("appended.out.h5ad");
    export(&store, &out, &ExportOptions::default(), &|_, _| {}).unwrap();
    let in_order = ["texts.h5ad", "integers.h5ad", "floats.h5ad", "booleans.h5ad"].map(path);
    let appended = json!({"exported": out, "sources": in_order, "join": "inner"});
    compare(&[plain, with_labels, appended]);
}

/// Values that the type of all does not hold are refused by their place; others pass.
#[test]
fn wide_integers_beside_floats_are_exact_or_refused() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    write(
        &path("f.h5ad"),
        ValueType::F32,
        &samples::names("cell", 4),
        &samples::names("gene", 3),
    );
    write(
        &path("i.h5ad"),
        ValueType::I64,
        &samples::names("cell", 6),
        &samples::names("gene", 3),
    );
    let inputs = [path("f.h5ad"), path("i.h5ad")];
    let (fits, _) = case(&path("fits"), &inputs, &options(JoinOptions::default()));
    compare(&[fits]);

    let rows = CsrRows {
        indptr: vec![0, 1, 2],
        indices: vec![0, 2],
        values: ValueBuffer::I64(vec![1, (1 << 53) + 1]),
    };
    let mut writer =
        AnnDataWriter::create(path("large.h5ad"), MatrixSpec::new(2, 3, ValueType::I64)).unwrap();
    writer.push_rows(&rows).unwrap();
    for (axis, table) in [
        (Axis::Obs, samples::names("cell", 2)),
        (Axis::Var, samples::names("gene", 3)),
    ] {
        writer.write_table(axis, &table.schema(), [table]).unwrap();
    }
    writer.finish().unwrap();
    let store = path("x.cellring");
    let inputs = [path("f.h5ad"), path("large.h5ad")];
    let error = convert(&inputs, &store, &options(JoinOptions::default()), &|_, _| {}).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("large.h5ad has the value 9007199254740993 in row 1, which float64"),
        "{message}"
    );
    assert!(!store.exists());
}
