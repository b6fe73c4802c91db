//! Guests behind Azure's paravisor.

use super::{
    AZURE_SNP, AZURE_TDX, Base64, Beside, Kit, NONCE, OTHER_SEED, Row, SimulatedParavisor,
    SimulatedTee, VtpmDocument, VtpmGuest,
};

/// Where runtime data begin in the report: header, hardware's report, request.
const RUNTIME: usize = 32 + 1184 + 20;

fn document(kit: &Kit) -> VtpmDocument {
    of(kit, &kit.paravisor, NONCE.as_bytes())
}

fn of(kit: &Kit, paravisor: &SimulatedParavisor, nonce: &[u8]) -> VtpmDocument {
    let guest = VtpmGuest::Azure {
        hcl_report: Base64(paravisor.hcl_report(AZURE_TDX, &[])),
    };
    let td_quote = SimulatedTee::demo().quote(&kit.guest.plan.td, kit.paravisor.report_data());
    let quote = paravisor.quote(nonce);
    VtpmDocument::new(guest, quote, paravisor.pcrs, Some(td_quote))
}

/// A document whose paravisor's report was edited.
fn hcl(kit: &Kit, edit: fn(&mut Vec<u8>)) -> VtpmDocument {
    let mut document = document(kit);
    if let VtpmGuest::Azure { hcl_report } = &mut document.guest {
        edit(&mut hcl_report.0);
    }
    document
}

fn set(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

fn snp(kit: &Kit, paravisor: &SimulatedParavisor) -> VtpmDocument {
    let report = kit.snp(kit.paravisor.report_data()).report;
    let guest = VtpmGuest::Azure {
        hcl_report: Base64(paravisor.hcl_report(AZURE_SNP, &report)),
    };
    let quote = paravisor.quote(NONCE.as_bytes());
    VtpmDocument::new(guest, quote, paravisor.pcrs, None)
}

pub(super) fn rows(kit: &Kit) -> Vec<Row> {
    let mut rows = of_tdx(kit);
    rows.extend(of_snp(kit));
    rows
}

#[rustfmt::skip]
fn of_tdx(kit: &Kit) -> Vec<Row> {
    let other = SimulatedParavisor::from_seed(OTHER_SEED);
    let fails = |name, title, change, check, code, document: &VtpmDocument| Row::new(name, title, change, Some((check, code)), document);
    let changed = |name, title, change, check, code, edit: fn(&mut VtpmDocument)| {
        let mut document = document(kit);
        edit(&mut document);
        fails(name, title, change, check, code, &document)
    };
    let td = |edit: fn(&mut proofroom_testkit::tee::SimulatedTd)| {
        let mut td = kit.guest.plan.td;
        edit(&mut td);
        let mut document = document(kit);
        document.td_quote = Some(Base64(SimulatedTee::demo().quote(&td, kit.paravisor.report_data())));
        document
    };
    let mut signed_by_another = document(kit);
    let (quote, signature) = other.quote(NONCE.as_bytes());
    (signed_by_another.quote, signed_by_another.signature) = (Base64(quote), Base64(signature));
    let mut fewer = document(kit);
    if let Some(at) = fewer.quote.0.windows(3).position(|bytes| bytes == [0xff; 3]) {
        set(&mut fewer.quote.0, at, 0);
    }
    fewer.signature = Base64(kit.paravisor.sign(&fewer.quote.0));
    let mut booted = SimulatedParavisor::from_seed(super::SEED);
    booted.pcrs.swap(4, 5);
    let rows = vec![
        Row::new("azure-tdx-accepted", "A TD behind Azure's paravisor that is in order", "", None, &document(kit)),
        fails("azure-hcl-mark", "No report of a paravisor", "first byte", "hcl-parse", "hcl-malformed", &hcl(kit, |hcl| set(hcl, 0, 0))),
        fails("azure-hcl-cut", "A report that was cut", "in the runtime data", "hcl-parse", "hcl-malformed", &hcl(kit, |hcl| hcl.truncate(RUNTIME + 9))),
        fails("azure-hcl-trailing", "Something behind the runtime data", "a byte added", "hcl-parse", "hcl-malformed", &hcl(kit, |hcl| hcl.push(1))),
        fails("azure-hcl-hardware", "Hardware that nobody knows", "kind 3", "hcl-parse", "hcl-unsupported", &hcl(kit, |hcl| set(hcl, RUNTIME - 12, 3))),
        fails("azure-hcl-digest", "Another digest than SHA-256", "digest 2", "hcl-parse", "hcl-unsupported", &hcl(kit, |hcl| set(hcl, RUNTIME - 8, 2))),
        fails("azure-runtime-no-json", "Runtime data that are no JSON", "first byte", "hcl-parse", "hcl-runtime-malformed", &hcl(kit, |hcl| set(hcl, RUNTIME, b'['))),
        fails("azure-runtime-no-key", "Runtime data without an attestation key", "another kid", "hcl-parse", "hcl-key", &hcl(kit, |hcl| set(hcl, RUNTIME + 20, b'X'))),
        fails("azure-other-hardware", "An SNP guest under a policy for TDs", "kind 2", "tee", "tee-refused", &hcl(kit, |hcl| set(hcl, RUNTIME - 12, 2))),
        fails("azure-no-collateral", "Nothing vouches for the hardware", "collateral not supplied", "tee", "tee-incomplete", &document(kit)).with(Beside::Nothing),
        changed("azure-no-td-quote", "No quote of the TD", "removed", "tee", "tee-incomplete", |it| it.td_quote = None),
        fails("azure-td-debug", "A debug TD", "DEBUG set", "hardware", "hardware-refused", &td(|td| td.attributes |= 1)),
        fails("azure-td-without-sept-ve", "A TD with SEPT_VE_DISABLE off, as genuine ones with a paravisor leave it: refused", "attribute off", "hardware", "hardware-refused", &td(|td| td.attributes = 0)),
        fails("azure-other-paravisor", "Another paravisor", "another MRTD", "hardware", "hardware-refused", &td(|td| td.mr_td = td.mr_seam)),
        changed("azure-td-quote-flipped", "A TD's quote that was changed", "byte 700", "hardware", "hardware-refused", |it| if let Some(byte) = it.td_quote.as_mut().and_then(|quote| quote.0.get_mut(700)) { *byte ^= 1; }),
        fails("azure-runtime-of-another", "Runtime data that the hardware does not vouch for", "of another seed, quote too", "runtime-data", "runtime-data-mismatch", &of(kit, &other, NONCE.as_bytes())),
        changed("azure-quote-cut", "A quote that was cut", "100 bytes left", "quote-parse", "tpm-malformed", |it| it.quote.0.truncate(100)),
        fails("azure-quote-by-another-key", "A quote by another key", "of another seed", "quote-signature", "quote-signature-invalid", &signed_by_another),
        changed("azure-signature-flipped", "Another signature", "byte 9", "quote-signature", "quote-signature-invalid", |it| if let Some(byte) = it.signature.0.get_mut(9) { *byte ^= 1; }),
        fails("azure-nonce-of-another-exchange", "A quote that answers another nonce", "another nonce", "qualifying-data", "qualifying-data-mismatch", &of(kit, &kit.paravisor, &[8; 32])),
        fails("azure-fewer-registers", "A quote that leaves out what is compared", "PCR 0 to 7 not selected", "pcr-selection", "pcr-selection-mismatch", &fewer),
        changed("azure-register-swapped", "Registers that were not quoted", "PCR 4 and 5 swapped", "pcr-digest", "pcr-digest-mismatch", |it| it.pcrs.swap(4, 5)),
        fails("azure-other-boot", "Another boot", "PCR 4 and 5 swapped, and quoted", "reference-pcrs", "reference-mismatch", &of(kit, &booted, NONCE.as_bytes())),
    ];
    rows.into_iter().map(|row| row.under("azure-tdx")).collect()
}

#[rustfmt::skip]
fn of_snp(kit: &Kit) -> Vec<Row> {
    let other = SimulatedParavisor::from_seed(OTHER_SEED);
    let refused = Some(("hardware", "hardware-refused"));
    let rows = vec![
        Row::new("azure-snp-accepted", "An SNP guest behind Azure's paravisor that is in order", "", None, &snp(kit, &kit.paravisor)),
        Row::new("azure-snp-without-list", "Without a revocation list the chip's key is not accepted", "not supplied", refused, &snp(kit, &kit.paravisor)).with(Beside::ChainWithoutList),
        Row::new("azure-snp-runtime-of-another", "Runtime data that the report does not carry", "of another seed", Some(("runtime-data", "runtime-data-mismatch")), &snp(kit, &other)),
    ];
    rows.into_iter()
        .map(|row| Row { beside: if row.beside == Beside::Collateral { Beside::Chain } else { row.beside }, ..row }.under("azure-snp"))
        .collect()
}
