//! Reports built by hand, byte by byte, every way to cut or stretch them, and every bit that must be
//! zero; genuine reports where they are at hand.

use super::{
    ChipId, GuestPolicyBit, PlatformBit, SNP_REPORT_BYTES, SNP_SIGNED_BYTES, SigningKey, SnpError,
    SnpProduct, SnpReport, SnpVersion, TcbVersion, VekFacts,
};
use crate::genuine;

/// Byte ranges that must be zero in every version.
const RESERVED: [std::ops::Range<usize>; 7] = [
    0x4c..0x50,
    0x18b..0x1a0,
    0x1eb..0x1ec,
    0x1ef..0x1f0,
    0x208..0x2a0,
    0x2d0..0x2e8,
    0x318..0x4a0,
];

/// A Milan's report whose every free field is filled with bytes of its own.
fn report(version: u8) -> Vec<u8> {
    let mut bytes = vec![0; SNP_REPORT_BYTES];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0x00, &[version]);
    put(0x04, &[7]);
    put(0x08, &[51, 1, 3]);
    put(0x10, &[0x10; 16]);
    put(0x20, &[0x20; 16]);
    put(0x30, &[1]);
    put(0x34, &[1]);
    put(0x38, &[4, 0, 0, 0, 0, 0, 24, 219]);
    put(0x40, &[5]);
    put(0x48, &[1]);
    put(0x50, &[0x50; 64]);
    put(0x90, &[0x90; 48]);
    put(0xc0, &[0xc0; 32]);
    put(0xe0, &[0xe0; 48]);
    put(0x110, &[0x11; 48]);
    put(0x140, &[0x14; 32]);
    put(0x160, &[0xff; 32]);
    put(0x180, &[4, 0, 0, 0, 0, 0, 22, 213]);
    if version > 2 {
        put(0x188, &[0x19, 0x01, 0x01]);
    }
    put(0x1a0, &[0x1a; 64]);
    put(0x1e0, &[4, 0, 0, 0, 0, 0, 23, 214]);
    put(0x1e8, &[29, 55, 1, 0, 28, 54, 1, 0]);
    put(0x1f0, &[4, 0, 0, 0, 0, 0, 23, 215]);
    if version > 3 {
        put(0x1f8, &[0x1f; 16]);
    }
    put(0x2a0, &[0x2a; 48]);
    put(0x2e8, &[0x2e; 48]);
    bytes
}

fn turin() -> Vec<u8> {
    let mut bytes = report(5);
    for at in [0x38, 0x180, 0x1e0, 0x1f0] {
        bytes[at..at + 8].copy_from_slice(&[1, 2, 3, 4, 0, 0, 0, 5]);
    }
    bytes[0x188..0x18b].copy_from_slice(&[0x1a, 0x02, 0x01]);
    bytes[0x1a8..0x1e0].fill(0);
    bytes
}

#[track_caller]
fn refused(bytes: &[u8], code: &str) {
    assert_eq!(SnpReport::parse(bytes).unwrap_err().code(), code);
}

#[test]
fn every_field_is_where_the_specification_has_it() {
    let parsed = SnpReport::parse(&report(5)).unwrap();
    let claims = parsed.claims();
    assert_eq!(parsed.version(), SnpVersion::V5);
    assert_eq!(parsed.product(), Some(SnpProduct::Milan));
    assert_eq!(claims.guest_svn, 7);
    assert_eq!(claims.policy.min_abi(), (1, 51));
    assert!(claims.policy.has(GuestPolicyBit::Smt));
    assert!(!claims.policy.has(GuestPolicyBit::Debug));
    assert_eq!(claims.family_id, [0x10; 16]);
    assert_eq!(claims.image_id, [0x20; 16]);
    assert_eq!(claims.vmpl, 1);
    assert!(claims.platform.has(PlatformBit::EccEn));
    assert!(!claims.platform.has(PlatformBit::TsmeEn));
    assert!(claims.author_key_enabled && !claims.chip_key_masked);
    assert_eq!(claims.signing_key, SigningKey::Vcek);
    assert_eq!(claims.report_data, [0x50; 64]);
    assert_eq!(claims.measurement.repeated_byte(), Some(0x90));
    assert_eq!(claims.host_data, [0xc0; 32]);
    assert_eq!(claims.id_key_digest.repeated_byte(), Some(0xe0));
    assert_eq!(claims.author_key_digest.repeated_byte(), Some(0x11));
    assert_eq!(claims.report_id, [0x14; 32]);
    assert!(!claims.has_migration_agent());
    assert_eq!(claims.chip_id, ChipId::from_bytes([0x1a; 64]));
    let microcode = |tcb: TcbVersion| tcb.parts(SnpProduct::Milan).unwrap().microcode;
    assert_eq!(microcode(claims.current_tcb), 219);
    assert_eq!(microcode(claims.reported_tcb), 213);
    assert_eq!(microcode(claims.committed_tcb), 214);
    assert_eq!(microcode(claims.launch_tcb), 215);
    let (current, committed) = (claims.current_version, claims.committed_version);
    assert_eq!((current.major, current.minor, current.build), (1, 55, 29));
    assert_eq!(
        (committed.major, committed.minor, committed.build),
        (1, 54, 28)
    );
    assert_eq!(claims.mitigations.unwrap().launch, 0x1f1f_1f1f_1f1f_1f1f);
    assert_eq!(parsed.signature()[..48], [0x2a; 48]);
    assert_eq!(parsed.signature()[48..], [0x2e; 48]);
    assert_eq!(parsed.signed(), &report(5)[..SNP_SIGNED_BYTES]);
}

#[test]
fn signature_numbers_are_turned_to_big_endian() {
    let mut bytes = report(3);
    bytes[0x2a0] = 1;
    bytes[0x2e8 + 47] = 2;
    let parsed = SnpReport::parse(&bytes).unwrap();
    assert_eq!(parsed.signature()[47], 1);
    assert_eq!(parsed.signature()[48], 2);
}

#[test]
fn versions_two_to_five_are_read_and_no_other() {
    for (number, version) in [
        (2, SnpVersion::V2),
        (3, SnpVersion::V3),
        (4, SnpVersion::V4),
        (5, SnpVersion::V5),
    ] {
        let parsed = SnpReport::parse(&report(number)).unwrap();
        assert_eq!(parsed.version(), version);
        assert_eq!(parsed.claims().cpu.is_some(), number > 2);
        assert_eq!(parsed.claims().mitigations.is_some(), number > 3);
    }
    for number in [0, 1, 6, 255] {
        refused(&report(number), "snp-version");
    }
    let mut wide = report(3);
    wide[1] = 1;
    refused(&wide, "snp-version");
}

#[test]
fn every_truncation_and_every_extension_is_refused() {
    for version in 2..=5 {
        let whole = report(version);
        for end in 0..whole.len() {
            refused(&whole[..end], "snp-truncated");
        }
        let mut longer = whole.clone();
        longer.push(0);
        refused(&longer, "snp-trailing-bytes");
    }
    refused(&vec![0; 1 << 20], "snp-trailing-bytes");
}

#[test]
fn every_bit_that_must_be_zero_is_looked_at() {
    for version in 2..=5 {
        let whole = report(version);
        let mut reserved: Vec<usize> = RESERVED.into_iter().flatten().collect();
        if version == 2 {
            reserved.extend(0x188..0x18b);
        }
        if version < 4 {
            reserved.extend(0x1f8..0x208);
        }
        for at in reserved {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                let code = if at < SNP_SIGNED_BYTES {
                    "snp-reserved"
                } else {
                    "snp-signature-encoding"
                };
                refused(&changed, code);
            }
        }
    }
}

#[test]
fn reserved_bits_of_policy_platform_and_flags_are_refused() {
    let flip = |version: u8, at: usize, bit: usize| {
        let mut changed = report(version);
        changed[at + bit / 8] ^= 1 << (bit % 8);
        SnpReport::parse(&changed)
    };
    for bit in (26..64).chain([17]) {
        assert_eq!(
            flip(3, 0x08, bit),
            Err(SnpError::Reserved("POLICY")),
            "{bit}"
        );
    }
    for bit in (0..26).filter(|bit| *bit != 17) {
        flip(3, 0x08, bit).unwrap();
    }
    for bit in 0..64 {
        let wanted = Err(SnpError::Reserved("PLATFORM_INFO"));
        assert_eq!(flip(2, 0x40, bit) == wanted, bit > 4, "{bit}");
        assert_eq!(flip(5, 0x40, bit) == wanted, bit > 7, "{bit}");
    }
    for bit in 5..32 {
        assert_eq!(
            flip(3, 0x48, bit),
            Err(SnpError::Reserved("key flags")),
            "{bit}"
        );
    }
}

#[test]
fn other_algorithms_levels_keys_and_processors_are_refused() {
    let with = |at: usize, value: u8| {
        let mut changed = report(3);
        changed[at] = value;
        changed
    };
    for algorithm in [0, 2, 255] {
        refused(&with(0x34, algorithm), "snp-algorithm");
    }
    refused(&with(0x30, 4), "snp-vmpl");
    let mut host = report(3);
    host[0x30..0x34].fill(0xff);
    refused(&host, "snp-vmpl");
    for key in 2..7 {
        refused(&with(0x48, key << 2), "snp-signing-key");
    }
    for (key, kind) in [
        (0, SigningKey::Vcek),
        (1, SigningKey::Vlek),
        (7, SigningKey::None),
    ] {
        let parsed = SnpReport::parse(&with(0x48, key << 2)).unwrap();
        assert_eq!(parsed.claims().signing_key, kind);
    }
    refused(&with(0x188, 0x17), "snp-processor");
    refused(&with(0x189, 0x20), "snp-processor");
    refused(&with(0x188, 0x1b), "snp-processor");
    let genoa = SnpReport::parse(&with(0x189, 0xa0)).unwrap();
    assert_eq!(genoa.product(), Some(SnpProduct::Genoa));
}

#[test]
fn turin_has_its_own_layout() {
    let parsed = SnpReport::parse(&turin()).unwrap();
    assert_eq!(parsed.product(), Some(SnpProduct::Turin));
    let tcb = parsed
        .claims()
        .reported_tcb
        .parts(SnpProduct::Turin)
        .unwrap();
    assert_eq!(
        (tcb.fmc, tcb.boot_loader, tcb.tee, tcb.snp, tcb.microcode),
        (Some(1), 2, 3, 4, 5)
    );
    for at in [0x38, 0x180, 0x1e0, 0x1f0] {
        for unused in 4..7 {
            let mut changed = turin();
            changed[at + unused] = 1;
            refused(&changed, "snp-reserved");
        }
        for unused in 2..6 {
            let mut changed = report(3);
            changed[at + unused] = 1;
            refused(&changed, "snp-reserved");
        }
    }
    let mut changed = turin();
    changed[0x1df] = 1;
    refused(&changed, "snp-reserved");
}

#[test]
fn a_tcb_reaches_a_minimum_part_by_part() {
    let parts = |bytes| {
        TcbVersion::from_bytes(bytes)
            .parts(SnpProduct::Turin)
            .unwrap()
    };
    let minimum = parts([1, 2, 3, 4, 0, 0, 0, 5]);
    assert!(minimum.reaches(&minimum));
    assert!(parts([9, 9, 9, 9, 0, 0, 0, 9]).reaches(&minimum));
    for part in [0, 1, 2, 3, 7] {
        let mut lower = [9, 9, 9, 9, 0, 0, 0, 9];
        lower[part] = 0;
        assert!(!parts(lower).reaches(&minimum), "{part}");
    }
}

#[test]
fn identity_covers_the_signed_part_alone() {
    let whole = report(5);
    let identity = SnpReport::parse(&whole).unwrap().identity();
    for at in (0x2a0..0x2d0).chain(0x2e8..0x318) {
        let mut behind = whole.clone();
        behind[at] ^= 1;
        assert_eq!(SnpReport::parse(&behind).unwrap().identity(), identity);
    }
    for at in [0x04, 0x50, 0x90, 0x1f8, 0x207] {
        let mut inside = whole.clone();
        inside[at] ^= 1;
        assert_ne!(SnpReport::parse(&inside).unwrap().identity(), identity);
    }
}

#[test]
fn genuine_reports_and_certificates_are_read() {
    if let Some(bytes) = genuine::read("trustee/snp/test-report.bin") {
        let parsed = SnpReport::parse(&bytes).unwrap();
        assert_eq!(parsed.version(), SnpVersion::V2);
        assert_eq!(parsed.product(), None);
        let tcb = parsed
            .claims()
            .reported_tcb
            .parts(SnpProduct::Milan)
            .unwrap();
        assert_eq!((tcb.boot_loader, tcb.snp, tcb.microcode), (3, 8, 115));
        if let Some(leaf) = genuine::read("trustee/snp/test-vcek.der") {
            let facts = VekFacts::parse(&leaf).unwrap();
            assert_eq!((facts.product, facts.tcb), (SnpProduct::Milan, tcb));
            assert_eq!(facts.kind(), SigningKey::Vcek);
            let chip = parsed.claims().chip_id;
            assert_eq!(facts.hardware_id.as_deref(), Some(&chip.as_bytes()[..]));
        }
    }
    let dstack = "dstack/dstack-attest_tests_sev_snp_attestation.bin";
    if let Some(bytes) = genuine::read(dstack) {
        let parsed = SnpReport::parse(&bytes[4..4 + SNP_REPORT_BYTES]).unwrap();
        assert_eq!(parsed.version(), SnpVersion::V3);
        assert_eq!(parsed.product(), Some(SnpProduct::Milan));
        assert!(
            parsed
                .claims()
                .report_data
                .starts_with(b"attest-test-fixture-2026\0")
        );
    }
}

#[test]
fn certificates_are_refused_at_every_truncation() {
    let Some(leaf) = genuine::read("trustee/snp/test-vcek.der") else {
        return;
    };
    for end in 0..leaf.len() {
        assert_eq!(VekFacts::parse(&leaf[..end]), Err(SnpError::VekCertificate));
    }
    assert_eq!(
        VekFacts::parse(&vec![0x30; 9000]),
        Err(SnpError::VekCertificate)
    );
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, SNP_REPORT_BYTES)) {
        proptest::prop_assert!(SnpReport::parse(&bytes).is_err());
    }
}
