//! The strategies: each a file with its data, and one row in the list below.

mod balanced;
mod block_shuffle;
mod custom;
mod grouped;
mod method;
mod sequential;
mod weighted;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::PlanError;

pub use balanced::Balanced;
pub use custom::Custom;
pub use grouped::{Controls, Grouped};
pub use weighted::Weighted;

pub(super) use method::{Method, Prepared, check_len};

/// Makes [`Strategy`] and [`StrategyKind`] from the list of strategies.
macro_rules! strategies {
    (
        plain { $($(#[$plain_meta:meta])* $plain:ident = $plain_name:literal by $method:expr;)* }
        with_data { $($(#[$meta:meta])* $variant:ident($data:ty) = $name:literal;)* }
    ) => {
        /// How the obs are ordered within an epoch, and by what. The [module](crate::plan) says precisely what each does.
        ///
        /// Copies share the data.
        ///
        /// ```
        /// use cellring::plan::{SamplerConfig, Strategy, Weighted};
        ///
        /// let weights = (0..100).map(|obs| 1.0 + obs as f32).collect();
        /// let weighted = Weighted { weights, n_draws: Some(1_000), replacement: true };
        /// let config = SamplerConfig { strategy: weighted.into(), ..SamplerConfig::default() };
        /// assert_eq!(config.strategy.name(), "weighted");
        /// ```
        #[derive(Clone, Debug, Default)]
        #[non_exhaustive]
        pub enum Strategy {
            $($(#[$plain_meta])* $plain,)*
            $($(#[$meta])* $variant($data),)*
        }

        /// Which [`Strategy`], without its data. It reads and writes as its [`name`](Self::name), in text as in serde.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum StrategyKind {
            $($(#[$plain_meta])* $plain,)*
            $($(#[$meta])* $variant,)*
        }

        impl Strategy {
            /// Which strategy it is.
            pub fn kind(&self) -> StrategyKind {
                match self {
                    $(Self::$plain => StrategyKind::$plain,)*
                    $(Self::$variant(_) => StrategyKind::$variant,)*
                }
            }

            /// The strategy as the rest of the plan knows it.
            pub(super) fn method(&self) -> &dyn Method {
                match self {
                    $(Self::$plain => &$method,)*
                    $(Self::$variant(data) => data,)*
                }
            }
        }

        impl StrategyKind {
            /// All strategies.
            pub const ALL: &'static [Self] = &[$(Self::$plain,)* $(Self::$variant,)*];

            /// The name as text.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$plain => $plain_name,)*
                    $(Self::$variant => $name,)*
                }
            }

            /// The strategy of this kind. `None` if it takes data.
            pub const fn without_data(self) -> Option<Strategy> {
                match self {
                    $(Self::$plain => Some(Strategy::$plain),)*
                    $(Self::$variant)|* => None,
                }
            }
        }

        $(impl From<$data> for Strategy {
            fn from(data: $data) -> Self {
                Self::$variant(data)
            }
        })*
    };
}

strategies! {
    plain {
        /// Storage order, nothing shuffled: for evaluation and export.
        Sequential = "sequential" by sequential::Sequential { shuffle: false };
        /// Storage order, each fetch shuffled: for streaming training over data that was shuffled when it was written.
        SequentialShuffle = "sequential-shuffle" by sequential::Sequential { shuffle: true };
        /// Blocks of consecutive obs in random order, shuffled together fetch by fetch: for training. With `block_size`
        /// 1 this is true random sampling without replacement.
        #[default]
        BlockShuffle = "block-shuffle" by block_shuffle::BlockShuffle;
    }
    with_data {
        /// Draws by a weight for each obs, with or without replacement, in blocks.
        Weighted(Weighted) = "weighted";
        /// Draws with replacement such that each class comes equally often, in blocks.
        Balanced(Balanced) = "balanced";
        /// Minibatches of whole sets: obs of one group, alone or followed by matched controls.
        Grouped(Grouped) = "grouped";
        /// A list of obs, in its order.
        Custom(Custom) = "custom";
    }
}

impl Strategy {
    /// The name of its kind as text.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }
}

impl fmt::Display for StrategyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for StrategyKind {
    type Err = PlanError;

    fn from_str(name: &str) -> Result<Self, PlanError> {
        let found = Self::ALL.iter().copied().find(|kind| kind.name() == name);
        found.ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
            PlanError::UnknownStrategy {
                found: name.to_owned(),
                known: known.join(", "),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_read_as_they_write() {
        for &strategy in StrategyKind::ALL {
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
            assert_eq!(serde_json::to_value(strategy).unwrap(), strategy.name());
        }
        let error = "Sequential".parse::<StrategyKind>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown sampling strategy \"Sequential\": expected one of sequential, sequential-shuffle, block-shuffle, weighted, balanced, grouped, custom"
        );
    }
}
