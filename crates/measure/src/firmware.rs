//! What OVMF puts into registers about itself. Its two volumes are measured where they were unpacked
//! to, and the first has been running by then: it has stored the port of the ACPI timer in itself.

use proofroom_verifier::reference::{Hash256, Hash384};

use crate::{
    MeasureError,
    efi::{self, Guid},
    error::at_most,
    raw,
    tdvf::Tdvf,
    volume::{DXE_CORE, File, PEI_CORE, SECTION_NAME, SECTION_PE32, Volume},
};

/// The most bytes of a firmware file that are read.
pub const MAX_FIRMWARE_BYTES: usize = 32 * 1024 * 1024;

/// The PEI module that measures, edk2's `Tcg2Pei`.
const TCG2_PEI: Guid = Guid::new(
    0xa0c9_8b77,
    0xcba5,
    0x4bb8,
    [0x99, 0x3b, 0x4a, 0xf6, 0xce, 0x33, 0xec, 0xe4],
);
/// The boot manager's menu, edk2's `UiApp`.
const UI_APP: Guid = Guid::new(
    0x462c_aa21,
    0x7614,
    0x4503,
    [0x83, 0x6e, 0x8a, 0xb6, 0xf4, 0x66, 0x23, 0x31],
);

/// The port of the ACPI timer on q35: PMBASE 0x600, which OVMF programs, and the timer's offset 8.
const TIMER_PORT: u32 = 0x608;

/// A firmware file, taken apart.
#[derive(Clone, Debug)]
pub struct Firmware<'a> {
    bytes: &'a [u8],
    /// The PEI volume as it is in memory when it is measured.
    pei: Vec<u8>,
    /// The DXE volume.
    dxe: Vec<u8>,
    version: Vec<u8>,
    menu: Vec<u8>,
}

impl<'a> Firmware<'a> {
    /// Takes an `OVMF.fd` of at most [`MAX_FIRMWARE_BYTES`] apart.
    ///
    /// # Errors
    /// `input-too-large`, `firmware-malformed`, or `firmware-unsupported` where a file lacks what the
    /// computation rests on.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MeasureError> {
        at_most("firmware", bytes, MAX_FIRMWARE_BYTES)?;
        let mut inner = Vec::new();
        for volume in Volume::all(bytes) {
            inner.extend(volume.inner()?);
        }
        let pei = with_core(&inner, PEI_CORE)?;
        let dxe = with_core(&inner, DXE_CORE)?;
        Ok(Self {
            version: version(&pei)?,
            menu: menu(&dxe)?,
            pei: after_timer_set(pei.bytes, &pei)?,
            dxe: dxe.bytes.to_vec(),
            bytes,
        })
    }

    /// The file's bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// The version that is measured as `EV_S_CRTM_VERSION`: UTF-16 with its NUL.
    #[must_use]
    pub fn version(&self) -> &[u8] {
        &self.version
    }

    /// The version as text.
    #[must_use]
    pub fn version_text(&self) -> String {
        let units = self.version.chunks_exact(2).map(|pair| match pair {
            [low, high] => u16::from_le_bytes([*low, *high]),
            _ => 0,
        });
        let text: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        String::from_utf16_lossy(&text)
    }

    /// The digests of the PEI volume, then of the DXE volume.
    #[must_use]
    pub fn volumes(&self) -> [(Hash256, Hash384); 2] {
        [&self.pei, &self.dxe].map(|volume| (Hash256::of(volume), Hash384::of(volume)))
    }

    /// The contents of `Boot0000`, which the boot manager makes for its own menu.
    #[must_use]
    pub fn menu_option(&self) -> &[u8] {
        &self.menu
    }

    /// The file as a firmware of a TD.
    ///
    /// # Errors
    /// `tdvf-unusable`.
    pub fn tdvf(&self) -> Result<Tdvf<'a>, MeasureError> {
        Tdvf::parse(self.bytes)
    }
}

/// The one unpacked volume that has a core of `kind`.
fn with_core(inner: &[Vec<u8>], kind: u8) -> Result<Volume<'_>, MeasureError> {
    let mut found = None;
    for bytes in inner {
        let volume = Volume::at(bytes, 0)
            .filter(|volume| volume.bytes.len() == bytes.len())
            .ok_or(MeasureError::Firmware(
                "an unpacked volume has no volume header",
            ))?;
        if !volume.files()?.iter().any(|file| file.kind == kind) {
            continue;
        }
        if found.replace(volume).is_some() {
            return Err(MeasureError::FirmwareUnsupported(
                "two unpacked volumes have a PEI or DXE core",
            ));
        }
    }
    found.ok_or(MeasureError::FirmwareUnsupported(
        "no unpacked volume has a PEI core, or none has a DXE core; use Debian's OVMF.fd",
    ))
}

fn named<'a>(volume: &Volume<'a>, name: Guid) -> Result<Option<File<'a>>, MeasureError> {
    Ok(volume.files()?.into_iter().find(|file| file.name == name))
}

/// The bytes of a file's program, and where they lie in the volume.
fn program<'a>(file: &File<'a>) -> Result<Option<(usize, &'a [u8])>, MeasureError> {
    let sections = file.sections()?;
    let program = sections.iter().find(|section| section.kind == SECTION_PE32);
    Ok(program.map(|section| (file.at + section.at, section.contents)))
}

/// The version string of the firmware: the one text of at least four characters in the measuring
/// module, apart from its own name, which is not inside of its program.
fn version(pei: &Volume<'_>) -> Result<Vec<u8>, MeasureError> {
    const NONE: MeasureError = MeasureError::FirmwareUnsupported(
        "it has no measuring PEI module (Tcg2Pei) with exactly one version text",
    );
    let module = named(pei, TCG2_PEI)?.ok_or(NONE)?;
    let (_, program) = program(&module)?.ok_or(NONE)?;
    let mut texts = wide_texts(program).into_iter();
    match (texts.next(), texts.next()) {
        (Some(text), None) => Ok(text),
        _ => Err(NONE),
    }
}

/// All runs of at least four printable UTF-16 characters that end in NUL, with it.
fn wide_texts(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut texts, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let printable = |pair: &&[u8]| matches!(pair, [0x20..=0x7e, 0]);
        let letters = rest.chunks_exact(2).take_while(printable).count();
        let ends = raw::part(rest, letters * 2, 2) == Some(&[0, 0]);
        if letters >= 4 && ends {
            texts.extend(raw::part(rest, 0, letters * 2 + 2).map(<[u8]>::to_vec));
        }
        at += if letters >= 4 { letters * 2 } else { 1 };
    }
    texts
}

/// `Boot0000`: the menu of the boot manager, in the DXE volume.
fn menu(dxe: &Volume<'_>) -> Result<Vec<u8>, MeasureError> {
    const NONE: MeasureError =
        MeasureError::FirmwareUnsupported("its DXE volume has no named boot menu (UiApp)");
    let file = named(dxe, UI_APP)?.ok_or(NONE)?;
    let sections = file.sections()?;
    let name = sections.iter().find(|section| section.kind == SECTION_NAME);
    let name = name.ok_or(NONE)?.contents;
    Ok(efi::menu_option(dxe.name.ok_or(NONE)?, UI_APP, name))
}

/// The PEI volume after its core has stored the port of the ACPI timer.
///
/// The variable is found by the one instruction of the core that stores the port as a constant (it
/// does so on Cloud Hypervisor, whose port is the same): `mov dword [rip+d], 0x608`, encoded
/// `C7 05 d d d d 08 06 00 00`. On q35 the core computes the same value and stores it there.
fn after_timer_set(bytes: &[u8], pei: &Volume<'_>) -> Result<Vec<u8>, MeasureError> {
    const NONE: MeasureError = MeasureError::FirmwareUnsupported(
        "its PEI core does not store the port of the ACPI timer in the one way that is known",
    );
    let files = pei.files()?;
    let core = files
        .iter()
        .find(|file| file.kind == PEI_CORE)
        .ok_or(NONE)?;
    let (start, program) = program(core)?.ok_or(NONE)?;
    let variable = timer_variable(program).ok_or(NONE)?;
    if raw::u32_at(program, variable) != Some(0) {
        return Err(NONE);
    }
    let mut volume = bytes.to_vec();
    raw::put(&mut volume, start + variable, &TIMER_PORT.to_le_bytes()).ok_or(NONE)?;
    Ok(volume)
}

fn timer_variable(program: &[u8]) -> Option<usize> {
    const LENGTH: usize = 10;
    let stores = program
        .windows(LENGTH)
        .enumerate()
        .filter_map(|(at, code)| {
            let is_store =
                code.starts_with(&[0xc7, 0x05]) && code.ends_with(&TIMER_PORT.to_le_bytes());
            let distance = i32::from_le_bytes(raw::array(code, 2)?);
            let next = at.checked_add(LENGTH)?;
            is_store.then_some((next, isize::try_from(distance).ok()?))
        });
    let mut targets = stores.filter_map(|(next, distance)| next.checked_add_signed(distance));
    match (targets.next(), targets.next()) {
        (Some(target), None) => Some(target),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
