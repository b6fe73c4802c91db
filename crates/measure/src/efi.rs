//! GUIDs and the few UEFI structures that are measured: variables and load options.

use std::fmt;

/// A GUID in the byte order of UEFI: the first three groups little-endian.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guid(pub(crate) [u8; 16]);

impl Guid {
    pub(crate) const fn new(a: u32, b: u16, c: u16, d: [u8; 8]) -> Self {
        let ([a0, a1, a2, a3], [b0, b1], [c0, c1]) =
            (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
        let [d0, d1, d2, d3, d4, d5, d6, d7] = d;
        Self([
            a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7,
        ])
    }

    /// The GUID at `at`.
    pub(crate) fn read(bytes: &[u8], at: usize) -> Option<Self> {
        crate::raw::array(bytes, at).map(Self)
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// `EFI_GLOBAL_VARIABLE`.
const GLOBAL_VARIABLE: Guid = Guid::new(
    0x8be4_df61,
    0x93ca,
    0x11d2,
    [0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c],
);
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`.
const IMAGE_SECURITY: Guid = Guid::new(
    0xd719_b2cb,
    0x3d3a,
    0x4596,
    [0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f],
);

/// The variables that say what Secure Boot trusts, in the order in which they are measured.
pub(crate) const SECURE_BOOT: [(Guid, &str); 5] = [
    (GLOBAL_VARIABLE, "SecureBoot"),
    (GLOBAL_VARIABLE, "PK"),
    (GLOBAL_VARIABLE, "KEK"),
    (IMAGE_SECURITY, "db"),
    (IMAGE_SECURITY, "dbx"),
];

/// `UEFI_VARIABLE_DATA` of a variable that does not exist: what is measured for it.
pub(crate) fn absent_variable(vendor: Guid, name: &str) -> Vec<u8> {
    let name = utf16(name);
    let letters = u64::try_from(name.len() / 2).unwrap_or(u64::MAX);
    let mut data = vendor.0.to_vec();
    data.extend(letters.to_le_bytes());
    data.extend([0; 8]);
    data.extend(name);
    data
}

/// `EFI_LOAD_OPTION` of the application `file` in the firmware volume `volume`, as the boot manager
/// registers its own menu: active, hidden, category application.
pub(crate) fn menu_option(volume: Guid, file: Guid, description: &[u8]) -> Vec<u8> {
    /// `LOAD_OPTION_ACTIVE | LOAD_OPTION_HIDDEN | LOAD_OPTION_CATEGORY_APP`.
    const ATTRIBUTES: u32 = 0x109;
    // MEDIA_DEVICE_PATH nodes: firmware volume (7) and firmware file (6), 4 + 16 bytes each.
    let mut path = vec![0x04, 0x07, 20, 0];
    path.extend(volume.0);
    path.extend([0x04, 0x06, 20, 0]);
    path.extend(file.0);
    path.extend([0x7f, 0xff, 4, 0]);
    let length = u16::try_from(path.len()).unwrap_or(u16::MAX);
    let mut option = ATTRIBUTES.to_le_bytes().to_vec();
    option.extend(length.to_le_bytes());
    option.extend(description);
    option.extend(path);
    option
}

/// UTF-16, little-endian, without a final NUL.
pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
