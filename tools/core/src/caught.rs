//! Runs code of other crates on data that may be anything.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether what this thread panics with is caught, and not printed.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call`; `None` if it panics, whose message is not printed.
///
/// That holds for panics of the calling thread: `call` must not have other threads work for it, nor work for others, as the
/// threads of a pool do while they wait.
pub fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |about| {
            if !IS_CAUGHT.get() {
                previous(about);
            }
        }));
    });
    let before = IS_CAUGHT.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(call));
    IS_CAUGHT.set(before);
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_caught_one_inside_the_other() {
        let outer = caught(|| {
            assert_eq!(caught(|| panic!("inside")), None::<()>);
            assert!(IS_CAUGHT.get());
            5
        });
        assert_eq!(outer, Some(5));
        assert_eq!(caught(|| panic!("outside")), None::<()>);
        assert!(!IS_CAUGHT.get());
    }
}
