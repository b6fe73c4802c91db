//! What the vendor of TDX platforms says about them, as the host adds it to a room's evidence. A
//! directory has one file for each platform, named by the FMSPC in its quotes. Nothing of it is
//! believed here: its signatures and dates are the verifier's to judge. [`CollateralService`] fetches such files,
//! and what AMD says about chips beside them; [`Lasts`] tells when it is time for newer ones.

mod amd;
mod answer;
mod service;
mod state;

pub use amd::{AMD, AmdChip, AmdLine, Kept, list_lasts};
pub use service::{CollateralService, FetchError, INTEL, PckAuthority};
pub use state::{Freshness, Lasts, Part};

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use proofroom_canonical::json::{self, JsonError};
use proofroom_evidence::{Collateral, EvidenceError, Fmspc, Quote};
use proofroom_gateway::CollateralStore;

/// The most bytes of one platform's collateral. Revocation lists are its bulk.
const MAX_COLLATERAL_BYTES: usize = 512 * 1024;

/// Where collateral is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollateralSource {
    /// A directory of files, `<fmspc>.json`, each the `collateral` of an evidence document.
    Directory(PathBuf),
}

/// Why there is no collateral for a quote.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// The quote does not say whose it is.
    #[error("the room's quote does not name its platform")]
    Quote(#[source] EvidenceError),
    /// No file, or one that cannot be read.
    #[error("no collateral for the platform of the room's quote: `{}`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that is no collateral.
    #[error("`{}` is not collateral", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: JsonError,
    },
}

impl CollateralError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Quote(error) => error.code(),
            Self::Missing { .. } => "collateral-missing",
            Self::Malformed { .. } => "collateral-malformed",
        }
    }
}

impl CollateralSource {
    /// The collateral for the platform that made `quote`. Blocking.
    ///
    /// # Errors
    /// See [`CollateralError`].
    pub fn of_quote(&self, quote: &[u8]) -> Result<Collateral, CollateralError> {
        let facts = Quote::parse(quote)
            .and_then(|quote| quote.pck_facts())
            .map_err(CollateralError::Quote)?;
        let Self::Directory(directory) = self;
        read(&file_of(directory, facts.fmspc))
    }
}

impl CollateralStore for CollateralSource {
    fn of_platform(&self, platform: Fmspc) -> Option<Collateral> {
        let Self::Directory(directory) = self;
        read(&file_of(directory, platform)).ok()
    }
}

/// Where the collateral of platforms with this FMSPC lies.
#[must_use]
pub fn file_of(directory: &Path, fmspc: Fmspc) -> PathBuf {
    directory.join(format!("{fmspc}.json"))
}

/// The collateral in a file.
///
/// # Errors
/// `collateral-missing`, `collateral-malformed`.
pub fn read(path: &Path) -> Result<Collateral, CollateralError> {
    let missing = |source| CollateralError::Missing {
        path: path.to_owned(),
        source,
    };
    let limit = u64::try_from(MAX_COLLATERAL_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(missing)?;
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(missing)?;
    json::parse(&bytes, MAX_COLLATERAL_BYTES).map_err(|source| CollateralError::Malformed {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{CollateralSource, MAX_COLLATERAL_BYTES, read};

    #[test]
    fn what_is_no_collateral_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("514d00000000.json");
        assert_eq!(read(&path).unwrap_err().code(), "collateral-missing");
        for text in ["", "{}", "[]", &" ".repeat(MAX_COLLATERAL_BYTES + 1)] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap_err().code(), "collateral-malformed");
        }
    }

    #[test]
    fn bytes_that_are_no_quote_have_no_platform() {
        let source = CollateralSource::Directory("/nonexistent".into());
        for length in [0, 1, 48, 632, 1024] {
            let refused = source.of_quote(&vec![0; length]).unwrap_err();
            assert!(refused.code().starts_with("quote"), "{}", refused.code());
        }
    }
}
