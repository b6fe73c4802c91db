//! A firmware file as the first code of a TD (Intel, "TDX Virtual Firmware Design Guide"): MRTD from
//! its metadata, and the two things that it measures before anything else: the hand-off block that
//! the machine monitor writes, and its own configuration volume.

use proofroom_verifier::reference::Hash384;
use sha2::{Digest as _, Sha384};

use crate::{MeasureError, boot::Machine, efi::Guid, raw};

/// The most sections that are read; OVMF has six.
const MAX_SECTIONS: usize = 64;
/// The most bytes of guest memory that all sections may cover.
const MAX_SECTION_BYTES: u64 = 256 * 1024 * 1024;
const PAGE: u64 = 4096;
/// `MR.EXTEND` covers this many bytes.
const CHUNK: u64 = 256;

/// Footer of the table of GUIDs at the end of an OVMF file.
const TABLE_FOOTER: Guid = Guid::new(
    0x96b5_82de,
    0x1fb2,
    0x45f7,
    [0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d],
);
/// Its entry that says where the TDX metadata is, counted from the end.
const METADATA_OFFSET: Guid = Guid::new(
    0xe47a_6535,
    0x984a,
    0x4798,
    [0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2],
);

const CONFIGURATION_VOLUME: u32 = 1;
const HAND_OFF_BLOCK: u32 = 2;
const TEMPORARY_MEMORY: u32 = 3;
/// Attributes of a section.
const MR_EXTEND: u32 = 0x1;
const PAGE_AUG: u32 = 0x2;

/// In which order the machine monitor adds pages and measures them. It decides MRTD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageOrder {
    /// Page by page: add, then measure. QEMU's upstream TDX support (10.1 and later).
    SinglePass,
    /// All pages of a section are added, then all are measured. Out-of-tree QEMU 8 and 9.
    TwoPass,
}

#[derive(Clone, Copy, Debug)]
struct Section {
    file_offset: usize,
    file_size: usize,
    address: u64,
    memory_size: u64,
    kind: u32,
    attributes: u32,
}

/// A firmware file with TDX metadata.
#[derive(Clone, Debug)]
pub struct Tdvf<'a> {
    bytes: &'a [u8],
    sections: Vec<Section>,
}

const CUT: MeasureError = MeasureError::Tdvf("its metadata ends early");

impl<'a> Tdvf<'a> {
    /// Reads the metadata of a firmware file.
    ///
    /// # Errors
    /// `tdvf-unusable`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MeasureError> {
        let at = metadata(bytes)?;
        if raw::part(bytes, at, 4) != Some(b"TDVF") || raw::u32_at(bytes, at + 8) != Some(1) {
            return Err(MeasureError::Tdvf("its metadata is not version 1"));
        }
        let count = raw::size32(bytes, at + 12).ok_or(CUT)?;
        if count > MAX_SECTIONS {
            return Err(MeasureError::Tdvf("more than 64 sections"));
        }
        let mut sections = Vec::with_capacity(count);
        for number in 0..count {
            let section = section(bytes, at + 16 + 32 * number).ok_or(CUT)?;
            check(bytes, &section)?;
            sections.push(section);
        }
        let total = sections
            .iter()
            .fold(0u64, |sum, section| sum.saturating_add(section.memory_size));
        if total > MAX_SECTION_BYTES {
            return Err(MeasureError::Tdvf("its sections cover more than 256 MiB"));
        }
        Ok(Self { bytes, sections })
    }

    /// MRTD of a TD that starts with this firmware.
    #[must_use]
    pub fn mrtd(&self, order: PageOrder) -> Hash384 {
        let mut mrtd = Sha384::new();
        for section in &self.sections {
            let pages = || (0..section.memory_size / PAGE).map(|page| page * PAGE);
            for page in pages() {
                section.add(&mut mrtd, page);
                if order == PageOrder::SinglePass {
                    section.extend(&mut mrtd, self.bytes, page);
                }
            }
            if order == PageOrder::TwoPass {
                pages().for_each(|page| section.extend(&mut mrtd, self.bytes, page));
            }
        }
        Hash384::from_bytes(mrtd.finalize().into())
    }

    /// The configuration volume, the second thing in RTMR0.
    ///
    /// # Errors
    /// `tdvf-unusable` for a firmware without one.
    pub fn configuration(&self) -> Result<&'a [u8], MeasureError> {
        self.sections
            .iter()
            .find(|section| section.kind == CONFIGURATION_VOLUME)
            .and_then(|section| raw::part(self.bytes, section.file_offset, section.file_size))
            .ok_or(MeasureError::Tdvf("it has no configuration volume"))
    }

    /// The hand-off block that QEMU writes for `machine`, the first thing in RTMR0: a header, the
    /// memory in order (accepted where sections lie, unaccepted between them), and where it ends.
    ///
    /// # Errors
    /// `tdvf-unusable` for sections that overlap or leave the memory.
    pub fn hand_off_block(&self, machine: &Machine) -> Result<Vec<u8>, MeasureError> {
        let block = self
            .sections
            .iter()
            .find(|section| section.kind == HAND_OFF_BLOCK)
            .ok_or(MeasureError::Tdvf("it has no place for a hand-off block"))?;
        let mut resources = Vec::new();
        for (kind, start, length) in self.memory(machine)? {
            // EFI_HOB_RESOURCE_DESCRIPTOR of 48 bytes; owner zero; present, initialized, tested.
            resources.extend(3u16.to_le_bytes());
            resources.extend(48u16.to_le_bytes());
            resources.extend([0; 20]);
            resources.extend(kind.to_le_bytes());
            resources.extend(7u32.to_le_bytes());
            resources.extend(start.to_le_bytes());
            resources.extend(length.to_le_bytes());
        }
        // EFI_HOB_HANDOFF_INFO_TABLE of 56 bytes, version 9; its last field says where the list
        // ends, an end marker of 8 bytes included, which itself is not measured.
        let size = u64::try_from(56 + resources.len() + 8).unwrap_or(u64::MAX);
        let mut list = Vec::new();
        list.extend(1u16.to_le_bytes());
        list.extend(56u16.to_le_bytes());
        list.extend([0; 4]);
        list.extend(9u32.to_le_bytes());
        list.extend([0; 36]);
        list.extend(block.address.saturating_add(size).to_le_bytes());
        list.extend(resources);
        Ok(list)
    }

    /// The machine's memory as the hand-off block lists it: kind, start, length.
    fn memory(&self, machine: &Machine) -> Result<Vec<(u32, u64, u64)>, MeasureError> {
        const SYSTEM_MEMORY: u32 = 0;
        const UNACCEPTED: u32 = 7;
        let mut accepted: Vec<(u64, u64)> = self
            .sections
            .iter()
            .filter(|section| matches!(section.kind, HAND_OFF_BLOCK | TEMPORARY_MEMORY))
            .map(|section| (section.address, section.memory_size))
            .collect();
        accepted.sort_unstable();
        let (mut list, mut at) = (Vec::new(), 0);
        for (start, length) in accepted {
            let end = start.saturating_add(length);
            if start < at || end > machine.low_memory() {
                return Err(MeasureError::Tdvf(
                    "its sections overlap or leave the memory",
                ));
            }
            if start > at {
                list.push((UNACCEPTED, at, start - at));
            }
            list.push((SYSTEM_MEMORY, start, length));
            at = end;
        }
        list.push((UNACCEPTED, at, machine.low_memory() - at));
        if machine.high_memory() > 0 {
            list.push((UNACCEPTED, 1 << 32, machine.high_memory()));
        }
        Ok(list)
    }
}

impl Section {
    /// `MEM.PAGE.ADD`: 128 bytes with the page's address.
    fn add(&self, mrtd: &mut Sha384, page: u64) {
        if self.attributes & PAGE_AUG == 0 {
            mrtd.update(record(b"MEM.PAGE.ADD", self.address + page));
        }
    }

    /// `MR.EXTEND`: 128 bytes with the chunk's address, then the chunk; zeros beyond the file's part.
    fn extend(&self, mrtd: &mut Sha384, file: &[u8], page: u64) {
        if self.attributes & MR_EXTEND == 0 {
            return;
        }
        let contents = raw::part(file, self.file_offset, self.file_size).unwrap_or_default();
        for chunk in (page..page + PAGE).step_by(256) {
            mrtd.update(record(b"MR.EXTEND", self.address + chunk));
            let start = usize::try_from(chunk).unwrap_or(usize::MAX);
            let end = usize::try_from(chunk + CHUNK).unwrap_or(usize::MAX);
            let from_file = contents
                .get(start.min(contents.len())..end.min(contents.len()))
                .unwrap_or_default();
            mrtd.update(from_file);
            mrtd.update(vec![0; end - start - from_file.len()]);
        }
    }
}

fn record(name: &[u8], address: u64) -> [u8; 128] {
    let mut record = [0; 128];
    for (to, from) in record.iter_mut().zip(name) {
        *to = *from;
    }
    for (to, from) in record.iter_mut().skip(16).zip(address.to_le_bytes()) {
        *to = from;
    }
    record
}

/// Where the metadata begins.
fn metadata(bytes: &[u8]) -> Result<usize, MeasureError> {
    const NONE: MeasureError =
        MeasureError::Tdvf("it has no TDX metadata, so it cannot start a TD");
    let footer = bytes.len().checked_sub(32 + 18).ok_or(NONE)?;
    if Guid::read(bytes, footer + 2) != Some(TABLE_FOOTER) {
        return Err(NONE);
    }
    // Entries end with their length (of data, length and GUID) and their GUID, and are read backwards.
    let size = raw::size16(bytes, footer).ok_or(NONE)?;
    let start = (footer + 18).checked_sub(size).ok_or(NONE)?;
    let mut at = footer;
    while at >= start + 18 {
        let length = raw::size16(bytes, at - 18).ok_or(NONE)?;
        if length < 18 || length > at - start {
            return Err(MeasureError::Tdvf("its table of GUIDs is malformed"));
        }
        if Guid::read(bytes, at - 16) == Some(METADATA_OFFSET) {
            let offset = raw::size32(bytes, at - length).ok_or(NONE)?;
            return bytes.len().checked_sub(offset).ok_or(CUT);
        }
        at -= length;
    }
    Err(NONE)
}

fn section(bytes: &[u8], at: usize) -> Option<Section> {
    Some(Section {
        file_offset: raw::size32(bytes, at)?,
        file_size: raw::size32(bytes, at + 4)?,
        address: raw::u64_at(bytes, at + 8)?,
        memory_size: raw::u64_at(bytes, at + 16)?,
        kind: raw::u32_at(bytes, at + 24)?,
        attributes: raw::u32_at(bytes, at + 28)?,
    })
}

fn check(bytes: &[u8], section: &Section) -> Result<(), MeasureError> {
    let in_file = raw::part(bytes, section.file_offset, section.file_size).is_some();
    let pages = section.address.is_multiple_of(PAGE) && section.memory_size.is_multiple_of(PAGE);
    let file_size = u64::try_from(section.file_size).unwrap_or(u64::MAX);
    let fits = file_size <= section.memory_size;
    let ends = section.address.checked_add(section.memory_size).is_some();
    if in_file && pages && fits && ends {
        return Ok(());
    }
    Err(MeasureError::Tdvf(
        "a section lies outside of the file, is not made of pages, or does not fit its memory",
    ))
}

#[cfg(test)]
mod tests;
