//! The loops of the decoder, once per instruction set. `plain` needs none and is the twin that tests compare the others with.
//!
//! The others are one algorithm, [`generic`], over the few operations of a [`Vector`](vector::Vector), which each of them
//! implements for its registers.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "x86_64")]
mod eights;
#[cfg(target_arch = "x86_64")]
mod generic;
pub(super) mod plain;
#[cfg(target_arch = "x86_64")]
mod vector;

/// The instruction sets that the decoder has loops for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kernel {
    /// No special instructions: works everywhere.
    Plain,
    /// x86-64 with AVX2, BMI and POPCNT.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL, VBMI and VBMI2, BMI and POPCNT.
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
