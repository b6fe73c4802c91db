//! The archive format of bundles: a ZIP file (APPNOTE 6.3) of stored entries in which every byte
//! follows from names and contents. Reading re-encodes what was read and compares all bytes.

use std::collections::BTreeMap;

use proofroom_canonical::Refusal;

/// The most bytes that a bundle may have. Nothing is compressed, so nothing can swell.
pub const MAX_BUNDLE_BYTES: usize = 512 * 1024 * 1024;

/// The most files that a bundle may hold. The format's own limit is 65,535.
pub const MAX_FILES: usize = 20_000;

/// The most bytes that a file's name may have.
pub const MAX_NAME_BYTES: usize = 200;

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";

// Version 2.0, no flags, stored, 1980-01-01T00:00:00 (the format's first moment)
const VERSION: [u8; 2] = 20u16.to_le_bytes();
const PLAIN: [u8; 8] = [0, 0, 0, 0, 0, 0, 0x21, 0];
// Made on a Unix, so that the mode below is understood: regular file, 0644
const MADE_BY: [u8; 2] = [20, 3];
const MODE: [u8; 4] = (0o100_644u32 << 16).to_le_bytes();

/// Files by name. Names sort bytewise, which is the order in the archive.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Writes the one archive of `files`.
///
/// # Errors
/// `archive-too-large`, `archive-too-many-files` or `archive-name`.
pub fn write(files: &Files) -> Result<Vec<u8>, Refusal> {
    if files.len() > MAX_FILES {
        return Err(too_many());
    }
    let (mut out, mut central) = (Vec::new(), Vec::new());
    for (name, content) in files {
        check_name(name)?;
        let offset = to_u32(out.len())?.to_le_bytes();
        let (entry, name) = (entry_fields(name, content)?, name.as_bytes());
        put(&mut out, &[&LOCAL, &entry, name, content]);
        // no comment, first disk, no internal attributes
        let plain = [0; 6];
        let fields: [&[u8]; 7] = [&CENTRAL, &MADE_BY, &entry, &plain, &MODE, &offset, name];
        put(&mut central, &fields);
    }
    let start = to_u32(out.len())?.to_le_bytes();
    let size = to_u32(central.len())?.to_le_bytes();
    let count = u16::try_from(files.len()).map_err(|_| too_many())?;
    let count = count.to_le_bytes();
    out.append(&mut central);
    // one disk, no comment
    put(
        &mut out,
        &[&END, &[0; 4], &count, &count, &size, &start, &[0; 2]],
    );
    if out.len() > MAX_BUNDLE_BYTES {
        return Err(too_large(out.len()));
    }
    Ok(out)
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Reads an archive that [`write`] could have written: same bytes, or refused.
///
/// # Errors
/// A refusal whose code begins with `archive-`.
pub fn read(bytes: &[u8]) -> Result<Files, Refusal> {
    if bytes.len() > MAX_BUNDLE_BYTES {
        return Err(too_large(bytes.len()));
    }
    let mut files = Files::new();
    let mut rest = bytes;
    while let Some(entry) = rest.strip_prefix(&LOCAL) {
        let at = bytes.len().saturating_sub(rest.len());
        let (name, content, after) = read_entry(entry).ok_or_else(|| cut_off(at))?;
        check_name(name)?;
        let last = files.last_key_value();
        if last.is_some_and(|(last, _)| last.as_str() >= name) {
            let words = format!("file `{name}` stands a second time or out of order");
            return Err(Refusal::new("archive-order", words));
        }
        files.insert(name.to_owned(), content.to_vec());
        if files.len() > MAX_FILES {
            return Err(too_many());
        }
        rest = after;
    }
    if files.is_empty() {
        return Err(cut_off(0));
    }
    let wanted = write(&files)?;
    if wanted != bytes {
        let same = wanted.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        let words = format!("bundle differs at byte {same} from the one encoding of its files");
        return Err(Refusal::new("archive-not-canonical", words));
    }
    Ok(files)
}

fn read_entry(entry: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    // version 2, flags to date 8, crc 4, sizes 4 + 4, lengths of name and extra 2 + 2
    let (_, rest) = entry.split_at_checked(14)?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    let (size, rest) = rest.split_first_chunk::<4>()?;
    let (name_length, rest) = rest.split_first_chunk::<2>()?;
    let (_, rest) = rest.split_first_chunk::<2>()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name_length)))?;
    let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
    let (content, rest) = rest.split_at_checked(size)?;
    Some((std::str::from_utf8(name).ok()?, content, rest))
}

fn entry_fields(name: &str, content: &[u8]) -> Result<Vec<u8>, Refusal> {
    let size = to_u32(content.len())?.to_le_bytes();
    let crc = crc32fast::hash(content).to_le_bytes();
    let name_length = u16::try_from(name.len()).map_err(|_| bad_name(name))?;
    let name_length = name_length.to_le_bytes();
    let parts: [&[u8]; 7] = [&VERSION, &PLAIN, &crc, &size, &size, &name_length, &[0, 0]];
    Ok(parts.concat())
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/');
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    if name.len() <= MAX_NAME_BYTES && name.bytes().all(plain) && name.split('/').all(part) {
        return Ok(());
    }
    Err(bad_name(name))
}

fn bad_name(name: &str) -> Refusal {
    let name: String = name.chars().take(MAX_NAME_BYTES).collect();
    let words = format!("file name `{name}` is not allowed in a bundle");
    Refusal::new("archive-name", words)
}

fn too_many() -> Refusal {
    let words = "bundle holds more than the 20000 files allowed";
    Refusal::new("archive-too-many-files", words)
}

fn too_large(bytes: usize) -> Refusal {
    let words = format!("bundle of {bytes} bytes is larger than the 536870912 allowed");
    Refusal::new("archive-too-large", words)
}

fn cut_off(at: usize) -> Refusal {
    let words = format!("bundle is cut off or not an archive of stored entries at byte {at}");
    Refusal::new("archive-structure", words)
}

fn to_u32(length: usize) -> Result<u32, Refusal> {
    u32::try_from(length).map_err(|_| too_large(length))
}

#[cfg(test)]
mod tests {
    use super::{Files, read, write};

    fn sample() -> Files {
        let file = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
        Files::from([
            file("a.txt", "one"),
            file("b/c.json", "{}"),
            file("empty", ""),
        ])
    }

    #[test]
    fn files_come_back_from_their_one_archive() {
        let bytes = write(&sample()).unwrap();
        assert_eq!(read(&bytes).unwrap(), sample());
        assert_eq!(write(&read(&bytes).unwrap()).unwrap(), bytes);
    }

    #[test]
    fn no_byte_of_an_archive_is_free() {
        let bytes = write(&sample()).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(read(&changed).is_err(), "byte {at} bit {bit}");
            }
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        let refused = read(&longer).unwrap_err();
        assert_eq!(refused.code(), "archive-not-canonical");
        assert!(refused.to_string().contains(&format!(" {} ", bytes.len())));
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for bad in [
            "", "/a", "../a", "a/../b", "a//b", "a/", "a\\b", "./a", "a b", "ä",
        ] {
            let files = Files::from([(bad.to_owned(), Vec::new())]);
            assert_eq!(write(&files).unwrap_err().code(), "archive-name", "{bad}");
        }
    }

    #[test]
    fn doubled_entries_are_refused() {
        let one = write(&Files::from([("a".to_owned(), b"x".to_vec())])).unwrap();
        let entry = &one[..32];
        let twice = [entry, &one].concat();
        assert_eq!(read(&twice).unwrap_err().code(), "archive-order");
        assert_eq!(read(b"").unwrap_err().code(), "archive-structure");
    }
}
