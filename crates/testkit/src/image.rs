//! A synthetic image for tests: the smallest kernel, firmware and ACPI capture that have every
//! part which is measured, each made from its format's description and not from a real file.

use std::{collections::BTreeMap, io::Write as _};

use crate::tee::written;

/// Where the entry that names the certificates of [`kernel`] lies.
pub const KERNEL_SECURITY_ENTRY: usize = 0x380 + 24 + 112 + 32;

/// A bzImage of protocol 2.15 that is a PE32+ image: headers to 0x600, two sections, a tail and
/// eight bytes of certificates.
#[must_use]
pub fn kernel() -> Vec<u8> {
    let mut k = vec![0; 0x600];
    put(&mut k, 0x202, b"HdrS");
    put(&mut k, 0x206, &0x20fu16.to_le_bytes());
    put(&mut k, 0x211, &[1]);
    put(&mut k, 0x22c, &0x7fff_ffffu32.to_le_bytes());
    put(&mut k, 0x236, &0x3fu16.to_le_bytes());
    put(&mut k, 0x238, &2047u32.to_le_bytes());
    put(&mut k, 0x3c, &0x380u32.to_le_bytes());
    let pe = 0x380;
    put(&mut k, pe, b"PE\0\0");
    put(&mut k, pe + 6, &2u16.to_le_bytes());
    put(&mut k, pe + 20, &160u16.to_le_bytes());
    let optional = pe + 24;
    put(&mut k, optional, &0x20bu16.to_le_bytes());
    put(&mut k, optional + 60, &0x600u32.to_le_bytes());
    put(&mut k, optional + 64, &0x1234_5678u32.to_le_bytes());
    put(&mut k, optional + 108, &6u32.to_le_bytes());
    put(&mut k, KERNEL_SECURITY_ENTRY, &0x918u32.to_le_bytes());
    put(&mut k, KERNEL_SECURITY_ENTRY + 4, &8u32.to_le_bytes());
    let table = optional + 160;
    // The second section of the file is the first of the table.
    for (number, (size, start)) in [(0x100u32, 0x800u32), (0x200, 0x600)]
        .into_iter()
        .enumerate()
    {
        put(&mut k, table + 40 * number + 16, &size.to_le_bytes());
        put(&mut k, table + 40 * number + 20, &start.to_le_bytes());
    }
    k.extend([0x11; 0x200]);
    k.extend([0x22; 0x100]);
    k.extend([0x33; 0x18]);
    k.extend([0x44; 8]);
    k
}

/// An initrd of 5000 bytes.
#[must_use]
pub fn initrd() -> Vec<u8> {
    vec![0x55; 5000]
}

/// The captured files of a machine with a TPM.
#[must_use]
pub fn acpi() -> BTreeMap<String, Vec<u8>> {
    let files = ["etc/acpi/rsdp", "etc/tpm/log", "etc/acpi/tables"];
    BTreeMap::from([
        ("table-loader".to_owned(), loader(&files)),
        ("rsdp".to_owned(), vec![1; 20]),
        ("tables".to_owned(), vec![2; 4096]),
        ("tpm-log".to_owned(), vec![0; 512]),
    ])
}

/// The captured files of a machine without one.
#[must_use]
pub fn acpi_of_td() -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([
        (
            "table-loader".to_owned(),
            loader(&["etc/acpi/rsdp", "etc/acpi/tables"]),
        ),
        ("rsdp".to_owned(), vec![1; 20]),
        ("tables".to_owned(), vec![2; 4096]),
    ])
}

/// A loader script that allocates `files`, with a checksum command after each and one left empty.
#[must_use]
pub fn loader(files: &[&str]) -> Vec<u8> {
    let mut script = Vec::new();
    for file in files {
        for command in [1u32, 3] {
            let mut entry = vec![0; 128];
            put(&mut entry, 0, &command.to_le_bytes());
            put(&mut entry, 4, file.as_bytes());
            script.extend(entry);
        }
    }
    script.extend([0; 128]);
    script
}

/// A firmware file: configuration volume, volume with the compressed PEI and DXE volumes, reset
/// code with the TDX metadata and the table of GUIDs.
#[must_use]
pub fn firmware() -> Vec<u8> {
    let mut inner = section(0x17, &pei());
    pad(&mut inner, 4);
    inner.extend(section(0x17, &dxe()));
    firmware_of(&inner)
}

/// The same with other contents of the compressed section.
#[must_use]
pub fn firmware_of(inner: &[u8]) -> Vec<u8> {
    let mut guided = vec![
        0x98, 0x58, 0x4e, 0xee, 0x14, 0x39, 0x59, 0x42, 0x9d, 0x6e, 0xdc, 0x7b, 0xd7, 0x94, 0x03,
        0xcf,
    ];
    guided.extend(24u16.to_le_bytes());
    guided.extend(1u16.to_le_bytes());
    guided.extend(lzma(inner));
    let mut flash = volume(None, &[]);
    flash.resize(4096, 0xff);
    let mut main = volume(None, &[file([7; 16], 0x0b, &section(0x02, &guided))]);
    main.resize(main.len().next_multiple_of(4096), 0xff);
    let length = written(u64::try_from(main.len()));
    put(&mut main, 32, &length.to_le_bytes());
    flash.extend(main);
    flash.extend(reset_code(flash.len()));
    flash
}

fn pei() -> Vec<u8> {
    // `mov dword [rip + 6], 0x608`, six bytes of code, then the variable.
    let mut core = vec![0xc7, 0x05, 6, 0, 0, 0, 0x08, 0x06, 0, 0];
    core.extend([0x90; 6]);
    core.extend([0; 8]);
    let mut measuring = vec![0xcc; 5];
    measuring.extend("1.2-3".encode_utf16().flat_map(u16::to_le_bytes));
    measuring.extend([0, 0]);
    let tcg2 = [
        0x77, 0x8b, 0xc9, 0xa0, 0xa5, 0xcb, 0xb8, 0x4b, 0x99, 0x3b, 0x4a, 0xf6, 0xce, 0x33, 0xec,
        0xe4,
    ];
    volume(
        Some([5; 16]),
        &[
            file([1; 16], 0x04, &section(0x10, &core)),
            file(tcg2, 0x06, &section(0x10, &measuring)),
        ],
    )
}

fn dxe() -> Vec<u8> {
    let menu = [
        0x21, 0xaa, 0x2c, 0x46, 0x14, 0x76, 0x03, 0x45, 0x83, 0x6e, 0x8a, 0xb6, 0xf4, 0x66, 0x23,
        0x31,
    ];
    let name: Vec<u8> = "UiApp\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    volume(
        Some([6; 16]),
        &[
            file([2; 16], 0x05, &section(0x10, &[0xdd; 64])),
            file(menu, 0x09, &section(0x15, &name)),
        ],
    )
}

/// Code at the end of flash: 4096 bytes of code to be measured, metadata, table of GUIDs.
fn reset_code(before: usize) -> Vec<u8> {
    let mut code = vec![0x99; 4096];
    let mut metadata = b"TDVF".to_vec();
    metadata.extend(208u32.to_le_bytes());
    metadata.extend(1u32.to_le_bytes());
    metadata.extend(6u32.to_le_bytes());
    let at = written(u32::try_from(before));
    for (offset, size, address, memory, kind, attributes) in [
        (at, 4096u32, 0xffff_f000u64, 4096u64, 0u32, 1u32),
        (0, 4096, 0xffc0_0000, 4096, 1, 0),
        (0, 0, 0x81_0000, 0x1_0000, 3, 0),
        (0, 0, 0x80_b000, 0x2000, 3, 0),
        (0, 0, 0x80_9000, 0x2000, 2, 0),
        (0, 0, 0x80_0000, 0x6000, 3, 0),
    ] {
        metadata.extend(offset.to_le_bytes());
        metadata.extend(size.to_le_bytes());
        metadata.extend(address.to_le_bytes());
        metadata.extend(memory.to_le_bytes());
        metadata.extend(kind.to_le_bytes());
        metadata.extend(attributes.to_le_bytes());
    }
    put(&mut code, 2048, &metadata);
    let mut table = 2048u32.to_le_bytes().to_vec();
    table.extend(22u16.to_le_bytes());
    table.extend([
        0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47, 0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e,
        0xc2,
    ]);
    table.extend(40u16.to_le_bytes());
    table.extend([
        0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08,
        0x2d,
    ]);
    let end = code.len() - 32;
    put(&mut code, end - table.len(), &table);
    code
}

fn volume(name: Option<[u8; 16]>, files: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0; 72];
    put(&mut bytes, 40, b"_FVH");
    put(&mut bytes, 48, &72u16.to_le_bytes());
    if let Some(name) = name {
        put(&mut bytes, 52, &72u16.to_le_bytes());
        bytes.extend(name);
        bytes.extend(20u32.to_le_bytes());
    }
    for file in files {
        pad(&mut bytes, 8);
        bytes.extend(file);
    }
    pad(&mut bytes, 8);
    bytes.extend([0xff; 24]);
    let length = written(u64::try_from(bytes.len()));
    put(&mut bytes, 32, &length.to_le_bytes());
    bytes
}

fn file(name: [u8; 16], kind: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = name.to_vec();
    bytes.extend([0, 0, kind, 0]);
    bytes.extend(size24(contents.len() + 24));
    bytes.push(0xf8);
    bytes.extend(contents);
    bytes
}

/// A section of a firmware file: its size, its kind, its contents.
#[must_use]
pub fn section(kind: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = size24(contents.len() + 4).to_vec();
    bytes.push(kind);
    bytes.extend(contents);
    bytes
}

fn size24(size: usize) -> [u8; 3] {
    let [a, b, c, d] = written(u32::try_from(size)).to_le_bytes();
    assert_eq!(d, 0);
    [a, b, c]
}

fn lzma(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::LzmaOptions::with_preset(0);
    let size = written(u64::try_from(bytes.len()));
    let mut writer = written(lzma_rust2::LzmaWriter::new_use_header(
        Vec::new(),
        &options,
        Some(size),
    ));
    written(writer.write_all(bytes));
    written(writer.finish())
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0xff);
}

/// Puts `value` at byte `at`, over what is there.
///
/// # Panics
/// Where `bytes` ends before.
#[expect(
    clippy::indexing_slicing,
    reason = "a test double: its caller knows how long the bytes are"
)]
pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}
