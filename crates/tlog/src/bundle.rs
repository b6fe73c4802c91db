//! Entry bundles of C2SP `tlog-tiles`: entries behind big-endian u16 lengths.

use crate::tile::TileWidth;

/// The entries of one bundle, 1 to 256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryBundle(Vec<Vec<u8>>);

/// Why a bundle was refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleError {
    /// An entry is cut off.
    #[error("the bundle ends inside entry {entry}")]
    Truncated {
        /// Zero-based number of the entry within the bundle.
        entry: u16,
    },
    /// Bytes follow the last entry.
    #[error("{bytes} bytes follow the last of {entries} entries")]
    Trailing {
        /// Bytes left over.
        bytes: usize,
        /// Entries that the width promises.
        entries: u16,
    },
    /// An entry is too long for its length field.
    #[error("an entry has at most {ENTRY_MAX_BYTES} bytes, not {bytes}")]
    EntryTooLarge {
        /// Length of the entry.
        bytes: usize,
    },
    /// No entry or more than 256.
    #[error("a bundle holds 1 to 256 entries")]
    Width,
}

impl BundleError {
    /// A stable code for logs and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "bundle-truncated",
            Self::Trailing { .. } => "bundle-trailing",
            Self::EntryTooLarge { .. } => "bundle-entry-too-large",
            Self::Width => "bundle-width",
        }
    }
}

impl EntryBundle {
    /// Reads a bundle of exactly `width` entries. At most 256 * (2 + 65,535) bytes are looked at.
    ///
    /// # Errors
    /// When an entry is cut off or bytes follow the last one.
    pub fn parse(bytes: &[u8], width: TileWidth) -> Result<Self, BundleError> {
        let mut rest = bytes;
        let mut entries = Vec::with_capacity(usize::from(width.get()));
        for entry in 0..width.get() {
            let cut = BundleError::Truncated { entry };
            let Some((length, after)) = rest.split_first_chunk::<2>() else {
                return Err(cut);
            };
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((content, after)) = after.split_at_checked(length) else {
                return Err(cut);
            };
            entries.push(content.to_vec());
            rest = after;
        }
        if rest.is_empty() {
            Ok(Self(entries))
        } else {
            Err(BundleError::Trailing {
                bytes: rest.len(),
                entries: width.get(),
            })
        }
    }

    /// A bundle of these entries.
    ///
    /// # Errors
    /// When there is none, more than 256, or one is above [`ENTRY_MAX_BYTES`].
    pub fn new(entries: Vec<Vec<u8>>) -> Result<Self, BundleError> {
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        TileWidth::new(count).map_err(|_| BundleError::Width)?;
        let large = entries
            .iter()
            .map(Vec::len)
            .find(|bytes| *bytes > ENTRY_MAX_BYTES);
        match large {
            Some(bytes) => Err(BundleError::EntryTooLarge { bytes }),
            None => Ok(Self(entries)),
        }
    }

    /// The entries, left to right.
    #[must_use]
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// The bundle's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in &self.0 {
            // `new` and `parse` let no longer entry in
            let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(entry);
        }
        bytes
    }
}

/// Longest entry: its length is a u16.
pub const ENTRY_MAX_BYTES: usize = 65_535;

#[cfg(test)]
mod tests;
