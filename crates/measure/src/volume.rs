//! Firmware volumes, files and sections (UEFI Platform Initialization 1.8, volume 3), as far as a
//! measurement needs them: what OVMF unpacks into memory, and single files of it.

use std::io::Read as _;

use crate::{MeasureError, efi::Guid, raw};

/// The most bytes that one compressed section may unpack to; OVMF's have 16 MB.
const MAX_UNPACKED_BYTES: usize = 64 * 1024 * 1024;
/// Memory for the dictionary of the decoder, in KiB.
const MAX_DICTIONARY_KIB: u32 = 64 * 1024;
/// The most files of one volume that are read; OVMF's have about 200.
const MAX_FILES: usize = 2048;
/// The most sections of one file that are read.
const MAX_SECTIONS: usize = 64;

/// `EFI_FV_FILETYPE_PEI_CORE`.
pub(crate) const PEI_CORE: u8 = 0x04;
/// `EFI_FV_FILETYPE_DXE_CORE`.
pub(crate) const DXE_CORE: u8 = 0x05;
const VOLUME_IMAGE: u8 = 0x0b;
const RAW_FILE: u8 = 0x01;
const PAD_FILE: u8 = 0xf0;

const SECTION_GUIDED: u8 = 0x02;
/// `EFI_SECTION_PE32`.
pub(crate) const SECTION_PE32: u8 = 0x10;
/// `EFI_SECTION_USER_INTERFACE`.
pub(crate) const SECTION_NAME: u8 = 0x15;
const SECTION_VOLUME: u8 = 0x17;

/// The LZMA section of edk2 (`LzmaCustomDecompress`).
const LZMA: Guid = Guid::new(
    0xee4e_5898,
    0x3914,
    0x4259,
    [0x9d, 0x6e, 0xdc, 0x7b, 0xd7, 0x94, 0x03, 0xcf],
);

const CUT: MeasureError = MeasureError::Firmware("a volume, file or section ends early");

/// A firmware volume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Volume<'a> {
    pub(crate) bytes: &'a [u8],
    /// The name in its extended header.
    pub(crate) name: Option<Guid>,
    first_file: usize,
}

/// A file of a volume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File<'a> {
    pub(crate) name: Guid,
    pub(crate) kind: u8,
    /// Where its contents lie in the volume.
    pub(crate) at: usize,
    pub(crate) contents: &'a [u8],
}

/// A section of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section<'a> {
    pub(crate) kind: u8,
    /// Where its contents lie in what was split.
    pub(crate) at: usize,
    pub(crate) contents: &'a [u8],
    /// Header and contents.
    whole: &'a [u8],
}

impl<'a> Volume<'a> {
    /// The volume that begins at `at`, if one does.
    pub(crate) fn at(bytes: &'a [u8], at: usize) -> Option<Self> {
        let rest = bytes.get(at..)?;
        if raw::part(rest, 40, 4)? != b"_FVH" {
            return None;
        }
        let bytes = rest.get(..raw::size64(rest, 32)?)?;
        let header = raw::size16(bytes, 48)?;
        let (name, first_file) = match raw::size16(bytes, 52)? {
            0 => (None, header),
            extended => {
                let size = raw::size32(bytes, extended.checked_add(16)?)?;
                let name = Guid::read(bytes, extended)?;
                (Some(name), extended.checked_add(size)?)
            }
        };
        let first_file = raw::aligned(first_file, 8)?;
        Some(Self {
            bytes,
            name,
            first_file,
        })
    }

    /// All volumes of a flash image, in order.
    pub(crate) fn all(flash: &'a [u8]) -> Vec<Self> {
        const STEP: usize = 4096;
        let (mut found, mut at) = (Vec::new(), 0);
        while at < flash.len() {
            let volume = Self::at(flash, at);
            at += volume.map_or(STEP, |volume| volume.bytes.len().max(STEP));
            found.extend(volume);
        }
        found
    }

    /// Its files, in order.
    pub(crate) fn files(&self) -> Result<Vec<File<'a>>, MeasureError> {
        let (mut files, mut at) = (Vec::new(), self.first_file);
        while let Some(header) = raw::part(self.bytes, at, 24) {
            if header.iter().all(|byte| *byte == 0xff) {
                break;
            }
            if files.len() == MAX_FILES {
                return Err(MeasureError::Firmware("more than 2048 files in a volume"));
            }
            let (file, next) = self.file(at).ok_or(CUT)?;
            files.push(file);
            at = next;
        }
        Ok(files)
    }

    fn file(&self, at: usize) -> Option<(File<'a>, usize)> {
        /// `FFS_ATTRIB_LARGE_FILE`.
        const LARGE: u8 = 0x01;
        let attributes = raw::u8_at(self.bytes, at.checked_add(19)?)?;
        let (header, size) = if attributes & LARGE == 0 {
            (24, raw::size24(self.bytes, at.checked_add(20)?)?)
        } else {
            (32, raw::size64(self.bytes, at.checked_add(24)?)?)
        };
        let whole = raw::part(self.bytes, at, size)?;
        let file = File {
            name: Guid::read(whole, 0)?,
            kind: raw::u8_at(whole, 18)?,
            at: at.checked_add(header)?,
            contents: whole.get(header..)?,
        };
        Some((file, raw::aligned(at.checked_add(size)?, 8)?))
    }

    /// The volumes inside of it, unpacked, in order. One level: what those contain stays closed.
    pub(crate) fn inner(&self) -> Result<Vec<Vec<u8>>, MeasureError> {
        let mut found = Vec::new();
        for file in self.files()? {
            if file.kind != VOLUME_IMAGE {
                continue;
            }
            for section in file.sections()? {
                found.extend(section.volumes()?);
            }
        }
        Ok(found)
    }
}

impl<'a> File<'a> {
    /// Its sections, in order.
    pub(crate) fn sections(&self) -> Result<Vec<Section<'a>>, MeasureError> {
        if matches!(self.kind, RAW_FILE | PAD_FILE) {
            return Ok(Vec::new());
        }
        split(self.contents)
    }
}

fn split(bytes: &[u8]) -> Result<Vec<Section<'_>>, MeasureError> {
    let (mut sections, mut at) = (Vec::new(), 0);
    while bytes.len().saturating_sub(at) >= 4 {
        if sections.len() == MAX_SECTIONS {
            return Err(MeasureError::Firmware("more than 64 sections in a file"));
        }
        let (section, next) = one(bytes, at).ok_or(CUT)?;
        sections.push(section);
        at = next;
    }
    Ok(sections)
}

fn one(bytes: &[u8], at: usize) -> Option<(Section<'_>, usize)> {
    let (header, size) = match raw::size24(bytes, at)? {
        0xff_ffff => (8, raw::size32(bytes, at.checked_add(4)?)?),
        size => (4, size),
    };
    let whole = raw::part(bytes, at, size)?;
    let section = Section {
        kind: raw::u8_at(bytes, at.checked_add(3)?)?,
        at: at.checked_add(header)?,
        contents: whole.get(header..)?,
        whole,
    };
    Some((section, raw::aligned(at.checked_add(size)?, 4)?))
}

impl Section<'_> {
    /// The volumes that this section of a volume image file holds, itself or compressed.
    fn volumes(&self) -> Result<Vec<Vec<u8>>, MeasureError> {
        match self.kind {
            SECTION_VOLUME => Ok(vec![self.contents.to_vec()]),
            SECTION_GUIDED if Guid::read(self.contents, 0) == Some(LZMA) => {
                let offset = raw::size16(self.contents, 16).ok_or(CUT)?;
                let unpacked = unlzma(self.whole.get(offset..).ok_or(CUT)?)?;
                let inner = split(&unpacked)?;
                let volumes = inner
                    .iter()
                    .filter(|section| section.kind == SECTION_VOLUME);
                Ok(volumes.map(|section| section.contents.to_vec()).collect())
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// Unpacks the classic LZMA format: properties, dictionary size, size, stream.
fn unlzma(packed: &[u8]) -> Result<Vec<u8>, MeasureError> {
    const BAD: MeasureError = MeasureError::Firmware("its LZMA section cannot be unpacked");
    let size = raw::size64(packed, 5).ok_or(CUT)?;
    if size > MAX_UNPACKED_BYTES {
        return Err(MeasureError::Firmware(
            "its LZMA section would unpack to more than 64 MiB",
        ));
    }
    let reader =
        lzma_rust2::LzmaReader::new_mem_limit(packed, MAX_DICTIONARY_KIB, None).map_err(|_| BAD)?;
    let mut unpacked = Vec::with_capacity(size);
    let limit = u64::try_from(MAX_UNPACKED_BYTES).unwrap_or(u64::MAX);
    reader
        .take(limit)
        .read_to_end(&mut unpacked)
        .map_err(|_| BAD)?;
    if unpacked.len() != size {
        return Err(BAD);
    }
    Ok(unpacked)
}
