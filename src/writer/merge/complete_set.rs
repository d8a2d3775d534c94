//! Whether parts make one store: all are there, once each, and of one conversion.

use std::collections::BTreeSet;
use std::path::Path;

use cellring_core::few;

use super::found::FoundPart;
use crate::Error;
use crate::writer::error::WriteError;
use crate::writer::part::PartManifest;

/// All parts are there, once each, and belong together.
pub(super) fn check(parts: &[FoundPart], target: &Path) -> Result<(), Error> {
    let refuse = |path: &Path, problem: String| {
        Err(WriteError::Part {
            path: path.to_path_buf(),
            problem,
        }
        .into())
    };
    let Some(first) = parts.first() else {
        return refuse(target, "there are no parts to make this store from".into());
    };
    let of = first.manifest.parts;
    for part in parts {
        let (a, b) = (&first.manifest, &part.manifest);
        let about = |part: &PartManifest| {
            (
                (part.parts, part.n_obs_of_store, part.n_vars, part.encoding),
                (
                    part.value_type,
                    part.raw_value_type,
                    part.block_size,
                    part.alignment,
                ),
                (
                    part.var_order,
                    part.settings.clone(),
                    part.var.clone(),
                    part.counts_of_all.clone(),
                ),
            )
        };
        if about(a) != about(b) {
            let other = first.path.display();
            return refuse(
                &part.path,
                format!(
                    "it was made from another input or with other settings than {other}; convert it again"
                ),
            );
        }
    }
    let numbers: BTreeSet<u32> = parts.iter().map(|part| part.manifest.part).collect();
    let n_missing = of as usize - numbers.len();
    if n_missing > 0 {
        const SHOWN: usize = 5;
        // Not all of them are looked at: a part may say that there are billions.
        let missing = (1..=of).filter(|number| !numbers.contains(number));
        let missing = few(missing.take(SHOWN + 1).map(|number| number.to_string()), SHOWN);
        return refuse(
            target,
            format!("{n_missing} of {of} parts are missing ({missing}); convert them first"),
        );
    }
    if let Some(twice) = parts
        .windows(2)
        .find(|pair| pair[0].manifest.part == pair[1].manifest.part)
    {
        let other = twice[0].path.display();
        return refuse(
            &twice[1].path,
            format!("it is the same part as {other}; name each part once"),
        );
    }
    let mut next = 0;
    for part in parts {
        if part.manifest.first_obs != next {
            return refuse(
                &part.path,
                format!("it begins with obs {}, expected {next}", part.manifest.first_obs),
            );
        }
        next += part.manifest.n_obs;
    }
    if next != first.manifest.n_obs_of_store {
        return refuse(
            target,
            "the parts do not hold the obs of the store together; convert them again".into(),
        );
    }
    Ok(())
}
