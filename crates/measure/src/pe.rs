//! Authenticode digests (Microsoft, "Windows Authenticode Portable Executable Signature Format", as
//! edk2's image measurement applies it): a PE/COFF image without its checksum, its certificate table
//! and the directory entry that names it.

use std::ops::Range;

use proofroom_verifier::reference::{Hash256, Hash384};
use sha2::{Digest as _, Sha256, Sha384};

use crate::{MeasureError, raw};

/// More sections than any kernel has; the format allows 96 to loaders.
const MAX_SECTIONS: usize = 96;
const PE32_PLUS: u16 = 0x20b;
const PE32: u16 = 0x10b;

/// The Authenticode digests of a PE/COFF image, in SHA-256 and SHA-384.
///
/// # Errors
/// `pe-malformed`.
pub fn authenticode(image: &[u8]) -> Result<(Hash256, Hash384), MeasureError> {
    let ranges = hashed_ranges(image)?;
    let (mut small, mut large) = (Sha256::new(), Sha384::new());
    for range in ranges {
        let bytes = image
            .get(range)
            .ok_or(MeasureError::Pe("a part lies outside of the file"))?;
        small.update(bytes);
        large.update(bytes);
    }
    Ok((
        Hash256::from_bytes(small.finalize().into()),
        Hash384::from_bytes(large.finalize().into()),
    ))
}

struct Headers {
    checksum: usize,
    security_entry: usize,
    headers_size: usize,
    certificates_size: usize,
    section_table: usize,
    sections: usize,
}

fn headers(image: &[u8]) -> Option<Headers> {
    let signature = raw::size32(image, 0x3c)?;
    let optional = signature.checked_add(24)?;
    let directories = match raw::u16_at(image, optional)? {
        PE32_PLUS => 112,
        PE32 => 96,
        _ => return None,
    };
    let has_magic = raw::part(image, signature, 4)? == b"PE\0\0";
    let directory_count = raw::size32(image, optional.checked_add(directories - 4)?)?;
    if !has_magic || directory_count < 5 {
        return None;
    }
    let security_entry = optional.checked_add(directories + 4 * 8)?;
    let optional_size = raw::size16(image, signature.checked_add(20)?)?;
    Some(Headers {
        checksum: optional.checked_add(64)?,
        security_entry,
        headers_size: raw::size32(image, optional.checked_add(60)?)?,
        certificates_size: raw::size32(image, security_entry.checked_add(4)?)?,
        section_table: optional.checked_add(optional_size)?,
        sections: raw::size16(image, signature.checked_add(6)?)?,
    })
}

/// What is hashed, in order.
fn hashed_ranges(image: &[u8]) -> Result<Vec<Range<usize>>, MeasureError> {
    let h = headers(image).ok_or(MeasureError::Pe(
        "headers are not those of a PE image with a certificate directory",
    ))?;
    let ordered = h.security_entry.saturating_add(8) <= h.headers_size;
    if !ordered || h.headers_size > image.len() {
        return Err(MeasureError::Pe(
            "`SizeOfHeaders` does not cover the headers",
        ));
    }
    if h.sections > MAX_SECTIONS {
        return Err(MeasureError::Pe("more than 96 sections"));
    }
    let mut ranges = vec![
        0..h.checksum,
        h.checksum + 4..h.security_entry,
        h.security_entry + 8..h.headers_size,
    ];
    let mut hashed = h.headers_size;
    for section in sections(image, &h)? {
        hashed = hashed
            .checked_add(section.len())
            .ok_or(MeasureError::Pe("sections are larger than the file"))?;
        ranges.push(section);
    }
    // What follows the sections is hashed too, but for the certificates at the very end.
    let end = image.len().checked_sub(h.certificates_size);
    let end = end.ok_or(MeasureError::Pe("certificates are larger than the file"))?;
    if hashed < end {
        ranges.push(hashed..end);
    }
    Ok(ranges)
}

/// The raw data of all sections, by ascending place in the file.
fn sections(image: &[u8], h: &Headers) -> Result<Vec<Range<usize>>, MeasureError> {
    const SHORT: MeasureError = MeasureError::Pe("the section table ends early");
    let mut sections = Vec::with_capacity(h.sections);
    for number in 0..h.sections {
        let at = h.section_table.checked_add(number * 40).ok_or(SHORT)?;
        let size = raw::size32(image, at.saturating_add(16)).ok_or(SHORT)?;
        let start = raw::size32(image, at.saturating_add(20)).ok_or(SHORT)?;
        if size == 0 {
            continue;
        }
        let end = start.checked_add(size).filter(|end| *end <= image.len());
        let end = end.ok_or(MeasureError::Pe("a section lies outside of the file"))?;
        sections.push(start..end);
    }
    sections.sort_by_key(|section| section.start);
    Ok(sections)
}

#[cfg(test)]
mod tests;
