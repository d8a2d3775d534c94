use super::*;
use proptest::prelude::*;

fn subsets() -> impl Strategy<Value = (u64, Vec<u64>)> {
    // Few long runs, many short ones, and few single obs among many: all forms.
    (
        1u64..9000,
        any::<u64>(),
        prop_oneof![Just(1u64), 2u64..5, 20u64..400],
        0u64..11,
    )
        .prop_map(|(n, seed, run, share)| {
            let mixed = |x: u64| (x ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            (n, (0..n).filter(|obs| mixed(obs / run) % 10 < share).collect())
        })
}

proptest! {
    #[test]
    fn sets_are_what_they_are_made_of((n, plain) in subsets(), part in any::<(u64, u64)>()) {
        let set = Subset::from_ids(n, plain.iter().rev().copied().chain(plain.first().copied())).unwrap();
        let is_member = |obs: u64| plain.binary_search(&obs).is_ok();
        prop_assert_eq!(&set, &Subset::from_fn(n, is_member).unwrap());
        let mask: Vec<bool> = (0..n).map(is_member).collect();
        prop_assert_eq!(&set, &Subset::from_mask(&mask).unwrap());
        let pieces = set.runs().flat_map(|run| [run.start..run.end, run.start..run.start + 1]);
        prop_assert_eq!(&set, &Subset::from_ranges(n, pieces.collect::<Vec<_>>().into_iter().rev()).unwrap());
        prop_assert_eq!(set.len(), plain.len() as u64);
        prop_assert!(set.iter().eq(plain.iter().copied()));
        prop_assert!((0..n + 70).all(|obs| set.contains(obs) == is_member(obs)));
        let (a, b) = (part.0 % (set.len() + 1), part.1 % (set.len() + 1));
        let mut some = Vec::new();
        set.extend(a.min(b)..a.max(b), &mut some);
        prop_assert_eq!(&some, &plain[a.min(b) as usize..a.max(b) as usize]);
        prop_assert!(set.memory_bytes() as u64 <= n / 8 + n / 64 + 280);
        prop_assert!(set.runs().map(|run| run.end + 1).zip(set.runs().skip(1)).all(|(end, run)| end <= run.start));
    }

    #[test]
    fn sets_combine((n, plain) in subsets(), (other_n, other) in subsets()) {
        let set = Subset::from_ids(n, plain.iter().copied()).unwrap();
        let rest = set.complement();
        prop_assert!(rest.iter().eq((0..n).filter(|obs| !set.contains(*obs))));
        prop_assert!(rest.intersect(&set).unwrap().is_empty());
        let other = Subset::from_ids(n, other.into_iter().filter(|obs| *obs < n)).unwrap();
        let both = set.intersect(&other).unwrap();
        prop_assert!(both.iter().eq((0..n).filter(|obs| set.contains(*obs) && other.contains(*obs))));
        prop_assert_eq!(&both, &set.filter(|obs| other.contains(obs)));
        if other_n != n {
            prop_assert!(set.intersect(&Subset::all(other_n).unwrap()).is_err());
        }
    }
}

#[test]
fn members_that_do_not_exist_are_named() {
    let error = Subset::from_ids(10, [3, 10]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the subset names obs 10 of a data set of 10 obs, which count from 0"
    );
    assert!(Subset::from_ranges(10, std::iter::once(3..11)).is_err());
    assert!(
        Subset::from_ranges(10, std::iter::once(20..20))
            .unwrap()
            .is_empty()
    );
    assert!(Subset::all(MAX_OBS + 1).is_err());
    assert_eq!(Subset::all(MAX_OBS).unwrap().len(), MAX_OBS);
}

#[test]
fn a_fifth_of_everything_takes_a_seventh_of_a_byte_for_each_obs() {
    let set = Subset::from_fn(100_000, |obs| obs % 5 == 3).unwrap();
    assert!(set.memory_bytes() < 14_100, "{}", set.memory_bytes());
}
