//! What a sampler was made of, part by part: so that a saved state that does not fit can name what differs.

use std::collections::{BTreeMap, BTreeSet};

use super::config::SamplerConfig;
use super::hash::Fingerprint;
use super::sampler::SamplerData;

/// What precedes the fingerprint of data that is too large to be recorded itself.
const PRINT: char = '#';

/// Each part by name: a setting by its value, data by its fingerprint.
pub(crate) type Settings = BTreeMap<String, String>;

/// The parts that the order of obs depends on, and the notes of who made the sampler.
pub(crate) fn settings(n_obs: u64, config: &SamplerConfig, data: &SamplerData) -> Settings {
    let mut settings = data.notes.clone();
    let mut add = |name: &str, value: String| settings.insert(name.to_owned(), value);
    add("n_obs", n_obs.to_string());
    add("strategy", config.strategy.to_string());
    add("block_size", config.block_size.to_string());
    add("batch_size", config.batch_size.to_string());
    add("fetch_factor", config.fetch_factor.to_string());
    add("seed", config.seed.to_string());
    add("drop_last", config.drop_last.to_string());
    let codes = |codes: &[u32]| print(codes.iter().map(|code| u64::from(*code)));
    let option = |value: Option<u64>| value.map_or("default".to_owned(), |value| value.to_string());
    if data.identity != 0 {
        add("data set", format!("{PRINT}{:016x}", data.identity));
    }
    if let Some(subset) = &data.subset {
        let mut print = Fingerprint::new(1);
        subset.add_to(&mut print);
        add("subset", format!("{PRINT}{:016x}", print.value()));
    }
    if let Some(weighted) = &data.weighted {
        let bits = weighted.weights.iter().map(|weight| u64::from(weight.to_bits()));
        add("weights", print(bits));
        add("n_draws", option(weighted.n_draws));
        add("replacement", weighted.replacement.to_string());
    }
    if let Some(balanced) = &data.balanced {
        add("classes", codes(&balanced.codes));
        add("n_draws", option(balanced.n_draws));
        add("global", balanced.global.to_string());
    }
    if let Some(grouped) = &data.grouped {
        add("groups", codes(&grouped.codes));
        add("n_per_group", option(grouped.n_per_group.map(u64::from)));
        add(
            "sets_per_minibatch",
            option(grouped.sets_per_minibatch.map(u64::from)),
        );
        if let Some(controls) = &grouped.controls {
            add("controls", codes(&controls.groups));
            add("n_controls", controls.n_per_set.to_string());
            if let Some(match_codes) = &controls.match_codes {
                add("match codes", codes(match_codes));
            }
        }
    }
    if let Some(custom) = &data.custom {
        add("order", print(custom.obs()));
        add("shuffle", custom.is_shuffled().to_string());
    }
    settings
}

/// Data that is too large to be recorded itself, by its fingerprint.
pub(crate) fn print(words: impl IntoIterator<Item = u64>) -> String {
    let mut print = Fingerprint::new(1);
    words.into_iter().for_each(|word| print.add(word));
    format!("{PRINT}{:016x}", print.value())
}

/// What differs, for a message; empty where nothing does, or where one of both was not recorded.
pub(crate) fn differences(then: &Settings, now: &Settings) -> String {
    if then.is_empty() || now.is_empty() {
        return String::new();
    }
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let different = names.into_iter().filter(|name| then.get(*name) != now.get(*name));
    let described = different.map(|name| match (then.get(name), now.get(name)) {
        (Some(then), Some(now)) if then.starts_with(PRINT) && now.starts_with(PRINT) => {
            format!("{name} was different")
        }
        (then, now) => format!("{name} was {}, is now {}", shown(then), shown(now)),
    });
    described.collect::<Vec<_>>().join("; ")
}

fn shown(value: Option<&String>) -> &str {
    match value {
        None => "not given",
        Some(value) if value.starts_with(PRINT) => "given",
        Some(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[(&str, &str)]) -> Settings {
        let parts = parts.iter();
        parts
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn differences_are_named_with_both_values() {
        let then = of(&[("seed", "7"), ("subset", "#1"), ("weights", "#2"), ("same", "x")]);
        let now = of(&[("seed", "8"), ("subset", "#3"), ("order", "#4"), ("same", "x")]);
        assert_eq!(
            differences(&then, &now),
            "order was not given, is now given; seed was 7, is now 8; subset was different; \
             weights was given, is now not given"
        );
        assert_eq!(differences(&then, &then), "");
        assert_eq!(differences(&Settings::new(), &now), "", "nothing was recorded");
    }
}
