//! The threads that encode.

use super::error::ConvertError;

/// The threads that encode.
pub(crate) fn thread_pool(threads: Option<usize>) -> Result<rayon::ThreadPool, ConvertError> {
    let threads = threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("cellring-encode-{number}"))
        .build()
        .map_err(|error| ConvertError::Threads {
            threads,
            error: error.to_string(),
        })
}
