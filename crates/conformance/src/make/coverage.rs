//! `SPEC_COVERAGE.md`: which vectors each code and each clause has, and which have none.

use std::collections::BTreeMap;

use proofroom_verifier::{CauseCode, RoomCode, SnpCause, VtpmCause, gpu::GpuCause};

use crate::{
    Answer,
    vector::{Manifest, RawRequest},
};

mod negative;

/// A vector's folder, its manifest and the answer that it expects.
type Listed = (String, Manifest, Answer);

/// Why a code of a stage has no vector, where it has none.
#[rustfmt::skip]
const WITHOUT: &[(&str, &str, &str)] = &[
    ("upstream-tdx", "chain-malformed", "unit and mutation tests of the verifier"),
    ("upstream-tdx", "chain-broken", "unit and mutation tests of the verifier"),
    ("upstream-tdx", "revocation-unknown", "the simulated platform cannot make it"),
    ("upstream-tdx", "certificate-expired", "simulated certificates hold until 2049"),
    ("upstream-tdx", "collateral-malformed", "unsigned by construction: met as a signature fault first"),
    ("upstream-tdx", "crl-invalid", "mutation tests of the verifier"),
    ("upstream-tdx", "tcb-info-kind", "the simulated platform cannot make it"),
    ("upstream-tdx", "qe-vendor", "a quote's header is signed: met as a signature fault first"),
    ("upstream-tdx", "qe-identity-mismatch", "the simulated platform cannot make it"),
    ("upstream-tdx", "verifier-refused", "the code for what has no code"),
    ("room", "tpm-unsupported", "unit tests of the reader"),
    ("room", "ak-key", "tests of the verifier"),
    ("room", "reference-not-computed", "tests of the verifier"),
    ("room", "boot-config-layer-order", "tests of the verifier: the vectors' manifest has one layer"),
    ("snp", "snp-signing-key", "unit tests of the reader"),
    ("snp", "vek-certificate-malformed", "met as a malformed chain first"),
    ("snp", "placeholder-measurement", "no policy can list one: met as another reference first"),
    ("gpu", "gpu-chain-malformed", "tests of the verifier"),
    ("gpu", "gpu-rim-chain-broken", "tests of the verifier"),
    ("gpu", "gpu-rim-not-yet-valid", "the simulated vendor cannot make it"),
    ("gpu", "gpu-measurements-not-pinned", "tests of the verifier"),
    ("gpu", "gpu-jwks-malformed", "tests of the verifier"),
    ("upstream-tdx", "tdx-module", "the simulated platform cannot make it"),
];

/// Codes of reference values that count by their maker's signature.
const RELEASE_CODES: &[&str] = &[
    "envelope-malformed",
    "envelope-payload-type",
    "envelope-wrong-key",
    "envelope-bad-signature",
    "release-malformed",
    "release-predicate",
    "release-subject",
    "release-name",
    "release-downgrade",
    "release-not-yet-valid",
    "release-expired",
];

/// The stages whose codes are listed: what answers them, where they are specified, their codes.
fn stages() -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let platform = CauseCode::ALL.iter().map(|code| code.as_str());
    let room = RoomCode::ALL.iter().map(|code| code.as_str());
    let room = room.chain(RELEASE_CODES.iter().copied());
    let snp = SnpCause::ALL.iter().map(|code| code.as_str());
    let gpu = GpuCause::ALL.iter().map(|code| code.as_str());
    let vtpm = VtpmCause::ALL.iter().map(|code| code.as_str());
    vec![
        ("upstream-tdx", "evidence.md", platform.collect()),
        ("room", "room-evidence.md", room.collect()),
        ("snp", "snp.md", snp.collect()),
        ("gpu", "gpu.md", gpu.collect()),
        ("vtpm", "vtpm.md", vtpm.collect()),
    ]
}

/// # Errors
/// Words, where a case of the negative list is not among the vectors.
pub(super) fn document(vectors: &[Listed]) -> Result<String, String> {
    let mut text = String::from(
        "# Coverage of the specifications by vectors\n\n\
         Made by `cargo run -p proofroom-conformance --bin proofroom-make-vectors`; a test fails when \
         it is stale.\n",
    );
    negative::tables(&mut text, vectors)?;
    for (stage, specification, codes) in stages() {
        text.push_str(&format!(
            "\n## Codes of `{stage}` (`docs/spec/{specification}`)\n\n| Code | Vectors |\n|---|---|\n"
        ));
        let folder = format!("{stage}/");
        for code in codes {
            let wanted = |(name, _, expected): &&Listed| {
                name.starts_with(&folder) && expected.code.as_deref() == Some(code)
            };
            let found = names(vectors.iter().filter(wanted));
            let cell = if found.is_empty() {
                reason(stage, code)
            } else {
                found
            };
            line(&mut text, code, &cell);
        }
    }
    text.push_str("\n## Clauses\n\n| Clause | Vectors |\n|---|---|\n");
    for (clause, found) in by_clause(vectors) {
        line(&mut text, &clause, &found.join(", "));
    }
    text.push_str(
        "\n## Genuine evidence\n\nRead from the evidence kit where there is one, never copied.\n\n\
         | Files | Time | Expected |\n|---|---|---|\n",
    );
    for (_, manifest, expected) in vectors {
        genuine(&mut text, manifest, expected);
    }
    Ok(text)
}

fn line(text: &mut String, left: &str, right: &str) {
    text.push_str(&format!("| `{left}` | {right} |\n"));
}

fn reason(stage: &str, code: &str) -> String {
    let known = WITHOUT
        .iter()
        .find(|(of, known, _)| (*of, *known) == (stage, code));
    known.map_or_else(
        || "**none**".to_owned(),
        |(_, _, reason)| format!("none: {reason}"),
    )
}

fn names<'a>(vectors: impl Iterator<Item = &'a Listed>) -> String {
    let names: Vec<&str> = vectors.map(|(folder, _, _)| folder.as_str()).collect();
    names.join(", ")
}

fn by_clause(vectors: &[Listed]) -> BTreeMap<String, Vec<String>> {
    let mut clauses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (folder, manifest, _) in vectors {
        for clause in &manifest.clauses {
            clauses
                .entry(clause.clone())
                .or_default()
                .push(folder.clone());
        }
    }
    clauses
}

fn genuine(text: &mut String, manifest: &Manifest, expected: &Answer) {
    let RawRequest::UpstreamTdx {
        at, kit: Some(kit), ..
    } = &manifest.request
    else {
        return;
    };
    let (quote, collateral) = (kit.quote.display(), kit.collateral.display());
    let check = expected.check.as_deref().unwrap_or_default();
    let code = expected.code.as_deref().unwrap_or_default();
    let platform = expected.tcb.as_deref().unwrap_or("not in order");
    text.push_str(&format!(
        "| `{quote}`, `{collateral}` | {at} | platform {platform}; refused by `{check}` for `{code}` |\n"
    ));
}
