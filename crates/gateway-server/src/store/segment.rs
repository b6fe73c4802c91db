//! The files that lines are in: each named after the first record that it may hold.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use proofroom_tlog::LeafIndex;

use super::{Found, StoreError, line::Line};

/// A file that has this many bytes gets no more lines. A start reads one such file, and the tail of the
/// one before where a crash came between.
pub(super) const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// The longest line: an envelope has at most 4 MiB.
pub(super) const MAX_LINE_BYTES: u64 = 5 * 1024 * 1024;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// The file, which has its first record's number for a name.
    pub(super) segment: u64,
    pub(super) place: Place,
}

/// Where a record is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u32,
    /// Without the newline.
    pub(super) length: u32,
    /// Records of the file that come before it.
    pub(super) nth: u32,
}

impl Place {
    /// Nothing where the file is larger than files get.
    pub(super) fn new(offset: u64, length: usize, nth: u64) -> Option<Self> {
        Some(Self {
            offset: offset.try_into().ok()?,
            length: length.try_into().ok()?,
            nth: nth.try_into().ok()?,
        })
    }
}

impl Location {
    fn record(self) -> LeafIndex {
        LeafIndex::new(self.segment.saturating_add(self.place.nth.into()))
    }
}

/// The file that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) dir: PathBuf,
    pub(super) name: u64,
    file: Arc<File>,
    pub(super) length: u64,
}

impl Segment {
    /// Opens the file for more, cut to `length`, or makes it.
    pub(super) fn open(dir: &Path, name: u64, length: u64) -> Result<Self, StoreError> {
        let path = path(dir, name);
        let opened = open(dir, &path, length);
        let file = opened.map_err(|source| StoreError::File { path, source })?;
        Ok(Self {
            dir: dir.to_owned(),
            name,
            file: Arc::new(file),
            length,
        })
    }

    /// Writes whole lines. The end of this process cannot lose them any more.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        (&*self.file).write_all(lines)?;
        self.length = self.length.saturating_add(lines.len() as u64);
        Ok(())
    }

    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }
}

fn open(dir: &Path, path: &Path, length: u64) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    file.set_len(length)?;
    file.seek(SeekFrom::End(0))?;
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// The file of this name.
pub(super) fn path(dir: &Path, name: u64) -> PathBuf {
    dir.join(format!("{name:020}"))
}

/// Every file, in order; makes the directory where it is missing.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let parsed = name.to_str().filter(|name| name.len() == 20);
        match parsed.and_then(|name| name.parse().ok()) {
            Some(name) => names.push(name),
            None => {
                let words = format!("`{}` does not belong there", name.display());
                return Err(io::Error::other(words));
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Reads a record back.
pub(super) fn read(dir: &Path, location: Location) -> Result<Found, StoreError> {
    let path = path(dir, location.segment);
    let Place { offset, length, .. } = location.place;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let read = File::open(&path).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset.into()))?;
        file.read_exact(&mut bytes)
    });
    if let Err(source) = read {
        return Err(StoreError::File { path, source });
    }
    let offset = offset.into();
    let line = Line::parse(&bytes).and_then(|line| Some((line, line.leaf()?)));
    let (line, leaf) = line.ok_or(StoreError::Damaged { path, offset })?;
    Ok(Found {
        envelope: line.body.to_vec(),
        digest: line.digest,
        index: location.record(),
        leaf,
    })
}
