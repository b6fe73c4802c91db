//! Leaf indexes and tree sizes as two types, so that they cannot be swapped, and their one decimal
//! spelling.

use std::{fmt, str::FromStr};

/// The zero-based position of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafIndex(u64);

/// The number of leaves of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeSize(u64);

/// Why a text is not an index or a size.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a count is ASCII decimal without sign or leading zeroes, below 2^64")]
pub struct SizeError;

impl LeafIndex {
    /// The leaf at zero-based `index`.
    #[must_use]
    pub const fn new(index: u64) -> Self {
        Self(index)
    }

    /// The zero-based index.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The size of the smallest tree that holds this leaf; saturates at 2^64 - 1.
    #[must_use]
    pub const fn tree_size(self) -> TreeSize {
        TreeSize(self.0.saturating_add(1))
    }
}

impl TreeSize {
    /// The tree without leaves.
    pub const EMPTY: Self = Self(0);

    /// A tree of `leaves` leaves.
    #[must_use]
    pub const fn new(leaves: u64) -> Self {
        Self(leaves)
    }

    /// The number of leaves.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Where the next leaf goes.
    #[must_use]
    pub const fn next_index(self) -> LeafIndex {
        LeafIndex(self.0)
    }

    /// Whether the tree has a leaf at `index`.
    #[must_use]
    pub const fn contains(self, index: LeafIndex) -> bool {
        index.0 < self.0
    }
}

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for LeafIndex {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        parse_decimal(text).map(Self)
    }
}

impl FromStr for TreeSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        parse_decimal(text).map(Self)
    }
}

fn parse_decimal(text: &str) -> Result<u64, SizeError> {
    let canonical =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !canonical {
        return Err(SizeError);
    }
    text.parse().map_err(|_| SizeError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_decimal_parses() {
        assert_eq!("0".parse::<TreeSize>(), Ok(TreeSize::EMPTY));
        assert_eq!("18446744073709551615".parse(), Ok(TreeSize::new(u64::MAX)));
        for bad in [
            "",
            "00",
            "01",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1_0",
            "18446744073709551616",
            "٣",
        ] {
            assert_eq!(bad.parse::<TreeSize>(), Err(SizeError), "{bad}");
            assert_eq!(bad.parse::<LeafIndex>(), Err(SizeError), "{bad}");
        }
    }
}
