//! Times and counts of an epoch.

/// Times and counts of an epoch, so far.
///
/// An epoch is bound by its reads where `consumer_wait_ns` and `read_wait_ns` are large, by decoding where only
/// `consumer_wait_ns` is, and by its consumer where `output_wait_ns` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EpochStats {
    /// Minibatches handed out.
    pub minibatches: u64,
    /// Reads that came back from the kernel, repetitions included; also those that an epoch before this one, dropped early,
    /// had left under way.
    pub reads: u64,
    /// Bytes that these reads brought.
    pub read_bytes: u64,
    /// Nanoseconds in which the caller waited for a minibatch.
    pub consumer_wait_ns: u64,
    /// Nanoseconds in which decoding threads had nothing to decode because reads were not done, summed over threads.
    pub read_wait_ns: u64,
    /// Nanoseconds in which decoding threads were ahead of the caller as far as they may be, summed over threads.
    pub output_wait_ns: u64,
    /// Nanoseconds spent decoding, summed over threads.
    pub decode_ns: u64,
    /// Nanoseconds spent planning fetches, summed over threads.
    pub plan_ns: u64,
    /// Nanoseconds in which planned fetches waited for read buffers: for free ones, or for those of earlier fetches, which it is a few ahead of.
    pub buffer_wait_ns: u64,
}
