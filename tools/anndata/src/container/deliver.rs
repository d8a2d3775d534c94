//! Ways of elements into a caller's buffer.

/// How the elements of a window get into the caller's buffer.
pub(super) trait Deliver<T>: Sync {
    /// The buffer as bytes, when the elements go there as they are.
    fn direct<'a>(&self, place: &'a mut [T]) -> Option<&'a mut [u8]>;
    /// Converts the elements that `place` has room for.
    fn convert(&self, bytes: &[u8], place: &mut [T]);
}

/// Elements go into the buffer as they are.
pub(super) struct AsIs;

impl<T: bytemuck::Pod> Deliver<T> for AsIs {
    fn direct<'a>(&self, place: &'a mut [T]) -> Option<&'a mut [u8]> {
        Some(bytemuck::cast_slice_mut(place))
    }

    fn convert(&self, bytes: &[u8], place: &mut [T]) {
        bytemuck::cast_slice_mut(place).copy_from_slice(bytes);
    }
}

/// Elements are converted by a function.
pub(super) struct Converted<F>(pub(super) F);

impl<T, F: Fn(&[u8], &mut [T]) + Sync> Deliver<T> for Converted<F> {
    fn direct<'a>(&self, _: &'a mut [T]) -> Option<&'a mut [u8]> {
        None
    }

    fn convert(&self, bytes: &[u8], place: &mut [T]) {
        (self.0)(bytes, place);
    }
}
