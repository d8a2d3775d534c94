//! Outputs that cannot be made, and accessors for another form.

use super::*;

#[test]
fn outputs_that_cannot_be_made_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = counts(dir.path(), Encoding::Packed);
    let refused =
        |store: &Arc<Store>, output: OutputConfig| Loader::new(store.clone(), config(output, 1)).unwrap_err();
    let plain = OutputConfig::default;
    let genes = GeneSelection::by_columns(N_VARS + 1, &[Some(1)]).unwrap();
    let of_other_store = plain().genes(genes);
    assert!(matches!(
        refused(&store, of_other_store).cause(),
        Cause::Output(OutputError::OtherStore {
            expected: 301,
            found: 300
        })
    ));
    let few_weights = plain().gene_weights([1.0; 3]);
    assert!(matches!(
        refused(&store, few_weights).cause(),
        Cause::Output(OutputError::Weights {
            expected: 300,
            found: 3
        })
    ));
    for target in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-60] {
        let normalize = Normalize::LOG1P_10K.target_sum(Some(target));
        let output = plain().normalize(normalize);
        assert!(matches!(
            refused(&store, output).cause(),
            Cause::Output(OutputError::TargetSum(_))
        ));
    }
    let layout = |layout| plain().layout(layout);
    assert!(matches!(
        refused(&store, layout(Layout::TopK(0))).cause(),
        Cause::Output(OutputError::NoRanks)
    ));
    for k in [1 << 30, usize::MAX] {
        assert!(matches!(
            refused(&store, layout(Layout::TopK(k))).cause(),
            Cause::Output(OutputError::Budget { .. })
        ));
    }
    let rows = matrix(20, N_VARS, Kind::Signed, 36);
    let signed = write(
        &dir.path().join("signed"),
        &rows,
        ValueType::I16,
        Encoding::Packed,
    );
    let computed = plain()
        .value_type(OutputType::Source)
        .normalize(Normalize::LOG1P_10K);
    assert!(matches!(
        refused(&signed, computed).cause(),
        Cause::Output(OutputError::Computed { value_type: "int16" })
    ));
}

#[test]
fn accessors_for_another_form_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = counts(dir.path(), Encoding::Packed);
    let output = OutputConfig::default().layout(Layout::Dense);
    let minibatch = Loader::new(store, config(output, 1))
        .unwrap()
        .epoch(0)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    // Sent to another thread, and dropped there.
    let panics = std::thread::spawn(move || {
        [
            std::panic::catch_unwind(|| minibatch.indptr().len()).is_err(),
            std::panic::catch_unwind(|| minibatch.indices().len()).is_err(),
            std::panic::catch_unwind(|| minibatch.data().len()).is_err(),
        ]
    });
    assert_eq!(panics.join().unwrap(), [true; 3]);
}
