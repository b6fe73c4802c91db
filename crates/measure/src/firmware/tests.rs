//! Firmware taken apart, and what is refused.

use proofroom_testkit::image::{firmware, firmware_of, section};
use proofroom_verifier::reference::Hash256;

use super::Firmware;

#[test]
fn version_volumes_and_menu_come_from_the_file() {
    let file = firmware();
    let parsed = Firmware::parse(&file).expect("good");
    assert_eq!(parsed.version_text(), "1.2-3");
    assert_eq!(parsed.version().len(), 12);
    let menu = parsed.menu_option();
    // Attributes, length of the path, description, then the path of 44 bytes.
    assert_eq!(menu.len(), 4 + 2 + 12 + 44);
    assert!(menu.starts_with(&[0x09, 0x01, 0, 0, 0x2c, 0, b'U', 0]));
    assert!(menu.ends_with(&[0x7f, 0xff, 4, 0]));
}

#[test]
fn the_pei_volume_is_measured_with_the_timers_port_stored_in_it() {
    let file = firmware();
    let parsed = Firmware::parse(&file).expect("good");
    let [(pei, _), _] = parsed.volumes();
    let port = [0x90, 0x90, 0x08, 0x06, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        parsed
            .pei
            .windows(10)
            .filter(|window| *window == port)
            .count(),
        1
    );
    assert_eq!(pei, Hash256::of(&parsed.pei));
}

#[test]
fn a_firmware_that_lacks_a_part_is_refused() {
    let code = |file: &[u8]| Firmware::parse(file).expect_err("refused").code();
    assert_eq!(code(&[]), "firmware-unsupported");
    assert_eq!(code(&vec![0xff; 8192]), "firmware-unsupported");
    assert_eq!(code(&firmware_of(&[])), "firmware-unsupported");
    assert_eq!(
        code(&firmware_of(&section(0x17, &[0; 100]))),
        "firmware-malformed"
    );
    let mut cut = firmware();
    cut.truncate(4096 + 100);
    assert_eq!(code(&cut), "firmware-unsupported");
    assert_eq!(
        code(&vec![0; super::MAX_FIRMWARE_BYTES + 1]),
        "input-too-large"
    );
}

#[test]
fn a_section_that_claims_to_unpack_to_too_much_is_refused_before_it_is_unpacked() {
    let mut file = firmware();
    let lzma = [0x98, 0x58, 0x4e, 0xee];
    let at = file
        .windows(4)
        .position(|window| window == lzma)
        .expect("there")
        + 20;
    file[at + 5..at + 13].copy_from_slice(&u64::from(u32::MAX).to_le_bytes());
    assert_eq!(
        Firmware::parse(&file).expect_err("refused").code(),
        "firmware-malformed"
    );
}

#[test]
fn no_changed_byte_makes_the_parser_panic() {
    let file = firmware();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0xff;
        // Either is right; that it returns is the fact.
        drop(Firmware::parse(&changed).map(|parsed| parsed.tdvf().is_ok()));
    }
}
