//! `--encoding`.

use cellring::format::Encoding;
use clap::builder::{PossibleValuesParser, TypedValueParser};

/// Takes the name of an encoding.
pub(super) fn encoding_parser() -> impl TypedValueParser<Value = Encoding> {
    let names = Encoding::ALL.iter().map(|encoding| encoding.name());
    PossibleValuesParser::new(names)
        .try_map(|name| Encoding::from_name(&name).ok_or("there is no such encoding"))
}
