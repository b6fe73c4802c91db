//! The note text of C2SP `tlog-checkpoint`. A parsed [`Checkpoint`] is a claim; the signed and
//! verified one is [`VerifiedCheckpoint`](crate::VerifiedCheckpoint).

use std::fmt;

use crate::{
    hash::{NodeHash, RootHash},
    key::KeyName,
    size::TreeSize,
};

/// What a checkpoint's text claims: a log's origin, size and root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: TreeSize,
    root: RootHash,
    extensions: Vec<String>,
}

/// Why a note text is no checkpoint.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Too few lines, an empty line, or no final newline.
    #[error("a checkpoint has three or more lines, none empty, each ended by a newline")]
    Lines,
    /// The second line is no tree size.
    #[error("the second line of a checkpoint is the tree size in decimal without leading zeroes")]
    Size,
    /// The third line is no root hash.
    #[error("the third line of a checkpoint is the root hash, 32 bytes in base64")]
    Root,
}

impl CheckpointError {
    /// A stable code for logs and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Lines => "checkpoint-lines",
            Self::Size => "checkpoint-size",
            Self::Root => "checkpoint-root",
        }
    }
}

impl Checkpoint {
    /// The checkpoint of a log of ours, which has no extension lines.
    #[must_use]
    pub fn new(origin: &KeyName, size: TreeSize, root: RootHash) -> Self {
        Self {
            origin: origin.as_str().to_owned(),
            size,
            root,
            extensions: Vec::new(),
        }
    }

    /// Reads a note text. What is accepted is written back byte for byte by `Display`. The size is
    /// bounded by [`NOTE_MAX_BYTES`](crate::NOTE_MAX_BYTES) where the note is read.
    ///
    /// # Errors
    /// When the text is no checkpoint.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Lines);
        };
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if origin.is_empty() || extensions.iter().any(String::is_empty) {
            return Err(CheckpointError::Lines);
        }
        Ok(Self {
            origin: origin.to_owned(),
            size: size.parse().map_err(|_| CheckpointError::Size)?,
            root: NodeHash::from_base64(root)
                .map(RootHash::from_node)
                .ok_or(CheckpointError::Root)?,
            extensions,
        })
    }

    /// The log's identity.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> TreeSize {
        self.size
    }

    /// The root of the tree of that size.
    #[must_use]
    pub const fn root(&self) -> RootHash {
        self.root
    }

    /// Lines after the root, none empty; their meaning is the log's.
    #[must_use]
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}\n{}\n{}",
            self.origin,
            self.size,
            self.root.node().to_base64()
        )?;
        self.extensions
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests;
