//! The open ledger: one thread commits leaves, one integrates them, callers ask.

use std::{
    fmt,
    fs::{File, TryLockError},
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use proofroom_canonical::Timestamp;
use proofroom_tlog::{
    ENTRY_MAX_BYTES, LeafIndex, LogProof, NoteSigner, TILE_WIDTH, TreeSize, VerifiedCheckpoint,
    prove_inclusion,
};
use tokio::sync::{oneshot, watch};

use crate::{
    append::{Appending, wait_for},
    error::{CorruptLedger, LedgerError},
    integrate::Integrated,
    layout::Layout,
    reader::{DiskTiles, bundle_with, read_entries},
    recover::{Recovery, recover},
    status::LeafStatus,
    storage::{DiskStorage, Storage, fault},
    threads::{Committer, Integrator, Request},
};

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A head of this log that the caller kept elsewhere, against a directory put back from an old
/// copy.
#[derive(Clone, Debug)]
pub enum KnownHead {
    /// None is kept: a copy of the whole directory put back is not noticed.
    NotKept,
    /// The log must hold this head's tree as a prefix.
    Head(Box<VerifiedCheckpoint>),
}

/// How to open a ledger.
pub struct LedgerOptions {
    /// The directory; made if missing. Nothing else may write there.
    pub directory: PathBuf,
    /// The key that signs heads. Its name is the log's origin.
    pub signer: NoteSigner,
    /// What time it is.
    pub clock: Clock,
    /// A head known from before.
    pub known_head: KnownHead,
    /// Leaves are integrated at most this often.
    pub integrate_every: Duration,
    /// The file operations.
    pub storage: Arc<dyn Storage>,
}

/// An open, locked ledger. Dropping it integrates what is durable and unlocks.
pub struct Ledger {
    shared: Arc<Shared>,
    requests: Option<SyncSender<Request>>,
    threads: Vec<JoinHandle<()>>,
    recovery: Recovery,
    lock: File,
}

/// What callers and threads both see.
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) layout: Layout,
    pub(crate) clock: Clock,
    /// Leaves that were acknowledged as durable.
    pub(crate) durable: AtomicU64,
    pub(crate) head: watch::Sender<Head>,
    failure: OnceLock<LedgerError>,
}

/// The latest signed head, or that there will be no more.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) checkpoint: Arc<VerifiedCheckpoint>,
    pub(crate) at: Timestamp,
    pub(crate) last: bool,
}

impl LedgerOptions {
    /// Options for a ledger on the local disk, with no head kept elsewhere, that integrates at most
    /// every 100 ms.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, signer: NoteSigner, clock: Clock) -> Self {
        Self {
            directory: directory.into(),
            signer,
            clock,
            known_head: KnownHead::NotKept,
            integrate_every: Duration::from_millis(100),
            storage: Arc::new(DiskStorage),
        }
    }
}

impl Ledger {
    /// Opens or makes a ledger, recovers every leaf that was acknowledged, and starts its threads.
    /// Blocks on the disk, as [`Self::receipt`], [`Self::entry`] and [`Self::close`] do.
    ///
    /// # Errors
    /// `ledger-locked` if it is open elsewhere, `ledger-storage-failed`, or one of the codes of
    /// [`CorruptLedger`] if the files contradict each other, the key or the known head.
    pub fn open(options: LedgerOptions) -> Result<Self, LedgerError> {
        let layout = Layout::new(&options.directory);
        let storage = options.storage;
        fault(
            "create",
            layout.root(),
            storage.create_directory(layout.root()),
        )?;
        let lock = lock(&layout)?;
        let signer = Arc::new(options.signer);
        let recovered = recover(&storage, &layout, &signer, &options.known_head)?;
        let size = recovered.tree.size();
        let head = Head {
            checkpoint: Arc::new(recovered.head),
            at: (options.clock)(),
            last: false,
        };
        let shared = Arc::new(Shared {
            storage,
            layout: layout.clone(),
            clock: options.clock,
            durable: AtomicU64::new(size.get()),
            head: watch::Sender::new(head),
            failure: OnceLock::new(),
        });
        let (requests, incoming) = sync_channel(QUEUED_APPENDS);
        let (durable, integrable) = sync_channel(QUEUED_FRAMES);
        let committer = Committer {
            shared: Arc::clone(&shared),
            wal: recovered.wal,
            next: size.next_index(),
            integrator: durable,
        };
        let integrator = Integrator {
            shared: Arc::clone(&shared),
            tree: recovered.tree,
            every: options.integrate_every,
            closed_segments: Vec::new(),
        };
        let threads = vec![
            start("ledger-commit", &layout, move || committer.run(&incoming))?,
            start("ledger-integrate", &layout, move || {
                integrator.run(&integrable)
            })?,
        ];
        let recovery = recovered.recovery;
        Ok(Self {
            shared,
            requests: Some(requests),
            threads,
            recovery,
            lock,
        })
    }

    /// Queues a leaf and returns at once. Leaves of one caller keep their order.
    ///
    /// # Errors
    /// `ledger-leaf-too-large`, `ledger-busy`, `ledger-storage-failed`; nothing was queued.
    pub fn append(&self, leaf: Vec<u8>) -> Result<Appending, LedgerError> {
        if leaf.len() > ENTRY_MAX_BYTES {
            return Err(LedgerError::LeafTooLarge { bytes: leaf.len() });
        }
        if let Some(failure) = self.shared.failure.get() {
            return Err(failure.clone());
        }
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(LedgerError::Closed)?;
        match requests.try_send(Request { leaf, reply }) {
            Ok(()) => Ok(Appending {
                answer,
                shared: Arc::clone(&self.shared),
            }),
            Err(TrySendError::Full(_)) => Err(LedgerError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(self.shared.why_stopped()),
        }
    }

    /// Waits until a signed head holds the leaf at `index`, which may yet have to be appended.
    ///
    /// # Errors
    /// `ledger-storage-failed` or `ledger-closed` if that will not happen.
    pub async fn integrated(&self, index: LeafIndex) -> Result<Integrated, LedgerError> {
        let mut heads = self.shared.head.subscribe();
        let enough = |head: &Head| head.last || head.checkpoint.checkpoint().size().contains(index);
        let head = match heads.wait_for(enough).await {
            Ok(head) => head.clone(),
            Err(_) => return Err(self.shared.why_stopped()),
        };
        if head.checkpoint.checkpoint().size().contains(index) {
            Ok(Integrated {
                index,
                head: head.checkpoint,
                at: head.at,
            })
        } else {
            Err(self.shared.why_stopped())
        }
    }

    /// [`Self::integrated`], blocking the thread. Not for use inside an async runtime.
    ///
    /// # Errors
    /// As [`Self::integrated`].
    pub fn wait_integrated(&self, index: LeafIndex) -> Result<Integrated, LedgerError> {
        wait_for(self.integrated(index))
    }

    /// How far the leaf at `index` has come.
    #[must_use]
    pub fn status(&self, index: LeafIndex) -> LeafStatus {
        if self.head().checkpoint().size().contains(index) {
            LeafStatus::Integrated
        } else if self.durable_size().contains(index) {
            LeafStatus::Durable
        } else {
            LeafStatus::Absent
        }
    }

    /// The latest signed head on disk.
    #[must_use]
    pub fn head(&self) -> Arc<VerifiedCheckpoint> {
        Arc::clone(&self.shared.head.borrow().checkpoint)
    }

    /// How many leaves were acknowledged as durable.
    #[must_use]
    pub fn durable_size(&self) -> TreeSize {
        TreeSize::new(self.shared.durable.load(Ordering::Acquire))
    }

    /// What opening found and did.
    #[must_use]
    pub const fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// The receipt of an integrated leaf under the latest head: the text of a C2SP `tlog-proof`.
    /// It was verified before it is returned.
    ///
    /// # Errors
    /// `ledger-not-integrated`, or a code of [`CorruptLedger`] if the tiles do not lead to the head.
    pub fn receipt(&self, index: LeafIndex) -> Result<String, LedgerError> {
        let head = self.head();
        let leaf = self.entry(index)?;
        let (storage, layout) = (&*self.shared.storage, &self.shared.layout);
        let size = head.checkpoint().size();
        let tiles = DiskTiles::new(storage, layout, size);
        let inclusion = prove_inclusion(&tiles, index, size)?;
        let proof =
            LogProof::new(index, inclusion, head.note().clone()).map_err(CorruptLedger::Receipt)?;
        match head.key().verify_proof(&proof, &leaf) {
            Ok(_) => Ok(proof.to_string()),
            Err(_) => Err(CorruptLedger::Forked { size }.into()),
        }
    }

    /// The bytes of an integrated leaf.
    ///
    /// # Errors
    /// As [`Self::receipt`].
    pub fn entry(&self, index: LeafIndex) -> Result<Vec<u8>, LedgerError> {
        let missing = || CorruptLedger::Missing {
            path: index.to_string(),
        };
        let entries = self.entries_from(index)?.into_iter().next();
        Ok(entries.ok_or_else(missing)?)
    }

    /// The integrated leaves from `index` to the end of their bundle: 1 to 256 of them, by one read.
    ///
    /// # Errors
    /// As [`Self::receipt`].
    pub fn entries_from(&self, index: LeafIndex) -> Result<Vec<Vec<u8>>, LedgerError> {
        let size = self.head().checkpoint().size();
        if !size.contains(index) {
            return Err(LedgerError::NotIntegrated { index, size });
        }
        let bundle = bundle_with(index, size)?;
        let entries = read_entries(&*self.shared.storage, &self.shared.layout, bundle)?;
        let at = usize::try_from(index.get() % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
        Ok(entries.into_iter().skip(at).collect())
    }

    /// Integrates every durable leaf, stops, and returns the last head.
    ///
    /// # Errors
    /// `ledger-storage-failed` if the ledger failed, now or earlier.
    pub fn close(mut self) -> Result<Arc<VerifiedCheckpoint>, LedgerError> {
        self.stop();
        match self.shared.failure.get() {
            Some(failure) => Err(failure.clone()),
            None => Ok(self.head()),
        }
    }

    fn stop(&mut self) {
        self.requests = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.shared.fail(LedgerError::Closed);
            }
        }
        // explicitly, because a process that is being spawned right now holds a copy of the file
        self.lock.unlock().ok();
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Fails the ledger for good. The first cause stays.
    pub(crate) fn fail(&self, cause: LedgerError) {
        self.failure.get_or_init(|| cause);
        self.head.send_modify(|head| head.last = true);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Why no answer will come.
    pub(crate) fn why_stopped(&self) -> LedgerError {
        self.failure.get().cloned().unwrap_or(LedgerError::Closed)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("directory", &self.shared.layout.root())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LedgerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerOptions")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

fn lock(layout: &Layout) -> Result<File, LedgerError> {
    let path = layout.lock();
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = fault("open", &path, file)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Locked { path }),
        Err(TryLockError::Error(e)) => fault("lock", &path, Err(e)),
    }
}

fn start(
    name: &str,
    layout: &Layout,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, LedgerError> {
    fault(
        "start a thread for",
        layout.root(),
        thread::Builder::new().name(name.to_owned()).spawn(run),
    )
}

/// Leaves that may wait for the disk: four full frames.
const QUEUED_APPENDS: usize = 16_384;

/// Frames that may wait to be integrated; then commits wait.
const QUEUED_FRAMES: usize = 64;
