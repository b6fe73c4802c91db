//! Paths and contents of the hash tiles of C2SP `tlog-tiles`. Reads and writes no file.

use std::{fmt, num::NonZeroU16, str::FromStr};

use crate::{hash::NodeHash, merkle::MerkleError};

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of complete subtrees of `2^(8 * level)` leaves; `level` is 0 to 63.
    Hashes {
        /// The tile level.
        level: u8,
    },
    /// The entries themselves.
    Entries,
}

/// How many hashes or entries a tile holds, 1 to 256. 256 is a full tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileWidth(NonZeroU16);

/// `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    kind: TileKind,
    index: u64,
    width: TileWidth,
}

/// The hashes of one tile, 1 to 256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileHashes(Vec<NodeHash>);

/// Why a tile or its path was refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TileError {
    /// The path is not in the one spelling of `tlog-tiles`.
    #[error("a tile path is written `tile/<level or entries>/<index>[.p/<width>]`")]
    Path,
    /// The level is above 63.
    #[error("tile level {level} is above 63")]
    Level {
        /// The level asked for.
        level: u8,
    },
    /// The width is 0 or above 256.
    #[error("a tile holds 1 to {TILE_WIDTH} hashes or entries, not {width}")]
    Width {
        /// The width asked for.
        width: u64,
    },
    /// The bytes are not 32 for each hash that the width promises.
    #[error("a tile of {width} hashes has {expected} bytes, not {found}")]
    Length {
        /// The width promised.
        width: u16,
        /// 32 for each hash.
        expected: usize,
        /// The bytes given.
        found: usize,
    },
}

impl TileError {
    /// A stable code for logs and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Path => "tile-path",
            Self::Level { .. } => "tile-level",
            Self::Width { .. } => "tile-width",
            Self::Length { .. } => "tile-length",
        }
    }
}

impl TileWidth {
    /// The width of a full tile.
    pub const FULL: Self = match NonZeroU16::new(TILE_WIDTH) {
        Some(width) => Self(width),
        None => Self(NonZeroU16::MIN),
    };

    /// A width.
    ///
    /// # Errors
    /// [`TileError::Width`] outside 1 to 256.
    pub fn new(width: u64) -> Result<Self, TileError> {
        u16::try_from(width)
            .ok()
            .filter(|w| *w <= TILE_WIDTH)
            .and_then(NonZeroU16::new)
            .map(Self)
            .ok_or(TileError::Width { width })
    }

    /// The width, 1 to 256.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// Whether the tile can still grow.
    #[must_use]
    pub const fn is_partial(self) -> bool {
        self.0.get() < TILE_WIDTH
    }
}

impl TilePath {
    /// The path of a tile.
    ///
    /// # Errors
    /// [`TileError::Level`] above level 63.
    pub fn new(kind: TileKind, index: u64, width: TileWidth) -> Result<Self, TileError> {
        match kind {
            TileKind::Hashes { level } if level > LEVEL_MAX => Err(TileError::Level { level }),
            _ => Ok(Self { kind, index, width }),
        }
    }

    /// What the tile holds.
    #[must_use]
    pub const fn kind(&self) -> TileKind {
        self.kind
    }

    /// The tile's index within its level.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How much it holds.
    #[must_use]
    pub const fn width(&self) -> TileWidth {
        self.width
    }

    /// The same tile, full.
    #[must_use]
    pub const fn full(self) -> Self {
        Self {
            width: TileWidth::FULL,
            ..self
        }
    }

    /// `<path of the full tile>.p`: the directory of the partial tiles that came before it.
    #[must_use]
    pub fn partial_directory(&self) -> String {
        format!("{}.p", self.full())
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes { level } => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        f.write_str(&groups.join("/"))?;
        if self.width.is_partial() {
            write!(f, ".p/{}", self.width.get())
        } else {
            Ok(())
        }
    }
}

impl FromStr for TilePath {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, TileError> {
        if path.len() > PATH_MAX_BYTES {
            return Err(TileError::Path);
        }
        let rest = path.strip_prefix("tile/").ok_or(TileError::Path)?;
        let (kind, rest) = rest.split_once('/').ok_or(TileError::Path)?;
        let kind = if kind == "entries" {
            TileKind::Entries
        } else {
            TileKind::Hashes {
                level: kind.parse().map_err(|_| TileError::Path)?,
            }
        };
        let (index, width) = match rest.split_once(".p/") {
            None => (rest, TileWidth::FULL),
            Some((index, width)) => {
                let width = width.parse().map_err(|_| TileError::Path)?;
                (index, TileWidth::new(width)?)
            }
        };
        let parsed = Self::new(kind, parse_index(index)?, width)?;
        // leading zeroes, a `+`, `.p/256` and the like all end here
        if parsed.to_string() == path {
            Ok(parsed)
        } else {
            Err(TileError::Path)
        }
    }
}

fn parse_index(text: &str) -> Result<u64, TileError> {
    text.split('/').try_fold(0_u64, |index, group| {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let group: u64 = digits.parse().map_err(|_| TileError::Path)?;
        index
            .checked_mul(1000)
            .and_then(|i| i.checked_add(group))
            .ok_or(TileError::Path)
    })
}

impl TileHashes {
    /// Reads the hashes of a tile of `width`.
    ///
    /// # Errors
    /// [`TileError::Length`] unless there are exactly `width` hashes.
    pub fn parse(bytes: &[u8], width: TileWidth) -> Result<Self, TileError> {
        let expected = usize::from(width.get()) * NodeHash::BYTES;
        if bytes.len() != expected {
            return Err(TileError::Length {
                width: width.get(),
                expected,
                found: bytes.len(),
            });
        }
        let (hashes, _) = bytes.as_chunks::<{ NodeHash::BYTES }>();
        Ok(Self(
            hashes.iter().copied().map(NodeHash::from_bytes).collect(),
        ))
    }

    /// A tile of these hashes.
    ///
    /// # Errors
    /// [`TileError::Width`] unless there are 1 to 256.
    pub fn new(hashes: Vec<NodeHash>) -> Result<Self, TileError> {
        TileWidth::new(u64::try_from(hashes.len()).unwrap_or(u64::MAX))?;
        Ok(Self(hashes))
    }

    /// The hashes, left to right.
    #[must_use]
    pub fn hashes(&self) -> &[NodeHash] {
        &self.0
    }

    /// The tile's bytes: its hashes, one after the other.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|hash| *hash.as_bytes()).collect()
    }

    /// The hash over a subtree inside this tile: `2^height` of its hashes from number
    /// `index * 2^height`, where `height` is 0 to 8 and counted from this tile's level.
    ///
    /// # Errors
    /// [`MerkleError::NoSubtree`] if the tile does not hold all of them.
    pub fn subtree(&self, height: u32, index: usize) -> Result<NodeHash, MerkleError> {
        subtree_of(&self.0, height, index)
    }
}

/// [`TileHashes::subtree`] over a slice.
pub(crate) fn subtree_of(
    hashes: &[NodeHash],
    height: u32,
    index: usize,
) -> Result<NodeHash, MerkleError> {
    let missing = MerkleError::NoSubtree {
        height,
        index: u64::try_from(index).unwrap_or(u64::MAX),
    };
    let Some(count) = 1_usize
        .checked_shl(height)
        .filter(|_| height <= TILE_HEIGHT)
    else {
        return Err(missing);
    };
    let range = index
        .checked_mul(count)
        .and_then(|start| Some(start..start.checked_add(count)?));
    let Some(slice) = range.and_then(|range| hashes.get(range)) else {
        return Err(missing);
    };
    let mut row = slice.to_vec();
    while row.len() > 1 {
        let (pairs, _) = row.as_chunks::<2>();
        row = pairs
            .iter()
            .map(|&[left, right]| NodeHash::parent(left, right))
            .collect();
    }
    row.first().copied().ok_or(missing)
}

/// Hashes or entries in a full tile.
pub const TILE_WIDTH: u16 = 256;

/// Tree levels that one tile spans: 2^8 = 256.
pub const TILE_HEIGHT: u32 = 8;

/// `tile/entries/`, seven groups of five characters for 2^64 / 1000^7 < 1, and `.p/255`.
const PATH_MAX_BYTES: usize = 64;

const LEVEL_MAX: u8 = 63;

#[cfg(test)]
mod tests;
