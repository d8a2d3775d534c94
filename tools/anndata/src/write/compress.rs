//! Compression of chunks.

use std::fmt;
use std::io;
use std::str::FromStr;

use libdeflater::{CompressionLvl, Compressor};

use super::lzf;

/// h5py's level for gzip.
const GZIP_LEVEL: u8 = 4;
/// hdf5plugin's and zstd's own level.
const ZSTD_LEVEL: u8 = 3;

/// How the chunks of all arrays are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Deflate of this level, 1 to 9: every reader has it.
    Gzip(u8),
    /// h5py's LZF: fast, and read by h5py but not by other HDF5 programs. Not in zarr.
    Lzf,
    /// Zstandard of this level, 1 to 19: for HDF5 readers need a plugin, such as `hdf5plugin` in Python.
    Zstd(u8),
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level)),
            None => (text, None),
        };
        let level = |default: u8, max: u8| match level {
            None => Ok(default),
            Some(level) => level
                .parse()
                .ok()
                .filter(|level| (1..=max).contains(level))
                .ok_or_else(|| format!("{name} has levels 1 to {max}, not {level:?}")),
        };
        match (name, text.contains(':')) {
            ("none", false) => Ok(Self::None),
            ("lzf", false) => Ok(Self::Lzf),
            ("none" | "lzf", true) => Err(format!("{name} has no levels")),
            ("gzip", _) => Ok(Self::Gzip(level(GZIP_LEVEL, 9)?)),
            ("zstd", _) => Ok(Self::Zstd(level(ZSTD_LEVEL, 19)?)),
            _ => Err("expected none, gzip, gzip:LEVEL, lzf, zstd or zstd:LEVEL".to_owned()),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gzip(level) => write!(f, "gzip:{level}"),
            Self::Lzf => f.write_str("lzf"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

/// What a deflate stream is wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// As HDF5's filter does it.
    Zlib,
    /// As the codec of zarr does it.
    Gzip,
}

/// The state of one thread that compresses.
pub(super) enum Encoder {
    None,
    Deflate(Compressor, Wrapping),
    Lzf(lzf::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Encoder {
    pub(super) fn new(compression: Compression, wrapping: Wrapping) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None,
            Compression::Gzip(level) => {
                let level = CompressionLvl::new(level.into()).unwrap_or_default();
                Self::Deflate(Compressor::new(level), wrapping)
            }
            Compression::Lzf => Self::Lzf(lzf::Compressor::default()),
            Compression::Zstd(level) => Self::Zstd(zstd::bulk::Compressor::new(level.into())?),
        })
    }

    /// The compressed chunk; `None` if it cannot be compressed, which only LZF does.
    pub(super) fn encode(&mut self, chunk: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::None => Ok(None),
            Self::Lzf(compressor) => Ok(compressor.compress(chunk)),
            Self::Zstd(compressor) => compressor.compress(chunk).map(Some),
            Self::Deflate(compressor, wrapping) => {
                let bound = match wrapping {
                    Wrapping::Zlib => compressor.zlib_compress_bound(chunk.len()),
                    Wrapping::Gzip => compressor.gzip_compress_bound(chunk.len()),
                };
                let mut bytes = vec![0; bound];
                let len = match wrapping {
                    Wrapping::Zlib => compressor.zlib_compress(chunk, &mut bytes),
                    Wrapping::Gzip => compressor.gzip_compress(chunk, &mut bytes),
                };
                bytes.truncate(len.map_err(io::Error::other)?);
                Ok(Some(bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_levels() {
        let parsed = |text: &str| text.parse::<Compression>();
        assert_eq!(parsed("none"), Ok(Compression::None));
        assert_eq!(parsed("gzip"), Ok(Compression::Gzip(4)));
        assert_eq!(parsed("gzip:9"), Ok(Compression::Gzip(9)));
        assert_eq!(parsed("lzf"), Ok(Compression::Lzf));
        assert_eq!(parsed("zstd:19"), Ok(Compression::Zstd(19)));
        for wrong in [
            "", "gz", "gzip:", "gzip:0", "gzip:10", "zstd:20", "lzf:1", "none:1", "GZIP",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        for compression in [Compression::Gzip(7), Compression::Zstd(1), Compression::Lzf] {
            assert_eq!(parsed(&compression.to_string()), Ok(compression));
        }
    }
}
