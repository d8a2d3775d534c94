//! The strategies: each a file with its data, and one row in the list below.

mod balanced;
mod block_shuffle;
mod custom;
mod grouped;
mod method;
mod sequential;
mod user;
mod weighted;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::PlanError;
use crate::Error;

pub use balanced::Balanced;
pub use custom::Custom;
pub use grouped::{Controls, Grouped};
#[doc(hidden)]
pub use method::Arrangement;
pub use user::UserOrder;
pub use weighted::Weighted;

pub(super) use method::{Method, Prepared, check_len};

/// Makes [`Strategy`] and [`StrategyKind`] from the list of strategies.
macro_rules! strategies {
    (
        plain { $($(#[$plain_meta:meta])* $plain:ident = $plain_name:literal by $method:expr;)* }
        with_data { $($(#[$meta:meta])* $variant:ident($data:ty) = $name:literal;)* }
        in_code { $(#[$user_meta:meta])* $user:ident($code:ty) = $user_name:literal; }
    ) => {
        /// How the obs are ordered within an epoch, and by what. The [module](crate::plan) says precisely what each does.
        ///
        /// Copies share the data.
        ///
        /// ```
        /// use cellring::plan::{SamplerConfig, Strategy, Weighted};
        ///
        /// let weights = (0..100).map(|obs| 1.0 + obs as f32).collect::<Vec<_>>();
        /// let weighted = Weighted::new(weights).n_draws(Some(1_000));
        /// let config = SamplerConfig::default().strategy(weighted);
        /// assert_eq!(config.strategy.name(), "weighted");
        /// ```
        #[derive(Clone, Debug, Default)]
        #[non_exhaustive]
        pub enum Strategy {
            $($(#[$plain_meta])* $plain,)*
            $($(#[$meta])* $variant($data),)*
            $(#[$user_meta])* $user($code),
        }

        /// Which [`Strategy`], without its data. It reads and writes as its [`name`](Self::name), in text as in serde;
        /// [`User`](Self::User) only writes.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum StrategyKind {
            $($(#[$plain_meta])* $plain,)*
            $($(#[$meta])* $variant,)*
            $(#[$user_meta])* #[serde(skip_deserializing)] $user,
        }

        impl Strategy {
            /// Which strategy it is.
            pub fn kind(&self) -> StrategyKind {
                match self {
                    $(Self::$plain => StrategyKind::$plain,)*
                    $(Self::$variant(_) => StrategyKind::$variant,)*
                    Self::$user(_) => StrategyKind::$user,
                }
            }

            /// The strategy as the rest of the plan knows it.
            pub(super) fn method(&self) -> &dyn Method {
                match self {
                    $(Self::$plain => &$method,)*
                    $(Self::$variant(data) => data,)*
                    Self::$user(code) => code,
                }
            }
        }

        impl StrategyKind {
            /// All strategies of this crate: all but [`User`](Self::User), which cannot be asked for by its name.
            pub const ALL: &'static [Self] = &[$(Self::$plain,)* $(Self::$variant,)*];

            /// The name as text.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$plain => $plain_name,)*
                    $(Self::$variant => $name,)*
                    Self::$user => $user_name,
                }
            }

            /// The strategy of this kind. `None` if it takes data or code.
            pub const fn without_data(self) -> Option<Strategy> {
                match self {
                    $(Self::$plain => Some(Strategy::$plain),)*
                    $(Self::$variant)|* | Self::$user => None,
                }
            }
        }

        $(impl From<$data> for Strategy {
            fn from(data: $data) -> Self {
                Self::$variant(data)
            }
        })*

        impl From<$code> for Strategy {
            fn from(code: $code) -> Self {
                Self::$user(code)
            }
        }
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
    in_code {
        /// An order that the user writes.
        User(Arc<dyn UserOrder>) = "user";
    }
}

impl Strategy {
    /// An order of your own.
    pub fn user(order: impl UserOrder + 'static) -> Self {
        Self::User(Arc::new(order))
    }

    /// Where the obs of a fetch are in the store.
    #[doc(hidden)]
    pub fn arrangement(&self) -> Arrangement {
        self.method().arrangement()
    }

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
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.iter().copied().find(|kind| kind.name() == name);
        let unknown = || {
            let known: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
            PlanError::UnknownStrategy {
                found: name.to_owned(),
                known: known.join(", "),
            }
        };
        Ok(found.ok_or_else(unknown)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_read_as_they_write() {
        for &strategy in StrategyKind::ALL {
            assert_eq!(strategy.to_string().parse::<StrategyKind>().unwrap(), strategy);
            assert_eq!(serde_json::to_value(strategy).unwrap(), strategy.name());
            let read: StrategyKind = serde_json::from_value(strategy.name().into()).unwrap();
            assert_eq!(read, strategy);
        }
        let user = StrategyKind::User;
        assert_eq!(serde_json::to_value(user).unwrap(), user.name());
        assert!(
            serde_json::from_str::<StrategyKind>("\"user\"").is_err()
                && "user".parse::<StrategyKind>().is_err()
        );
        let error = "Sequential".parse::<StrategyKind>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown sampling strategy \"Sequential\": expected one of sequential, sequential-shuffle, block-shuffle, weighted, balanced, grouped, custom"
        );
    }
}
