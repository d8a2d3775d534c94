//! Exact quantiles of a column of any length in little memory: the numbers at some ranks are found digit by digit, each pass
//! over the column telling the next 16 bits of all of them.

use std::collections::BTreeMap;

/// Bits that a pass tells.
const DIGIT_BITS: u32 = 16;
const DIGITS: usize = 1 << DIGIT_BITS;

/// Quantiles that are shown, in percent.
pub(super) const PERCENT: [f64; 7] = [1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0];

/// The numbers at these quantiles, as numpy and pandas define them: between two neighbours on a line.
///
/// `each` visits all numbers, `n` of them, of which none is NaN; it is called four times.
pub(super) fn quantiles(n: u64, percent: &[f64], each: impl Fn(&mut dyn FnMut(f64))) -> Vec<f64> {
    let Some(last) = n.checked_sub(1) else {
        return Vec::new();
    };
    let places = percent.iter().map(|percent| last as f64 * percent / 100.0);
    let places: Vec<f64> = places.collect();
    let ranks = places
        .iter()
        .flat_map(|place| [place.floor() as u64, place.ceil() as u64]);
    let found = at_ranks(ranks.map(|rank| rank.min(last)).collect(), each);
    let between = |(place, pair): (&f64, &[f64])| match place.fract() {
        0.0 => pair[0],
        // Where both are infinite, their difference is none.
        _ if pair[0] == pair[1] => pair[0],
        part => pair[0] + (pair[1] - pair[0]) * part,
    };
    places.iter().zip(found.chunks_exact(2)).map(between).collect()
}

/// The numbers at these ranks, from 0.
fn at_ranks(ranks: Vec<u64>, each: impl Fn(&mut dyn FnMut(f64))) -> Vec<f64> {
    // The digits known so far, and the rank among the numbers that begin with them.
    let mut sought: Vec<(u64, u64)> = ranks.into_iter().map(|rank| (0, rank)).collect();
    for pass in 1..=u64::BITS / DIGIT_BITS {
        let shift = u64::BITS - pass * DIGIT_BITS;
        let mut counts: BTreeMap<u64, Vec<u64>> = sought
            .iter()
            .map(|(prefix, _)| (*prefix, vec![0; DIGITS]))
            .collect();
        // Before the first digit all numbers begin alike.
        let known = |key: u64| key.checked_shr(shift + DIGIT_BITS).unwrap_or(0);
        each(&mut |number| {
            let key = key_of(number);
            if let Some(counts) = counts.get_mut(&known(key)) {
                counts[(key >> shift) as usize & (DIGITS - 1)] += 1;
            }
        });
        for (prefix, rank) in &mut sought {
            let mut digit = 0;
            for &count in &counts[prefix] {
                if *rank < count {
                    break;
                }
                *rank -= count;
                digit += 1;
            }
            *prefix = *prefix << DIGIT_BITS | digit;
        }
    }
    sought.into_iter().map(|(key, _)| number_of(key)).collect()
}

/// A key that is ordered as numbers are.
fn key_of(number: f64) -> u64 {
    let bits = number.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn number_of(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_numbers() {
        let mut numbers: Vec<f64> = (0..1001)
            .map(|i| f64::from(i * 7919 % 1001) * 0.37 - 120.0)
            .collect();
        numbers.extend([f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e-310, -1e300]);
        let found = quantiles(numbers.len() as u64, &PERCENT, |visit| {
            numbers.iter().for_each(|number| visit(*number))
        });
        numbers.sort_by(f64::total_cmp);
        for (percent, found) in PERCENT.iter().zip(found) {
            let place = (numbers.len() - 1) as f64 * percent / 100.0;
            let (low, high) = (numbers[place.floor() as usize], numbers[place.ceil() as usize]);
            assert_eq!(found, low + (high - low) * place.fract(), "{percent} %");
        }
        assert_eq!(quantiles(1, &PERCENT, |visit| visit(3.0)), [3.0; 7]);
        assert_eq!(quantiles(0, &PERCENT, |_| ()), [0.0; 0]);
        let infinite = [f64::INFINITY; 2];
        assert_eq!(
            quantiles(2, &[50.0], |visit| infinite
                .iter()
                .for_each(|number| visit(*number))),
            [f64::INFINITY]
        );
    }

    #[test]
    fn keys_are_ordered_as_numbers() {
        let numbers = [
            f64::NEG_INFINITY,
            -2.0,
            -1e-310,
            -0.0,
            0.0,
            1e-310,
            2.0,
            f64::INFINITY,
        ];
        assert!(numbers.windows(2).all(|pair| key_of(pair[0]) < key_of(pair[1])));
        assert!(
            numbers
                .iter()
                .all(|number| number_of(key_of(*number)).to_bits() == number.to_bits())
        );
    }
}
