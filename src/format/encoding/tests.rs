use super::*;
use cellring_core::ValueType;

#[test]
fn names_are_those_of_the_manifest() {
    for &encoding in Encoding::ALL {
        let text = serde_json::to_value(encoding).unwrap();
        assert_eq!(text, encoding.name());
        assert_eq!(Encoding::from_name(encoding.name()), Some(encoding));
    }
    assert_eq!(Encoding::from_name("Packed"), None);
}

#[test]
fn the_bytes_of_an_obs() {
    let matrix = StoredMatrix {
        n_vars: 100,
        value_type: ValueType::F32,
        stored: ValueType::F32,
        f32_exact: true,
        has_row_checksums: false,
    };
    for (nnz, packed, raw) in [(0, 0, 0), (1, 8, 6), (128, 8, 768), (129, 11, 774)] {
        assert_eq!(*Encoding::Packed.obs_bytes(nnz, &matrix).start(), packed);
        assert_eq!(Encoding::Raw.obs_bytes(nnz, &matrix), raw..=raw);
    }
    // As FORMAT.md says it.
    assert_eq!(
        *Encoding::Packed.obs_bytes(129, &matrix).end(),
        7 + 65_536 * 4 + 1_625 * 2 + 129 * 4
    );
}
