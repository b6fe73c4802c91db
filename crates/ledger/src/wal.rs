//! The write-ahead log: writing segments, and reading them back at open. What a damaged tail means
//! is decided here and nowhere else.

use std::{path::PathBuf, sync::Arc};

use proofroom_tlog::{LeafIndex, VerifierKey};

use crate::{
    error::{CorruptLedger, LedgerError},
    frame::{
        Frame, SEGMENT_FILL_BYTES, SEGMENT_MAX_BYTES, Scan, later_frame, scan, segment_header,
    },
    layout::{Layout, segment_first},
    storage::{AppendFile, Storage, fault},
};

/// The segment being written.
pub(crate) struct WalWriter {
    storage: Arc<dyn Storage>,
    layout: Layout,
    header: Vec<u8>,
    file: Box<dyn AppendFile>,
    path: PathBuf,
    bytes: u64,
}

/// What the segments hold.
#[derive(Debug, Default)]
pub(crate) struct WalContents {
    /// Where the first segment starts; `None` without segments.
    pub(crate) first: Option<LeafIndex>,
    /// All leaves from `first`, in order.
    pub(crate) leaves: Vec<Vec<u8>>,
    /// Bytes after the last whole frame, which were never acknowledged.
    pub(crate) torn_bytes: u64,
    /// The segments' files, oldest first.
    pub(crate) segments: Vec<PathBuf>,
}

impl WalWriter {
    /// Starts a segment whose first leaf will be `first`, and makes its name durable.
    pub(crate) fn create(
        storage: Arc<dyn Storage>,
        layout: Layout,
        key: &VerifierKey,
        first: LeafIndex,
    ) -> Result<Self, LedgerError> {
        let header = segment_header(key);
        let path = layout.segment(first);
        let file = Self::start(&*storage, &layout, &path, &header)?;
        let bytes = u64::try_from(header.len()).unwrap_or(0);
        Ok(Self {
            storage,
            layout,
            header,
            file,
            path,
            bytes,
        })
    }

    /// Writes one frame and makes it durable. After an error the writer must not be used again.
    pub(crate) fn commit(&mut self, frame: &Frame) -> Result<(), LedgerError> {
        let bytes = frame.to_bytes();
        fault("append to", &self.path, self.file.append(&bytes))?;
        fault("sync", &self.path, self.file.sync())?;
        self.bytes += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    /// Closes a segment that is long enough; returns its file, to be removed once integrated.
    pub(crate) fn rotate(&mut self, next: LeafIndex) -> Result<Option<PathBuf>, LedgerError> {
        if self.bytes < SEGMENT_FILL_BYTES {
            return Ok(None);
        }
        let path = self.layout.segment(next);
        self.file = Self::start(&*self.storage, &self.layout, &path, &self.header)?;
        self.bytes = u64::try_from(self.header.len()).unwrap_or(0);
        Ok(Some(std::mem::replace(&mut self.path, path)))
    }

    fn start(
        storage: &dyn Storage,
        layout: &Layout,
        path: &std::path::Path,
        header: &[u8],
    ) -> Result<Box<dyn AppendFile>, LedgerError> {
        let mut file = fault("create", path, storage.create(path))?;
        fault("write", path, file.append(header))?;
        fault("sync", path, file.sync())?;
        fault("sync", &layout.wal(), storage.sync_directory(&layout.wal()))?;
        Ok(file)
    }
}

/// Reads all segments.
///
/// Damage is forgiven only where no acknowledged leaf can have been: after the last whole frame of
/// a segment whose successor, if any, continues exactly there.
pub(crate) fn read_wal(
    storage: &dyn Storage,
    layout: &Layout,
    key: &VerifierKey,
) -> Result<WalContents, LedgerError> {
    let mut contents = WalContents::default();
    let mut next: Option<LeafIndex> = None;
    let header = segment_header(key);
    for name in fault("list", &layout.wal(), storage.list(&layout.wal()))? {
        let foreign = || CorruptLedger::Foreign {
            path: format!("wal/{name}"),
        };
        let first = segment_first(&name).ok_or_else(foreign)?;
        let path = layout.segment(first);
        let expected = *next.get_or_insert(first);
        if first != expected {
            let previous = contents.segments.last().cloned().unwrap_or(path);
            return Err(CorruptLedger::Wal {
                path: previous,
                offset: 0,
            }
            .into());
        }
        contents.first.get_or_insert(first);
        let bytes = fault("read", &path, storage.read(&path, SEGMENT_MAX_BYTES))?;
        let (leaves, torn) =
            read_segment(&bytes, &header, first).map_err(|offset| CorruptLedger::Wal {
                path: path.clone(),
                offset,
            })?;
        let count = u64::try_from(leaves.len()).unwrap_or(u64::MAX);
        next = Some(LeafIndex::new(first.get().saturating_add(count)));
        contents.leaves.extend(leaves);
        contents.torn_bytes += torn;
        contents.segments.push(path);
    }
    Ok(contents)
}

/// The leaves of one segment and the bytes after its last whole frame, or where it is damaged.
fn read_segment(bytes: &[u8], header: &[u8], first: LeafIndex) -> Result<(Vec<Vec<u8>>, u64), u64> {
    let mut leaves = Vec::new();
    let Some(mut rest) = bytes.strip_prefix(header) else {
        // a segment without a whole frame never acknowledged anything
        let torn = bytes.len() <= header.len() && !later_frame(bytes, first);
        return if torn {
            Ok((leaves, u64::try_from(bytes.len()).unwrap_or(0)))
        } else {
            Err(0)
        };
    };
    loop {
        let at = || u64::try_from(bytes.len() - rest.len()).unwrap_or(u64::MAX);
        let next = first
            .get()
            .saturating_add(u64::try_from(leaves.len()).unwrap_or(u64::MAX));
        match scan(rest) {
            Scan::End => return Ok((leaves, 0)),
            Scan::Frame(frame, length) if frame.first.get() == next => {
                leaves.extend(frame.leaves);
                rest = rest.get(length..).unwrap_or_default();
            }
            Scan::Frame(..) => return Err(at()),
            Scan::Damaged if later_frame(rest, LeafIndex::new(next)) => return Err(at()),
            Scan::Damaged => return Ok((leaves, u64::try_from(rest.len()).unwrap_or(0))),
        }
    }
}
