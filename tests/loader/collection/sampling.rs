//! Strategies over the obs of several stores.

use super::*;

#[test]
fn stores_are_drawn_by_their_shares() {
    let dir = tempfile::tempdir().unwrap();
    let of = |n_obs, seed| Source::new(genes(0..30), Kind::Counts, n_obs, seed);
    let collection = Collection::new(write_all(
        dir.path(),
        &[of(20, 1), of(200, 2), of(0, 3), of(70, 4)],
    ))
    .unwrap();
    let subset = Subset::from_fn(290, |obs| obs < 10 || (obs >= 100 && obs % 3 == 0)).unwrap();
    let shares = [3.0, 2.0, 0.0, 1.0];
    for subset in [None, Some(subset)] {
        let mut weighted = collection.weighted(&shares, subset.as_ref()).unwrap();
        assert!(weighted.replacement);
        weighted.n_draws = Some(1200);
        let mut config = config(OutputConfig::default(), 2);
        config.sampler.strategy = weighted.into();
        config.data = SamplerData::default().subset(subset.clone());
        let loader = Loader::new(collection.clone(), config).unwrap();
        let mut counts = vec![0u32; 290];
        for epoch in 0..10 {
            for minibatch in loader.epoch(epoch).unwrap() {
                minibatch
                    .unwrap()
                    .obs()
                    .iter()
                    .for_each(|&obs| counts[obs as usize] += 1);
            }
        }
        let is_member = |obs: u64| subset.as_ref().is_none_or(|subset| subset.contains(obs));
        let mut chi_square = 0.0;
        let mut n_members = 0;
        for (store, share) in shares.iter().enumerate() {
            let members: Vec<u64> = collection.range(store).filter(|&obs| is_member(obs)).collect();
            let drawn: u32 = members.iter().map(|&obs| counts[obs as usize]).sum();
            let expected = 12_000.0 * share / 6.0;
            // Draws are spread evenly over the weights: all but those at the edges of a store are certain.
            assert!(
                (f64::from(drawn) - expected).abs() <= 0.02 * expected,
                "{drawn} draws of {expected}"
            );
            for &obs in &members {
                let expected = expected / members.len() as f64;
                chi_square += (f64::from(counts[obs as usize]) - expected).powi(2) / expected;
                n_members += 1;
            }
        }
        assert_eq!(counts.iter().sum::<u32>(), 12_000);
        // Draws of a block are not independent; with fewer degrees of freedom the sum is at most this, but for 1 in 10^6.
        assert!(
            chi_square < f64::from(n_members) * 2.0,
            "{chi_square} of {n_members}"
        );
    }
    let codes = collection.store_codes();
    assert!((0..290).all(|obs| collection.locate(obs).0 == codes[obs as usize] as usize));
    let refused = |shares: &[f64]| collection.weighted(shares, None).unwrap_err();
    assert!(matches!(
        refused(&[1.0]).cause(),
        Cause::Collection(CollectionError::Shares {
            expected: 4,
            found: 1
        })
    ));
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        let error = refused(&[0.0, 1.0, 0.0, bad]);
        assert!(
            matches!(error.cause(), Cause::Collection(CollectionError::BadShare { .. }))
                && error.to_string().contains("part-3"),
            "{error}"
        );
    }
    let error = refused(&[0.0, 1.0, 1.0, 0.0]);
    assert!(
        matches!(
            error.cause(),
            Cause::Collection(CollectionError::NothingToDraw { .. })
        ) && error.to_string().contains("part-2"),
        "{error}"
    );
    // However small a share is, it is not none.
    let tiny = collection.weighted(&[1e-300, 1.0, 0.0, 0.0], None).unwrap();
    assert!(
        tiny.weights[..20].iter().all(|&weight| weight > 0.0)
            && tiny.weights[220..].iter().all(|&w| w == 0.0)
    );
}

#[test]
fn every_strategy_works_over_all_obs_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(different_genes());
    let stores = write_all(dir.path(), &sources);
    let collection = Collection::join(stores.clone(), &Join::Outer).unwrap();
    let balanced = Balanced::new(collection.store_codes()).n_draws(Some(200));
    let subset = Subset::from_ranges(256, [collection.range(1), collection.range(3)]).unwrap();
    let weighted = collection.weighted(&[1.0, 1.0, 0.0, 2.0], None).unwrap();
    let custom = Custom::from_ids((0..256).rev()).unwrap();
    let data = SamplerData::default;
    let samplings = [
        (Strategy::Sequential, data()),
        (Strategy::BlockShuffle, data().subset(subset)),
        (balanced.into(), data()),
        (weighted.into(), data()),
        (custom.into(), data()),
    ];
    for (strategy, data) in samplings {
        let kind = strategy.kind();
        let mut config = config(OutputConfig::default(), 2);
        (config.sampler.strategy, config.data) = (strategy, data);
        let make = |stores: Vec<Arc<Store>>| {
            Loader::new(Collection::join(stores, &Join::Outer).unwrap(), config.clone()).unwrap()
        };
        let loader = make(stores.clone());
        let whole: Vec<Content> = loader.epoch(2).unwrap().map(|m| content(&m.unwrap())).collect();
        let plan = loader.sampler().plan(2).unwrap();
        let planned: Vec<u64> = (0..plan.n_fetches())
            .flat_map(|number| plan.fetch(number).obs)
            .collect();
        let obs: Vec<u64> = whole.iter().flat_map(|content| content.obs.clone()).collect();
        let mut sorted = [planned, obs];
        sorted.iter_mut().for_each(|list| list.sort_unstable());
        assert_eq!(sorted[0], sorted[1]);
        let mut epoch = loader.epoch(2).unwrap();
        epoch
            .by_ref()
            .take(4)
            .for_each(|minibatch| drop(minibatch.unwrap()));
        let state = epoch.state();
        drop(epoch);
        let other = make(stores.clone());
        let rest: Vec<Content> = other
            .resume(&state)
            .unwrap()
            .map(|m| content(&m.unwrap()))
            .collect();
        assert!(rest == whole[4..], "{kind}");
        let mut swapped = stores.clone();
        swapped.swap(0, 3);
        if matches!(kind, StrategyKind::Sequential | StrategyKind::Custom) {
            let error = make(swapped).resume(&state).unwrap_err();
            assert!(
                matches!(error.cause(), Cause::Plan(PlanError::StateMismatch { .. })),
                "{error}"
            );
        }
    }
}
