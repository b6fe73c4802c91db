//! Where the files of a ledger are.

use std::path::{Path, PathBuf};

use proofroom_tlog::{LeafIndex, TilePath};

/// The directory of one ledger.
#[derive(Clone, Debug)]
pub(crate) struct Layout(PathBuf);

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint")
    }

    pub(crate) fn wal(&self) -> PathBuf {
        self.0.join("wal")
    }

    /// A segment is named by its first leaf, 20 digits, so that names sort as indexes do.
    pub(crate) fn segment(&self, first: LeafIndex) -> PathBuf {
        self.wal().join(format!("{:020}", first.get()))
    }

    pub(crate) fn tile(&self, path: &TilePath) -> PathBuf {
        self.0.join(path.to_string())
    }

    pub(crate) fn partial_directory(&self, path: &TilePath) -> PathBuf {
        self.0.join(path.partial_directory())
    }
}

/// The first leaf of the segment with this file name.
pub(crate) fn segment_first(name: &str) -> Option<LeafIndex> {
    let digits = name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit());
    name.parse().ok().filter(|_| digits).map(LeafIndex::new)
}

/// While a file is written it bears this ending.
pub(crate) const TEMPORARY: &str = ".new";
