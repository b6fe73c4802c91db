//! Authenticode: what is hashed, what is left out, what is refused.

use proofroom_testkit::image::{KERNEL_SECURITY_ENTRY, kernel, put};
use proofroom_verifier::reference::Hash256;

use super::authenticode;

const KERNEL_CHECKSUM: usize = 0x380 + 24 + 64;
const KERNEL_TEXT: usize = 0x600;

#[test]
fn the_digest_is_that_of_the_parts_in_the_order_of_the_file() {
    let k = kernel();
    let mut parts = k[..KERNEL_CHECKSUM].to_vec();
    parts.extend(&k[KERNEL_CHECKSUM + 4..KERNEL_SECURITY_ENTRY]);
    parts.extend(&k[KERNEL_SECURITY_ENTRY + 8..0x600]);
    parts.extend([0x11; 0x200]);
    parts.extend([0x22; 0x100]);
    parts.extend([0x33; 0x18]);
    assert_eq!(authenticode(&k).expect("good").0, Hash256::of(&parts));
}

#[test]
fn checksum_certificates_and_their_entry_are_left_out_and_nothing_else() {
    let k = kernel();
    let before = authenticode(&k).expect("good");
    for at in 0..k.len() {
        let left_out = (KERNEL_CHECKSUM..KERNEL_CHECKSUM + 4).contains(&at)
            || (KERNEL_SECURITY_ENTRY..KERNEL_SECURITY_ENTRY + 4).contains(&at)
            || at >= k.len() - 8;
        let mut changed = k.clone();
        changed[at] ^= 0x80;
        match authenticode(&changed) {
            Ok(digest) => assert_eq!(digest == before, left_out, "{at:#x}"),
            Err(error) => assert_eq!(error.code(), "pe-malformed", "{at:#x}"),
        }
    }
}

#[test]
fn what_is_not_a_pe_image_is_refused() {
    let code = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut k = kernel();
        change(&mut k);
        authenticode(&k).expect_err("refused").code()
    };
    assert_eq!(code(&|k| k.clear()), "pe-malformed");
    assert_eq!(
        code(&|k| put(k, 0x3c, &u32::MAX.to_le_bytes())),
        "pe-malformed"
    );
    assert_eq!(code(&|k| put(k, 0x380, b"PX")), "pe-malformed");
    assert_eq!(
        code(&|k| put(k, 0x386, &97u16.to_le_bytes())),
        "pe-malformed"
    );
    assert_eq!(
        code(&|k| put(k, KERNEL_CHECKSUM - 4, &0x10u32.to_le_bytes())),
        "pe-malformed"
    );
    assert_eq!(code(&|k| k.truncate(KERNEL_TEXT + 10)), "pe-malformed");
    let certificates = u32::MAX.to_le_bytes();
    assert_eq!(
        code(&|k| put(k, KERNEL_SECURITY_ENTRY + 4, &certificates)),
        "pe-malformed"
    );
}
