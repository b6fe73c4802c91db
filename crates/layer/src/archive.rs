//! Tar archives (POSIX pax and the GNU forms of long names), from packages and from image layers.
//! Both are foreign bytes: every entry is named, sized and placed by rules of this crate.

use std::io::{self, Read};

use tar::{Archive, Entry, EntryType};

use crate::{
    error::LayerError,
    tree::{EntryPath, Tree, shown},
};

/// Extended headers and long names are small.
const MAX_EXTENSION_BYTES: u64 = 64 * 1024;
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// What names that begin with `.wh.` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// Names like any other.
    None,
    /// The OCI image format's: first pass, in which they remove what earlier layers brought.
    Apply,
    /// The OCI image format's: second pass, in which they are passed over.
    PassOver,
}

/// Puts the entries of a tar archive into `tree`; those that `wanted` refuses are passed over.
///
/// # Errors
/// See the group of input errors of [`LayerError`].
pub fn extract(
    what: &str,
    bytes: &mut dyn Read,
    tree: &mut Tree,
    whiteouts: Whiteouts,
    wanted: &dyn Fn(&[String]) -> bool,
) -> Result<(), LayerError> {
    let unreadable = |source| LayerError::Archive {
        what: what.to_owned(),
        source,
    };
    let mut archive = Archive::new(bytes);
    let mut next = Extensions::default();
    // Raw entries: the extensions are read below, with limits.
    for entry in archive.entries().map_err(unreadable)?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        if next.take(&mut entry).map_err(unreadable)? == Taken::Extension {
            continue;
        }
        let extensions = std::mem::take(&mut next);
        let name = extensions
            .path
            .unwrap_or_else(|| entry.header().path_bytes().into_owned());
        let at = EntryPath::parse(&name)?;
        if extensions.unsupported || extensions.size.is_some_and(|size| size != entry.size()) {
            return Err(LayerError::Entry {
                entry: shown(&name),
                problem: "is sparse or larger than 8 GiB, which is not supported",
            });
        }
        match whiteouts {
            Whiteouts::Apply => white_out(tree, &at)?,
            Whiteouts::PassOver if whiteout(&at).is_some() => {}
            _ if !wanted(at.components()) => {}
            _ => place(tree, &at, &name, extensions.link, &mut entry)?,
        }
    }
    Ok(())
}

/// The name that a whiteout removes; the empty one for all of its directory.
fn whiteout(at: &EntryPath) -> Option<(EntryPath, &str)> {
    let (parent, name) = at.split()?;
    if name == OPAQUE {
        return Some((parent, ""));
    }
    Some((parent, name.strip_prefix(WHITEOUT)?))
}

fn white_out(tree: &mut Tree, at: &EntryPath) -> Result<(), LayerError> {
    match whiteout(at) {
        None => Ok(()),
        Some((parent, "")) if at.components().last().is_some_and(|name| name == OPAQUE) => {
            tree.empty(&parent)
        }
        Some((_, "" | "." | "..")) => Err(LayerError::Entry {
            entry: at.to_string(),
            problem: "is a whiteout of no name",
        }),
        Some((parent, name)) => tree.remove(&parent.join(name)),
    }
}

fn place(
    tree: &mut Tree,
    at: &EntryPath,
    name: &[u8],
    link: Option<Vec<u8>>,
    entry: &mut Entry<'_, &mut dyn Read>,
) -> Result<(), LayerError> {
    let header = entry.header().clone();
    let mode = header.mode().map_err(|_| LayerError::Entry {
        entry: at.to_string(),
        problem: "has no mode",
    })?;
    let link = || {
        link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .ok_or_else(|| LayerError::Entry {
                entry: at.to_string(),
                problem: "is a link to nothing",
            })
    };
    let special = |kind| LayerError::Special {
        entry: at.to_string(),
        kind,
    };
    match header.entry_type() {
        EntryType::Directory => tree.directory(at, mode),
        // What tar wrote before there was a type for directories.
        EntryType::Regular if name.ends_with(b"/") => tree.directory(at, mode),
        EntryType::Regular | EntryType::Continuous => {
            let size = entry.size();
            tree.file(at, mode, size, entry)
        }
        EntryType::Symlink => tree.symlink(at, &link()?),
        EntryType::Link => tree.hard_link(at, &EntryPath::parse(&link()?)?),
        EntryType::Char | EntryType::Block => Err(special("a device")),
        EntryType::Fifo => Err(special("a pipe")),
        _ => Err(LayerError::Entry {
            entry: at.to_string(),
            problem: "is of a kind that is not supported",
        }),
    }
}

#[derive(PartialEq, Eq)]
enum Taken {
    Extension,
    Entry,
}

/// What the entries before an entry say about it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    unsupported: bool,
}

impl Extensions {
    fn take(&mut self, entry: &mut Entry<'_, &mut dyn Read>) -> io::Result<Taken> {
        match entry.header().entry_type() {
            EntryType::GNULongName => self.path = Some(long_name(entry)?),
            EntryType::GNULongLink => self.link = Some(long_name(entry)?),
            EntryType::XHeader => {
                let bytes = small(entry)?;
                self.pax(&bytes)?;
            }
            EntryType::XGlobalHeader => drop(small(entry)?),
            _ => return Ok(Taken::Entry),
        }
        Ok(Taken::Extension)
    }

    fn pax(&mut self, bytes: &[u8]) -> io::Result<()> {
        for record in tar::PaxExtensions::new(bytes) {
            let record = record?;
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                b"size" => {
                    let size = record.value().ok().and_then(|text| text.parse().ok());
                    self.size = Some(size.ok_or_else(|| invalid("a pax size is not a number"))?);
                }
                key if key.starts_with(b"GNU.sparse.") => self.unsupported = true,
                // Times, owners and extended attributes are not kept.
                _ => {}
            }
        }
        Ok(())
    }
}

fn long_name(entry: &mut Entry<'_, &mut dyn Read>) -> io::Result<Vec<u8>> {
    let mut name = small(entry)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn small(entry: &mut Entry<'_, &mut dyn Read>) -> io::Result<Vec<u8>> {
    if entry.size() > MAX_EXTENSION_BYTES {
        return Err(invalid("an extended header is too large"));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}
