//! The loops of the decoder, once per instruction set. `plain` is the twin that tests compare the others with, and every
//! folder-mate has the same functions:
//!
//! - `unpack` reads the bit-packed entries of a group;
//! - `sum_gaps` turns the gaps of a group, with their exceptions added, into columns.
//!
//! Faster ones go from the frame to the minibatch without leaving the registers, where there are enough of those:
//!
//! - `ready` brings the exceptions of a stream in place, or declines the stream: it is rare, or something is wrong with it;
//! - `columns` writes the columns of a group and gives the one after the last;
//! - `counts` writes the values of codes of counts and tells whether all codes were below `safe`, a power of two.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
mod limits;
pub(super) mod plain;

/// The instruction sets that the decoder has loops for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kernel {
    /// No special instructions: works everywhere.
    Plain,
    /// x86-64 with AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL, VBMI and VBMI2.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    /// The kernels that this processor can run, the fastest first.
    pub fn available() -> Vec<Self> {
        let mut kernels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if avx512::is_available() {
                kernels.push(Self::Avx512);
            }
            if avx2::is_available() {
                kernels.push(Self::Avx2);
            }
        }
        kernels.push(Self::Plain);
        kernels
    }

    /// The fastest kernel that this processor can run.
    pub fn detect() -> Self {
        Self::available()[0]
    }

    /// Whether this processor can run it.
    pub(super) fn is_available(self) -> bool {
        match self {
            Self::Plain => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::is_available(),
        }
    }
}
