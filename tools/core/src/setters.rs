//! Setters of configurations: all are made the same way, a default and a setter for each field.

/// Setters named as the fields: each takes the configuration and gives it back. Fields marked `into` take what converts to their type;
/// those marked `some` are optional, and take what converts to what they may hold (a list does not convert to an optional one); those marked
/// `each` are lists of what converts to their type.
#[doc(hidden)]
#[macro_export]
macro_rules! setters {
    () => {};
    ($name:ident: into $type:ty, $($rest:tt)*) => {
        $crate::setters!(@ $name, impl Into<$type>, $name.into());
        $crate::setters!($($rest)*);
    };
    ($name:ident: some $type:ty, $($rest:tt)*) => {
        $crate::setters!(@ $name, impl Into<$type>, Some($name.into()));
        $crate::setters!($($rest)*);
    };
    ($name:ident: each $type:ty, $($rest:tt)*) => {
        $crate::setters!(@ $name, impl IntoIterator<Item = impl Into<$type>>, $name.into_iter().map(Into::into).collect());
        $crate::setters!($($rest)*);
    };
    ($name:ident: as $type:ty, $($rest:tt)*) => {
        $crate::setters!(@ $name, $type, $name);
        $crate::setters!($($rest)*);
    };
    (@ $name:ident, $type:ty, $value:expr) => {
        #[doc = concat!("Sets [`", stringify!($name), "`](Self#structfield.", stringify!($name), ").")]
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.$name = $value;
            self
        }
    };
}
