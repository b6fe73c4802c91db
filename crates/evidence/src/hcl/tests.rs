//! Reports of Azure's paravisor: what is read, and what is refused by name.

use super::{HclError, HclReport, HclTee, REQUEST_BYTES};

const RUNTIME: &str =
    r#"{"keys":[{"kid":"HCLAkPub","kty":"RSA","e":"AQAB","n":"MODULUS"}],"user-data":""}"#;

fn runtime(modulus: usize) -> String {
    RUNTIME.replace("MODULUS", &"q".repeat(modulus * 4 / 3))
}

fn report(kind: u32, hash: u32, runtime: &str) -> Vec<u8> {
    let size = u32::try_from(runtime.len()).unwrap();
    let mut bytes = b"HCLA".to_vec();
    bytes.resize(32 + 1184, 0);
    let whole = size + u32::try_from(REQUEST_BYTES).unwrap();
    for word in [whole, 1, kind, hash, size] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend_from_slice(runtime.as_bytes());
    bytes
}

#[track_caller]
fn refused(bytes: &[u8], code: &str) {
    assert_eq!(HclReport::parse(bytes).unwrap_err().code(), code);
}

#[test]
fn a_report_of_either_kind_is_read() {
    for (kind, tee, size) in [(2, HclTee::Snp, 1184), (4, HclTee::Tdx, 1024)] {
        let mut bytes = report(kind, 1, &runtime(258));
        bytes.extend([0; 100]);
        let read = HclReport::parse(&bytes).unwrap();
        assert_eq!((read.tee(), read.hardware().len()), (tee, size));
        assert_eq!(read.key().exponent, [1, 0, 1]);
        assert_ne!(read.report_data()[..32], [0; 32]);
        assert_eq!(read.report_data()[32..], [0; 32]);
    }
}

#[test]
fn what_is_none_is_refused_by_name() {
    let good = report(4, 1, &runtime(258));
    for end in 0..good.len() {
        assert!(HclReport::parse(&good[..end]).is_err(), "{end}");
    }
    refused(&[b"X", &good[1..]].concat(), "hcl-malformed");
    refused(&[&good[..], b"x"].concat(), "hcl-malformed");
    refused(&vec![0; super::MAX_HCL_BYTES + 1], "hcl-malformed");
    let mut behind = good.clone();
    behind[32 + 1100] = 1;
    refused(&behind, "hcl-malformed");
    refused(&report(3, 1, &runtime(258)), "hcl-unsupported");
    refused(&report(4, 2, &runtime(258)), "hcl-unsupported");
    refused(&report(4, 1, "{"), "hcl-runtime-malformed");
    refused(&report(4, 1, "{}"), "hcl-key");
    refused(&report(4, 1, &runtime(129)), "hcl-key");
    refused(&report(4, 1, &runtime(258).replace("RSA", "EC")), "hcl-key");
    let twice = runtime(258).replace("[{", r#"[{"kid":"HCLAkPub"},{"#);
    assert_eq!(HclReport::parse(&report(4, 1, &twice)), Err(HclError::Key));
}

#[test]
fn a_genuine_report_names_its_key_and_its_td_quote_carries_its_digest() {
    let genuine = |name: &str| crate::genuine::read(&format!("trustee/az-tdx-vtpm/{name}"));
    let (Some(report), Some(quote)) = (genuine("hcl-report.bin"), genuine("td-quote.bin")) else {
        return;
    };
    let report = HclReport::parse(&report).unwrap();
    assert_eq!(report.tee(), HclTee::Tdx);
    assert_eq!(report.key().modulus.len(), 256);
    let quote = crate::Quote::parse(&quote).unwrap();
    assert_eq!(quote.claims().report_data, report.report_data());
    // The TDREPORT within has it at the same place as every TDREPORT (REPORTMACSTRUCT, offset 128).
    assert_eq!(report.hardware()[128..192], report.report_data());
}
