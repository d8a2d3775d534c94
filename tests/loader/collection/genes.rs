//! Genes of several stores: how they are matched, and what is refused.

use super::*;

/// Names that repeat, and columns that tell genes better.
#[test]
fn genes_are_told_by_another_column() {
    let dir = tempfile::tempdir().unwrap();
    let ids = |range: std::ops::Range<usize>| -> Names { range.map(|k| format!("id{k}")).collect() };
    let of = |ids: Names, seed| Source {
        ids: Some(ids),
        ..Source::new(genes((0..20).map(|k| k % 9)), Kind::Counts, 50, seed)
    };
    let by_id = |source: &Source| Source {
        names: source.ids.clone().unwrap(),
        rows: source.rows.clone(),
        ..Source::new(vec![], Kind::Counts, 0, 0)
    };
    let sources = [of(ids(0..20), 1), of(ids(5..25), 2)];
    let collection = Collection::join_by(write_all(dir.path(), &sources), &Join::Outer, "gene_id").unwrap();
    let names = ids(0..25);
    assert_eq!(collection.var_names().unwrap(), names);
    assert_eq!(collection.missing(1).unwrap(), ids(0..5));
    let whole =
        concatenate(&[by_id(&sources[0]), by_id(&sources[1])], &names).write(&dir.path().join("whole"));
    let plain = || config(OutputConfig::default(), 2);
    assert!(epochs(&collection, plain()) == epochs(&whole.into(), plain()));
    let same = Collection::join_by(collection.stores()[..1].to_vec(), &Join::Same, "gene_id").unwrap();
    assert_eq!(same.var_names().unwrap(), ids(0..20));
}

#[test]
fn the_library_of_a_cell_is_that_of_its_store_unless_the_selected_genes_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut sources = sources(different_genes());
    sources.truncate(1);
    sources.push(Source::new(genes(20..95), Kind::Counts, 40, 9));
    let collection = Collection::join(write_all(dir.path(), &sources), &Join::Inner).unwrap();
    let names = collection.var_names().unwrap();
    for over in [LibraryGenes::All, LibraryGenes::Selected] {
        let output = OutputConfig::default().normalize(Normalize::LOG1P_10K.over(over));
        let loader = Loader::new(collection.clone(), config(output, 2)).unwrap();
        for minibatch in loader.epoch(0).unwrap() {
            let minibatch = minibatch.unwrap();
            for (k, &obs) in minibatch.obs().iter().enumerate() {
                let (store, obs) = collection.locate(obs);
                let row = sources[store].row(obs as usize);
                let counts = |name: &str| over == LibraryGenes::All || names.iter().any(|n| n == name);
                let total: f64 = row
                    .iter()
                    .filter(|(name, _)| counts(name))
                    .map(|(_, x)| f64::from(*x))
                    .sum();
                let range = minibatch.indptr()[k] as usize..minibatch.indptr()[k + 1] as usize;
                for at in range {
                    let name = &names[minibatch.indices()[at] as usize];
                    let (_, value) = row.iter().find(|(other, _)| other == name).unwrap();
                    let expected = f64::from(value / (total as f32 / 1e4)).ln_1p() as f32;
                    assert_eq!(minibatch.data()[at].to_bits(), expected.to_bits());
                }
            }
        }
    }
}

#[test]
fn genes_that_cannot_be_joined_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let stores = write_all(dir.path(), &sources(different_genes()));
    let refused = |stores: &[Arc<Store>], join| Collection::join(stores.to_vec(), &join).unwrap_err();
    let error = refused(&stores, Join::Same);
    let message = error.to_string();
    assert!(
        matches!(
            error.cause(),
            Cause::Collection(CollectionError::OtherGenes {
                n_missing: 30,
                n_extra: 31,
                ..
            })
        ),
        "{message}"
    );
    assert!(
        message.contains("part-1") && message.contains("part-0") && message.contains("g0, g1, g2"),
        "{message}"
    );
    assert!(matches!(
        refused(&[], Join::Same).cause(),
        Cause::Collection(CollectionError::Empty)
    ));
    let twice = Join::Names(genes([4, 5, 4]));
    assert!(
        matches!(refused(&stores, twice).cause(), Cause::Output(OutputError::RepeatedGene(name)) if name == "g4")
    );
    let few = |numbers: Vec<usize>, seed| Source::new(genes(numbers), Kind::Counts, 20, seed);
    let others = [
        few((100..120).collect(), 5),
        few([vec![0, 1, 0], (2..19).collect()].concat(), 6),
        few([vec![0, 1, 0], (2..19).collect()].concat(), 7),
        few((0..19).collect(), 8),
    ];
    let dir = dir.path().join("others");
    std::fs::create_dir(&dir).unwrap();
    let others = write_all(&dir, &others);
    for join in [Join::Inner, Join::Outer] {
        let no_common = refused(&[stores[0].clone(), others[0].clone()], join);
        let message = no_common.to_string();
        assert!(
            matches!(
                no_common.cause(),
                Cause::Collection(CollectionError::NothingInCommon { n_stores: 2, .. })
            ),
            "{message}"
        );
        assert!(
            message.contains("(g0, g1, g2, ..)") && message.contains("(g100, g101, g102, ..)"),
            "{message}"
        );
    }
    // Names that occur twice say nothing, unless all stores have the same in the same order.
    for join in [Join::Same, Join::Inner, Join::Outer] {
        let error = refused(&[others[1].clone(), others[3].clone()], join.clone());
        assert!(
            matches!(error.cause(), Cause::Collection(CollectionError::RepeatedNames { n: 1, names, .. }) if names == &["g0"]),
            "{error}"
        );
        assert!(error.to_string().contains("part-1"), "{error}");
        let same = Collection::join(others[1..3].to_vec(), &join).unwrap();
        assert_eq!((same.n_vars(), same.n_obs()), (20, 40));
    }
    let without = Join::Names(genes([7, 3]));
    assert_eq!(
        Collection::join(vec![others[1].clone(), others[3].clone()], &without)
            .unwrap()
            .n_vars(),
        2
    );
    let error = Collection::join_by(stores[..2].to_vec(), &Join::Outer, "gene_id").unwrap_err();
    assert!(
        matches!(error.cause(), Cause::Format(_)) && error.to_string().contains("gene_id"),
        "{error}"
    );
}
