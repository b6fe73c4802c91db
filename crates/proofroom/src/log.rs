//! The deployment's log, shared by every process of the deployment: each operation holds the
//! log's one lock for as long as it takes and no longer.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use proofroom_canonical::Timestamp;
use proofroom_ledger::{Ledger, LedgerError, LedgerOptions};
use proofroom_tlog::{KeyName, LeafIndex, NoteSigner};
use zeroize::Zeroizing;

/// How long an operation waits for others before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(3);

/// Why the log did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The ledger refused or failed.
    #[error("the log at `{path}` cannot be used")]
    Ledger {
        /// Its directory.
        path: PathBuf,
        /// What the ledger said.
        #[source]
        source: LedgerError,
    },
    /// The log's name is not one.
    #[error("`{0}` cannot name a log")]
    Name(String),
}

/// Receipts under one checkpoint.
#[derive(Debug)]
pub struct Receipts {
    /// The checkpoint, a C2SP signed note.
    pub checkpoint: Vec<u8>,
    /// One C2SP tlog-proof for each index asked for.
    pub receipts: Vec<Vec<u8>>,
}

/// The way to the log.
pub struct LogAccess {
    path: PathBuf,
    name: KeyName,
    key: Zeroizing<[u8; 32]>,
    verifier_key: String,
    clock: fn() -> Timestamp,
}

impl std::fmt::Debug for LogAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogAccess")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl LogAccess {
    /// The log in `path`, named after the deployment's trust domain.
    ///
    /// # Errors
    /// [`LogError::Name`].
    pub fn new(
        path: PathBuf,
        trust_domain: &str,
        key: &ed25519_dalek::SigningKey,
        clock: fn() -> Timestamp,
    ) -> Result<Self, LogError> {
        let name = format!("{trust_domain}/log");
        let refuse = || LogError::Name(name.clone());
        let parsed = KeyName::parse(&name).map_err(|_| refuse())?;
        let signer = NoteSigner::from_seed(parsed.clone(), key.as_bytes()).map_err(|_| refuse())?;
        Ok(Self {
            path,
            name: parsed,
            key: Zeroizing::new(key.to_bytes()),
            verifier_key: format!("{}\n", signer.verifier_key()),
            clock,
        })
    }

    /// The key that auditors pin, as a C2SP verifier key and a newline.
    #[must_use]
    pub fn verifier_key(&self) -> &str {
        &self.verifier_key
    }

    /// Appends a leaf; returns its index once it is durable. Blocking.
    ///
    /// # Errors
    /// [`LogError::Ledger`].
    pub fn append(&self, leaf: &[u8]) -> Result<LeafIndex, LogError> {
        self.with(|ledger| Ok(ledger.append(leaf.to_vec())?.wait()?.index()))
    }

    /// The bytes of the leaf at `index`, once it is in a signed checkpoint. Blocking.
    ///
    /// # Errors
    /// [`LogError::Ledger`].
    pub fn entry(&self, index: LeafIndex) -> Result<Vec<u8>, LogError> {
        self.with(|ledger| ledger.entry(index))
    }

    /// Waits until all of `indices` are in a signed checkpoint and proves each under the same one.
    /// Blocking.
    ///
    /// # Errors
    /// [`LogError::Ledger`].
    pub fn receipts(&self, indices: &[LeafIndex]) -> Result<Receipts, LogError> {
        self.with(|ledger| {
            if let Some(last) = indices.iter().max() {
                ledger.wait_integrated(*last)?;
            }
            let receipts = indices
                .iter()
                .map(|index| ledger.receipt(*index).map(String::into_bytes))
                .collect::<Result<_, _>>()?;
            Ok(Receipts {
                checkpoint: ledger.head().note().to_string().into_bytes(),
                receipts,
            })
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Ledger) -> Result<T, LedgerError>) -> Result<T, LogError> {
        let failed = |source| LogError::Ledger {
            path: self.path.clone(),
            source,
        };
        let deadline = Instant::now() + PATIENCE;
        let ledger = loop {
            let signer = NoteSigner::from_seed(self.name.clone(), &self.key)
                .map_err(|_| LogError::Name(self.name.to_string()))?;
            let options = LedgerOptions::new(&self.path, signer, Arc::new(self.clock));
            match Ledger::open(options) {
                Err(LedgerError::Locked { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(RETRY);
                }
                opened => break opened.map_err(failed)?,
            }
        };
        let done = work(&ledger).map_err(failed)?;
        ledger.close().map_err(failed)?;
        Ok(done)
    }
}
