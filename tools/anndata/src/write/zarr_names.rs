//! Names that zarr cannot have.

use super::error::WriteErrorKind;
use super::spec::{Form, MatrixSpec, Place};

/// Refuses a place or columns with such names.
pub(super) fn check_names(place: &Place, spec: &MatrixSpec, is_zarr: bool) -> Result<(), WriteErrorKind> {
    if !is_zarr {
        return Ok(());
    }
    if let Form::Frame(fields) = &spec.form {
        fields
            .iter()
            .try_for_each(|field| check_zarr_name(field.name()))?;
    }
    check_zarr_name(&place.path())
}

/// Refuses names of zarr's own files, those that lead elsewhere, and those that its library in Python rewrites: in zarr a name is that of a
/// directory.
pub(super) fn check_zarr_name(name: &str) -> Result<(), WriteErrorKind> {
    const RESERVED: [&str; 7] = [
        ".",
        "..",
        "zarr.json",
        ".zgroup",
        ".zarray",
        ".zattrs",
        ".zmetadata",
    ];
    match name.contains('\\') || name.split('/').any(|part| RESERVED.contains(&part)) {
        true => Err(WriteErrorKind::ZarrName {
            name: name.to_owned(),
        }),
        false => Ok(()),
    }
}
