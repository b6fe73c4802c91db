//! The negative list: what verifiers elsewhere were found to accept, and the case that shows that ours
//! does not. A named case that is not there is an error, so that the table cannot outlive its cases.

use super::Listed;

/// What is tried, names of cases, and what the cases do not show.
type Item = (&'static str, &'static [&'static str], &'static str);

#[rustfmt::skip]
const QUOTE: &[Item] = &[
    ("debug bit", &["td-debug", "genuine-debug-td", "tdx-td-debug"], ""),
    ("MIGRATABLE", &["td-migratable"], ""),
    ("SEPT_VE_DISABLE off", &["td-sept-ve"], ""),
    ("wrong TEE type, SGX quote as TDX", &["quote-of-sgx", "genuine-sgx-quote"], ""),
    ("type confusion in version 5", &["quote-version-5"], "every other body type: unit tests of the reader"),
    ("truncated", &["quote-cut-in-header", "quote-cut-in-body", "quote-cut-in-signature", "quote-cut-by-one", "quote-empty"], "every length: tests of the verifier"),
    ("trailing bytes", &["quote-trailing-byte", "quote-padded-too-far", "quote-padded"], ""),
    ("root certificate flipped", &["root-in-quote-changed"], ""),
    ("QE identity of the other kind", &["qe-identity-of-sgx"], ""),
    ("FMSPC swapped", &["fmspc-swapped"], ""),
    ("collateral early or late", &["collateral-early", "collateral-late", "crl-late", "genuine-early", "genuine-late"], ""),
    ("revocation list missing", &["document-missing-crl"], ""),
    ("PCK revoked", &["revoked-pck"], ""),
    ("OutOfDate under a strict and a lax policy", &["status-out-of-date", "status-out-of-date-lax", "tdx-status-out-of-date"], ""),
    ("registers all zero or of one byte", &["mrtd-zero", "rtmr1-repeats-a-byte", "rtmr3-repeats-a-byte"], ""),
];

#[rustfmt::skip]
const LOG: &[Item] = &[
    ("event dropped", &["tpm2-boot-event-dropped", "tpm2-boot-event-last-dropped", "tpm2-event-dropped", "tpm2-events-dropped", "tpm2-assignment-dropped", "tdx-boot-event-dropped", "tdx-boot-event-last-dropped", "tdx-event-dropped", "tdx-events-dropped", "tdx-assignment-dropped"], ""),
    ("events reordered", &["tpm2-boot-events-reordered", "tpm2-events-reordered", "tdx-boot-events-reordered", "tdx-events-reordered"], ""),
    ("event duplicated", &["tpm2-boot-event-duplicated", "tpm2-event-duplicated", "tdx-boot-event-duplicated", "tdx-event-duplicated"], ""),
    ("event edited", &["tpm2-boot-event-edited", "tpm2-event-edited", "tpm2-event-renamed", "tpm2-name-and-content-shifted", "tdx-boot-event-edited", "tdx-event-edited", "tdx-event-renamed", "tdx-name-and-content-shifted"], ""),
    ("digest lies, payload right", &["tpm2-boot-digest-lies", "tdx-boot-digest-lies", "tpm2-event-with-a-digest", "tdx-event-with-a-digest"], "runtime events have no digest field that could lie"),
    ("payload lies, digest right", &["tpm2-boot-payload-lies", "tdx-boot-payload-lies"], "**accepted**: of a boot event only the digest is measured, and nothing is judged by its payload"),
    ("second one-time event", &["tpm2-second-assignment", "tpm2-second-boot-config", "tdx-second-assignment", "tdx-second-boot-config"], "one-time events are `boot-config` and `assignment`"),
    ("event after the room was ready", &["tpm2-event-added-after-the-last", "tdx-event-added-after-the-last", "tpm2-event-after-ready", "tdx-event-after-ready"], "unmeasured: refused; measured: **accepted**, since a room may go on measuring and nothing is read from such events"),
    ("log of 10 MB", &["tpm2-boot-log-of-ten-megabytes"], "made when the case is read"),
    ("compressed log", &["tpm2-boot-log-gzip", "tdx-boot-log-gzip"], "none is accepted, so that nothing is ever unpacked"),
];

#[rustfmt::skip]
const BINDING: &[Item] = &[
    ("nonce swapped", &["nonce-swapped", "tpm2-nonce-of-another-exchange", "tdx-nonce-of-another-exchange"], ""),
    ("nonce absent", &["statement-without-nonce", "archive-audit"], "asked without one: never more than incomplete"),
    ("nonce reused", &["nonce-of-an-earlier-exchange"], "whoever asks twice with one nonce is not stopped by a verifier without memory"),
    ("purpose of another protocol", &["purpose-of-another-protocol"], ""),
    ("key added to the keyset", &["statement-key-added", "statement-member-added"], ""),
    ("TLS key of a relay", &["tls-key-of-a-relay"], "the connection's own key: tests of the gateway"),
    ("`not_after` expired", &["statement-expired", "statement-for-too-long"], ""),
    ("signing key beside but not inside the quote", &["tdx-key-beside-the-quote", "tdx-signature-beside-the-quote", "document-key-beside", "document-pck-chain-beside", "tpm2-certificate-of-another-key"], ""),
    ("another text than the bound one", &["statement-edited", "report-data-of-something-else", "report-data-zero", "tpm2-statement-swapped", "tdx-statement-swapped"], ""),
];

#[rustfmt::skip]
const GPU: &[Item] = &[
    ("one GPU of eight from another report", &["one-of-eight-from-another-report", "report-of-another-device", "device-twice"], ""),
    ("nonce old", &["nonce-old", "token-nonce"], ""),
    ("alg none", &["token-alg-none", "token-alg-hmac"], ""),
    ("kid unknown", &["token-kid-unknown", "token-of-another-key"], ""),
    ("token expired", &["token-expired", "token-of-a-device-expired"], ""),
    ("submodule's digest differs", &["token-submodule-digest"], ""),
    ("developer mode", &["developer-mode", "secure-boot-off"], "by the service's token: reports do not say it"),
    ("chain without its leaf", &["chain-leaf-missing", "chain-root-alone"], ""),
    ("trailing zero byte", &["trailing-zero", "report-trailing-byte", "report-filled-too-far"], "one is filling and **accepted**, with the same identity"),
    ("manifest of another BIOS", &["rim-of-another-bios", "rim-of-another-driver", "rim-of-another-chip"], ""),
    ("certificate on hold", &["certificate-on-hold", "certificate-revoked"], "where a token says so: nothing is asked over the network"),
];

const LISTS: &[(&str, &[Item])] = &[
    ("quote", QUOTE),
    ("log", LOG),
    ("binding", BINDING),
    ("gpu", GPU),
];

/// Appends one table for each list.
pub(super) fn tables(text: &mut String, vectors: &[Listed]) -> Result<(), String> {
    text.push_str("\n## Negative list\n");
    for (list, items) in LISTS {
        text.push_str(&format!(
            "\n### {list}\n\n| Tried | Vectors | Beside |\n|---|---|---|\n"
        ));
        for (tried, names, beside) in *items {
            let found: Result<Vec<&str>, String> =
                names.iter().map(|name| folder(vectors, name)).collect();
            text.push_str(&format!("| {tried} | {} | {beside} |\n", found?.join(", ")));
        }
    }
    Ok(())
}

fn folder<'a>(vectors: &'a [Listed], name: &str) -> Result<&'a str, String> {
    let is = |folder: &str| {
        let case = folder.split_once('/').map_or(folder, |(_, case)| case);
        case.split_once('-').is_some_and(|(_, found)| found == name)
    };
    vectors
        .iter()
        .map(|(folder, ..)| folder.as_str())
        .find(|folder| is(folder))
        .ok_or_else(|| format!("the negative list names `{name}`, which is no case"))
}
