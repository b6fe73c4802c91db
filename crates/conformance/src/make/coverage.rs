//! `SPEC_COVERAGE.md`: which vectors each code and each clause has, and which have none.

use std::collections::BTreeMap;

use proofroom_verifier::CauseCode;

use crate::{
    Answer,
    vector::{Manifest, RawRequest},
};

/// A vector's folder, its manifest and the answer that it expects.
type Listed = (String, Manifest, Answer);

/// Why a code of `upstream-tdx` has no vector, where it has none.
const WITHOUT: &[(&str, &str)] = &[
    ("chain-malformed", "unit and mutation tests of the verifier"),
    ("chain-broken", "unit and mutation tests of the verifier"),
    (
        "revocation-unknown",
        "the simulated platform cannot make it",
    ),
    (
        "certificate-expired",
        "simulated certificates hold until 2049",
    ),
    (
        "collateral-malformed",
        "unsigned by construction: met as a signature fault first",
    ),
    ("crl-invalid", "mutation tests of the verifier"),
    ("tcb-info-kind", "the simulated platform cannot make it"),
    (
        "qe-vendor",
        "a quote's header is signed: met as a signature fault first",
    ),
    (
        "qe-identity-mismatch",
        "the simulated platform cannot make it",
    ),
    ("verifier-refused", "the code for what has no code"),
    ("tdx-module", "the simulated platform cannot make it"),
];

pub(super) fn document(vectors: &[Listed]) -> String {
    let mut text = String::from(
        "# Coverage of the specifications by vectors\n\n\
         Made by `cargo run -p proofroom-conformance --bin proofroom-make-vectors`; a test fails when \
         it is stale.\n\n\
         ## Codes of `upstream-tdx` (`docs/spec/evidence.md`)\n\n\
         | Code | Vectors |\n|---|---|\n",
    );
    for code in CauseCode::ALL {
        let code = code.as_str();
        let of_code = |(_, _, expected): &&Listed| expected.code.as_deref() == Some(code);
        let found = names(vectors.iter().filter(of_code));
        let cell = if found.is_empty() {
            reason(code)
        } else {
            found
        };
        line(&mut text, code, &cell);
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
    text
}

fn line(text: &mut String, left: &str, right: &str) {
    text.push_str(&format!("| `{left}` | {right} |\n"));
}

fn reason(code: &str) -> String {
    let known = WITHOUT.iter().find(|(known, _)| *known == code);
    known.map_or_else(
        || "**none**".to_owned(),
        |(_, reason)| format!("none: {reason}"),
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
