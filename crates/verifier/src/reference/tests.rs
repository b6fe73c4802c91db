//! Reference manifests: what is refused, and that registers are the sum of their events.

use proofroom_canonical::Digest;

use super::{
    Component, Hash256, Hash384, Reference, ReferenceEvent, ReferenceLayer, ReferenceManifest,
    Shape, TdxReference, fold_pcrs, fold_rtmrs, rtmr_of,
};

fn event(pcr: u32, content: &[u8]) -> ReferenceEvent {
    ReferenceEvent {
        pcr,
        rtmr: rtmr_of(pcr),
        kind: "EV_SEPARATOR".to_owned(),
        sha256: Hash256::of(content),
        sha384: Hash384::of(content),
        what: "separator".to_owned(),
    }
}

pub(super) fn sample() -> Reference {
    let events = vec![
        event(4, b"kernel"),
        event(9, b"command line"),
        event(9, b"initrd"),
    ];
    let [rtmr0, rtmr1, rtmr2] = fold_rtmrs(&events);
    Reference {
        format: super::REFERENCE_FORMAT.to_owned(),
        image: Digest::of("image"),
        command_line: "quiet".to_owned(),
        shape: Shape {
            vcpus: 1,
            memory_mib: 1024,
            qemu: "7.2.22".to_owned(),
        },
        components: vec![Component {
            name: "kernel".to_owned(),
            sha256: Hash256::of(b"kernel"),
            bytes: 6,
        }],
        tpm2: fold_pcrs(&events),
        tdx: TdxReference::Computed {
            mrtd: Hash384::of(b"firmware"),
            rtmr0,
            rtmr1,
            rtmr2,
            events: events.clone(),
        },
        events,
        layers: vec![ReferenceLayer {
            name: "git".to_owned(),
            root: Hash256::of(b"root"),
            image: Hash256::of(b"layer"),
        }],
    }
}

#[test]
fn a_manifest_is_read_back_as_it_was_written() {
    let written = ReferenceManifest::new(sample()).expect("a good manifest");
    let read = ReferenceManifest::parse(written.bytes()).expect("its own bytes");
    assert_eq!(read, written);
    assert_eq!(read.digest(), Digest::of(written.bytes()));
}

#[test]
fn a_register_is_extended_as_a_tpm_does_it() {
    // SHA-256 of 32 zero bytes and the digest of the four zero bytes of a separator: the value of
    // an untouched PCR 2 in every capture of this firmware.
    let separator = fold_pcrs(&[event(2, &[0; 4])]);
    assert_eq!(
        separator.sha256[&2].to_string(),
        "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"
    );
    assert_eq!(
        separator.sha384[&2].to_string(),
        "518923b0f955d08da077c96aaba522b9decede61c599cea6c41889cfbea4ae4d50529d96fe4d1afdafb65e7f95bf23c4"
    );
}

fn code(bytes: &[u8]) -> &'static str {
    ReferenceManifest::parse(bytes)
        .expect_err("must be refused")
        .code()
}

#[test]
fn what_is_not_a_manifest_is_refused_by_name() {
    let good = String::from_utf8(
        ReferenceManifest::new(sample())
            .expect("good")
            .bytes()
            .to_vec(),
    )
    .expect("text");
    let with = |from: &str, to: &str| {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        code(changed.as_bytes())
    };
    assert_eq!(code(b""), "reference-malformed");
    assert_eq!(
        code(&vec![b' '; super::MAX_REFERENCE_BYTES + 1]),
        "reference-malformed"
    );
    assert_eq!(
        code(format!("{good}\n").as_bytes()),
        "reference-not-canonical"
    );
    assert_eq!(with("reference.v1", "reference.v2"), "reference-format");
    assert_eq!(
        with("{\"format\"", "{\"more\":1,\"format\""),
        "reference-malformed"
    );
    assert_eq!(
        with(
            "\"state\":\"computed\"",
            "\"state\":\"computed\",\"more\":1"
        ),
        "reference-malformed"
    );
    assert_eq!(
        with("\"pcr\":4,\"rtmr\":1", "\"pcr\":4,\"rtmr\":2"),
        "reference-member"
    );
    assert_eq!(
        with("\"pcr\":4,\"rtmr\":1", "\"pcr\":16,\"rtmr\":null"),
        "reference-member"
    );
    assert_eq!(
        with("\"pcr\":4,\"rtmr\":1", "\"pcr\":5,\"rtmr\":1"),
        "reference-fold"
    );
    assert_eq!(with("{\"0\":", "{\"00\":"), "reference-not-canonical");
    assert_eq!(with("{\"0\":", "{\"16\":"), "reference-fold");
}

#[test]
fn a_changed_register_is_not_the_sum_of_the_events() {
    for change in [
        |r: &mut Reference| r.tpm2.sha256.extend([(8, Hash256::of(b"x"))]),
        |r: &mut Reference| r.tpm2.sha384.retain(|pcr, _| *pcr != 14),
        |r: &mut Reference| r.tpm2.sha384.extend([(15, Hash384::ZERO)]),
        |r: &mut Reference| r.events.truncate(1),
        |r: &mut Reference| {
            if let TdxReference::Computed { rtmr0, .. } = &mut r.tdx {
                *rtmr0 = Hash384::of(b"x");
            }
        },
    ] {
        let mut changed = sample();
        change(&mut changed);
        let refused = ReferenceManifest::new(changed).expect_err("not the sum");
        assert_eq!(refused.code(), "reference-fold");
    }
}

#[test]
fn a_manifest_that_proves_nothing_is_refused() {
    let mut empty = sample();
    empty.events.clear();
    empty.tpm2 = fold_pcrs(&[]);
    assert_eq!(
        ReferenceManifest::new(empty).expect_err("no event").code(),
        "reference-member"
    );
    let mut silent = sample();
    silent.tdx = TdxReference::NotComputed {
        reason: String::new(),
    };
    assert_eq!(
        ReferenceManifest::new(silent)
            .expect_err("no reason")
            .code(),
        "reference-member"
    );
}
