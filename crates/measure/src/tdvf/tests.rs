//! TDX metadata, MRTD and the hand-off block.

use proofroom_testkit::image::{firmware, put};
use proofroom_verifier::reference::Hash384;
use sha2::{Digest as _, Sha384};

use super::{PageOrder, Tdvf};
use crate::boot::Machine;

#[test]
fn mrtd_is_the_hash_of_the_records_that_the_tdx_module_hashes() {
    let file = firmware();
    let record = |name: &[u8], address: u64| {
        let mut record = vec![0; 128];
        put(&mut record, 0, name);
        put(&mut record, 16, &address.to_le_bytes());
        record
    };
    let mut mrtd = Sha384::new();
    // The measured page, then the pages that are only added: configuration, temporary memory.
    mrtd.update(record(b"MEM.PAGE.ADD", 0xffff_f000));
    for chunk in 0..16 {
        mrtd.update(record(b"MR.EXTEND", 0xffff_f000 + 256 * chunk));
        let at = file.len() - 4096 + 256 * usize::try_from(chunk).expect("small");
        mrtd.update(&file[at..at + 256]);
    }
    for (start, pages) in [
        (0xffc0_0000u64, 1),
        (0x81_0000, 16),
        (0x80_b000, 2),
        (0x80_9000, 2),
        (0x80_0000, 6),
    ] {
        for page in 0..pages {
            mrtd.update(record(b"MEM.PAGE.ADD", start + 4096 * page));
        }
    }
    let want = Hash384::from_bytes(mrtd.finalize().into());
    assert_eq!(
        Tdvf::parse(&file)
            .expect("good")
            .mrtd(PageOrder::SinglePass),
        want
    );
}

#[test]
fn the_hand_off_block_is_the_one_that_genuine_tds_measured() {
    // First events of RTMR0 of two TDs whose quotes Intel's root signs: 64 GiB under QEMU 9.2, 16 GiB
    // under QEMU 8.2. Their firmware's temporary memory lies where the synthetic firmware's does.
    let file = firmware();
    let tdvf = Tdvf::parse(&file).expect("good");
    for (mib, measured) in [
        (
            65536,
            "8ae1e425351df7992c444586eff99d35af3b779aa2b0e981cb4b73bc5b279f2ade19b6a62a203fc3c3bbdaae80af596d",
        ),
        (
            16384,
            "cd2312a0d87ef3c4a928df87088969a80b33d7bf3fc584bdde637b09ed808a8d821a56b78a13a6eb506db7578444abbe",
        ),
    ] {
        let machine = Machine::new(mib, "9.2.1").expect("good");
        let block = tdvf.hand_off_block(&machine).expect("good");
        assert_eq!(Hash384::of(&block).to_string(), measured, "{mib}");
    }
}

#[test]
fn a_firmware_that_cannot_start_a_td_is_refused() {
    let code = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = firmware();
        change(&mut file);
        Tdvf::parse(&file).expect_err("refused").code()
    };
    let end = firmware().len();
    let metadata = end - 2048;
    assert_eq!(code(&|f| f.clear()), "tdvf-unusable");
    assert_eq!(code(&|f| f[end - 40] ^= 1), "tdvf-unusable");
    assert_eq!(code(&|f| put(f, metadata, b"TDVX")), "tdvf-unusable");
    assert_eq!(
        code(&|f| put(f, metadata + 8, &2u32.to_le_bytes())),
        "tdvf-unusable"
    );
    assert_eq!(
        code(&|f| put(f, metadata + 12, &65u32.to_le_bytes())),
        "tdvf-unusable"
    );
    // The first section: outside of the file, not whole pages, more of file than of memory.
    assert_eq!(
        code(&|f| put(f, metadata + 16, &u32::MAX.to_le_bytes())),
        "tdvf-unusable"
    );
    assert_eq!(
        code(&|f| put(f, metadata + 24, &1u64.to_le_bytes())),
        "tdvf-unusable"
    );
    assert_eq!(
        code(&|f| put(f, metadata + 32, &0u64.to_le_bytes())),
        "tdvf-unusable"
    );
    assert_eq!(
        code(&|f| put(f, metadata + 32, &(1u64 << 40).to_le_bytes())),
        "tdvf-unusable"
    );
}

#[test]
fn sections_that_overlap_have_no_hand_off_block() {
    let mut file = firmware();
    let third = file.len() - 2048 + 16 + 32 * 2;
    put(&mut file, third + 8, &0x80_0000u64.to_le_bytes());
    let tdvf = Tdvf::parse(&file).expect("well-formed");
    let refused = tdvf
        .hand_off_block(&Machine::new(1024, "9.2.1").expect("good"))
        .expect_err("overlap");
    assert_eq!(refused.code(), "tdvf-unusable");
}
