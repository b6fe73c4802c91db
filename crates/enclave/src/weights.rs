//! The digest of a model: SHA-256 over the list of its files, each with its own digest, so that anybody who has
//! the files gets the same. Every byte is read; nothing is believed of a name or a date.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use proofroom_canonical::{Digest, Hasher};

/// First line of every manifest.
pub const MANIFEST_FORMAT: &str = "proofroom.weights.v1";
/// The most files of a model.
const MAX_FILES: usize = 16 * 1024;
/// The most directories within directories.
const MAX_DEPTH: usize = 16;
/// The most files that are read at once.
const MAX_READERS: usize = 16;
const BUFFER: usize = 1024 * 1024;

/// Why there is no digest of a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A file or directory that cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something that is neither file nor directory, or has a name that is no text of one line.
    #[error("`{}` is neither a file nor a directory with a plain name", .0.display())]
    Odd(PathBuf),
    /// No file, or more than a model has.
    #[error("`{}` has no file, too many, or too deep ones", .0.display())]
    Count(PathBuf),
    /// The files are not those of the manifest.
    #[error("the files are not those of the manifest: line {line} differs")]
    Differs {
        /// The first line that differs, from 1.
        line: usize,
    },
}

impl WeightsError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "weights-unreadable",
            Self::Odd(_) => "weights-odd-file",
            Self::Count(_) => "weights-count",
            Self::Differs { .. } => "weights-differ",
        }
    }
}

/// The manifest of the files below `directory`: the format's line, then for each file in byte order of its path
/// `<sha256 in hex> <bytes> <path>`. Links to files are followed, links to directories refused.
///
/// # Errors
/// [`WeightsError`].
pub fn manifest(directory: &Path) -> Result<String, WeightsError> {
    let mut names = Vec::new();
    collect(directory, "", 0, &mut names)?;
    if names.is_empty() {
        return Err(WeightsError::Count(directory.to_owned()));
    }
    names.sort();
    let mut text = format!("{MANIFEST_FORMAT}\n");
    for (name, read) in names.iter().zip(read_all(directory, &names)?) {
        text.push_str(&format!("{} {} {name}\n", read.digest.to_hex(), read.bytes));
    }
    Ok(text)
}

/// The digest of a model by its manifest, which must be `expected` where that is given.
///
/// # Errors
/// `weights-differ`.
pub fn digest(manifest: &str, expected: Option<&str>) -> Result<Digest, WeightsError> {
    let expected = expected.unwrap_or(manifest);
    if expected == manifest {
        return Ok(Digest::of(manifest));
    }
    let both = expected.lines().zip(manifest.lines());
    let same = both.take_while(|(wanted, found)| wanted == found).count();
    Err(WeightsError::Differs {
        line: same.saturating_add(1),
    })
}

fn collect(
    root: &Path,
    below: &str,
    depth: usize,
    names: &mut Vec<String>,
) -> Result<(), WeightsError> {
    let here = root.join(below);
    if depth > MAX_DEPTH {
        return Err(WeightsError::Count(here));
    }
    for entry in fs::read_dir(&here).map_err(unreadable(&here))? {
        let entry = entry.map_err(unreadable(&here))?;
        let path = entry.path();
        let name = plain_name(&entry).ok_or_else(|| WeightsError::Odd(path.clone()))?;
        let name = match below {
            "" => name,
            below => format!("{below}/{name}"),
        };
        let kind = entry.file_type().map_err(unreadable(&path))?;
        if kind.is_dir() {
            collect(root, &name, depth.saturating_add(1), names)?;
        } else if fs::metadata(&path).map_err(unreadable(&path))?.is_file() {
            names.push(name);
        } else {
            return Err(WeightsError::Odd(path));
        }
        if names.len() > MAX_FILES {
            return Err(WeightsError::Count(here));
        }
    }
    Ok(())
}

fn plain_name(entry: &fs::DirEntry) -> Option<String> {
    let name = entry.file_name().into_string().ok()?;
    (!name.contains(char::is_control)).then_some(name)
}

/// What a file holds.
#[derive(Clone, Copy)]
struct Held {
    digest: Digest,
    bytes: u64,
}

/// All files, several at once: one processor hashes a gigabyte or two in a second.
fn read_all(directory: &Path, names: &[String]) -> Result<Vec<Held>, WeightsError> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(vec![None; names.len()]);
    let worker = || {
        while let Some((place, name)) = take(&next, names) {
            let held = read(&directory.join(name))?;
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(slot) = found.get_mut(place) {
                *slot = Some(held);
            }
        }
        Ok(())
    };
    let readers = thread::available_parallelism().map_or(1, NonZero::get);
    let readers = readers.min(MAX_READERS).min(names.len());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..readers).map(|_| scope.spawn(worker)).collect();
        let ended = workers.into_iter().map(|worker| {
            let panicked = |_| unreadable(directory)(io::Error::other("a reader ended early"));
            worker.join().map_err(panicked)?
        });
        ended.collect::<Result<(), WeightsError>>()
    })?;
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let all: Option<Vec<Held>> = found.into_iter().collect();
    all.ok_or_else(|| unreadable(directory)(io::Error::other("a file was not read")))
}

fn take<'a>(next: &AtomicUsize, names: &'a [String]) -> Option<(usize, &'a String)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    names.get(place).map(|name| (place, name))
}

fn read(path: &Path) -> Result<Held, WeightsError> {
    let mut file = File::open(path).map_err(unreadable(path))?;
    let (mut hasher, mut bytes) = (Hasher::new(), 0_u64);
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = file.read(&mut buffer).map_err(unreadable(path))?;
        let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else {
            let digest = hasher.finish();
            return Ok(Held { digest, bytes });
        };
        hasher.update(chunk);
        bytes = bytes.saturating_add(chunk.len() as u64);
    }
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> WeightsError {
    let path = path.to_owned();
    move |source| WeightsError::Read {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::{digest, manifest};

    #[test]
    fn the_manifest_is_of_every_byte_in_the_order_of_paths() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("b"), "second").unwrap();
        fs::write(dir.path().join("a/z"), "first").unwrap();
        let text = manifest(dir.path()).unwrap();
        let expected = "proofroom.weights.v1\n\
            a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e 5 a/z\n\
            16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4 6 b\n";
        assert_eq!(text, expected);
        assert_eq!(
            digest(&text, Some(expected)).unwrap(),
            digest(&text, None).unwrap()
        );
        // one byte of one file
        fs::write(dir.path().join("b"), "Second").unwrap();
        let changed = manifest(dir.path()).unwrap();
        let refused = digest(&changed, Some(expected)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the files are not those of the manifest: line 3 differs"
        );
        // one file more, and one of whose manifest nothing is left
        fs::write(dir.path().join("c"), "").unwrap();
        let more = manifest(dir.path()).unwrap();
        assert_eq!(
            digest(&more, Some(&changed)).unwrap_err().code(),
            "weights-differ"
        );
        assert_eq!(
            digest(&changed, Some("")).unwrap_err().code(),
            "weights-differ"
        );
    }

    #[test]
    fn many_files_are_each_their_own() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..40 {
            fs::write(dir.path().join(format!("{number:02}")), [number; 3]).unwrap();
        }
        let text = manifest(dir.path()).unwrap();
        for (number, line) in (0_u8..).zip(text.lines().skip(1)) {
            let hash = proofroom_canonical::Digest::of([number; 3]).to_hex();
            assert_eq!(line, format!("{hash} 3 {number:02}"));
        }
        assert_eq!(text.lines().count(), 41);
    }

    #[test]
    fn nothing_and_odd_things_are_no_model() {
        let dir = tempfile::tempdir().unwrap();
        let code = || manifest(dir.path()).unwrap_err().code();
        assert_eq!(code(), "weights-count");
        let gone = manifest(&dir.path().join("gone")).unwrap_err();
        assert_eq!(gone.code(), "weights-unreadable");
        fs::write(dir.path().join("a\nb"), "").unwrap();
        assert_eq!(code(), "weights-odd-file");
        fs::remove_file(dir.path().join("a\nb")).unwrap();
        symlink("gone", dir.path().join("link")).unwrap();
        assert_eq!(code(), "weights-unreadable");
        fs::remove_file(dir.path().join("link")).unwrap();
        symlink("/", dir.path().join("link")).unwrap();
        assert_eq!(code(), "weights-odd-file");
        fs::remove_file(dir.path().join("link")).unwrap();
        // as downloads from a hub are kept
        fs::write(dir.path().join("blob"), "first").unwrap();
        symlink("blob", dir.path().join("model")).unwrap();
        let text = manifest(dir.path()).unwrap();
        assert_eq!(text.matches("a7937b64b8caa58f").count(), 2);
    }
}
