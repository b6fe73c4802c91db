//! Cases on genuine quotes of the evidence kit, which is not part of the repository. No genuine quote
//! binds a statement of ours and the example policy pins other software, so what is shown is how far
//! it gets: a platform in order and a refused measurement, or the fault that the kit's table names. Evidence
//! with two faults at once is not here: which of them an implementation meets first is its own affair.

use super::{Answer, Case, Kit, NONCE, PRODUCTION, RawRequest, STAGE, Verdict};

struct Row {
    name: &'static str,
    title: &'static str,
    quote: &'static str,
    collateral: &'static str,
    at: &'static str,
    failure: (&'static str, &'static str),
    tcb: Option<&'static str>,
    identity: &'static str,
    policy: &'static str,
}

const STATEMENT: &str = "{\"purpose\":\"proofroom.upstream-keyset.v1\",\
    \"nonce\":\"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\",\
    \"tls_spki_sha256\":\"sha256:0000000000000000000000000000000000000000000000000000000000000000\",\
    \"model\":\"genuine\",\"not_after\":\"2030-01-01T00:00:00.000Z\"}";

const TDX: &str = "dcap-qvl/tdx_quote";
const TDX_COLLATERAL: &str = "dcap-qvl/tdx_quote_collateral.json";
const OUTDATED_COLLATERAL: &str = "dcap-qvl/tdx_quote_outdated_collateral.json";
const OTHER_SOFTWARE: (&str, &str) = ("reference-values", "reference-mismatch");

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "genuine-up-to-date", title: "A genuine, up-to-date platform with other software than the policy pins", quote: TDX, collateral: TDX_COLLATERAL, at: "2025-06-19T10:32:28.000Z", failure: OTHER_SOFTWARE, tcb: Some("UpToDate"), identity: "sha256:263b491bb14d627cc0d13408888dbe1ef550b7b8265794702303300bc388ef17", policy: PRODUCTION },
    Row { name: "genuine-early", title: "The same, before its collateral was issued", quote: TDX, collateral: TDX_COLLATERAL, at: "2025-06-18T10:32:27.000Z", failure: ("collateral-time", "collateral-not-yet-valid"), tcb: None, identity: "sha256:263b491bb14d627cc0d13408888dbe1ef550b7b8265794702303300bc388ef17", policy: PRODUCTION },
    Row { name: "genuine-late", title: "The same, after its collateral has expired", quote: TDX, collateral: TDX_COLLATERAL, at: "2025-07-20T10:00:35.000Z", failure: ("collateral-time", "collateral-expired"), tcb: None, identity: "sha256:263b491bb14d627cc0d13408888dbe1ef550b7b8265794702303300bc388ef17", policy: PRODUCTION },
    Row { name: "genuine-version-5-without-level", title: "A genuine version 5 quote below every TCB level", quote: "dcap-qvl/tdx_quote_outdated", collateral: OUTDATED_COLLATERAL, at: "2026-02-18T10:58:52.000Z", failure: ("tcb-status", "no-tcb-level"), tcb: None, identity: "sha256:00313b766d007be6efcbbd31ef497cbc3dae1662e1e0fca946bd1fe1abd2bb21", policy: PRODUCTION },
    Row { name: "genuine-debug-td", title: "A debug TD that Intel's keys signed", quote: "trustee/tdx_quote_4.dat", collateral: "derived/collateral_50806f000000_platform_2023-06.json", at: "2023-06-18T08:42:59.000Z", failure: ("td-attributes", "td-debug"), tcb: None, identity: "sha256:2ee09e6c210767c809a054c106a11f62a70bb0b0a07f942b089230ad3726e2a8", policy: "production-older-evaluation" },
    Row { name: "genuine-model-server", title: "A model provider's platform, up to date", quote: "near-ai/extracted/model_quote.bin", collateral: OUTDATED_COLLATERAL, at: "2026-03-15T00:00:00.000Z", failure: OTHER_SOFTWARE, tcb: Some("UpToDate"), identity: "sha256:3c7609d710ab8c4acebaa165baa21af4427e03e1d943f4a4d0f1ab0ca1ba6371", policy: PRODUCTION },
    Row { name: "genuine-compose-manager", title: "The same provider's compose manager", quote: "near-ai/extracted/compose_manager_quote.bin", collateral: OUTDATED_COLLATERAL, at: "2026-03-15T00:00:00.000Z", failure: OTHER_SOFTWARE, tcb: Some("UpToDate"), identity: "sha256:3ee4f4974281e8108a47c7bcd63bea70289302fb0f9a6371d18b2a7b30a5383c", policy: PRODUCTION },
    Row { name: "genuine-gateway-out-of-date", title: "A model provider's gateway, out of date", quote: "near-ai/extracted/gateway_quote.bin", collateral: "derived/collateral_b0c06f000000_2026-10-08.json", at: "2026-10-14T17:46:40.000Z", failure: ("tcb-status", "tcb-status-refused"), tcb: None, identity: "sha256:b5758213636b9d349cdd3546ca1e7016ff8170f9c4448bc45ebe749a9cdb7aca", policy: PRODUCTION },
    Row { name: "genuine-gateway-certificate-early", title: "The same, with collateral from before its certificate", quote: "near-ai/extracted/gateway_quote.bin", collateral: TDX_COLLATERAL, at: "2025-06-19T10:32:28.000Z", failure: ("collateral-time", "certificate-not-yet-valid"), tcb: None, identity: "sha256:b5758213636b9d349cdd3546ca1e7016ff8170f9c4448bc45ebe749a9cdb7aca", policy: PRODUCTION },
    Row { name: "genuine-dstack", title: "A dstack host, up to date", quote: "dstack/extracted_quote-report.bin", collateral: "derived/collateral_90c06f000000_platform_2026-01-12.json", at: "2026-01-12T16:03:14.000Z", failure: OTHER_SOFTWARE, tcb: Some("UpToDate"), identity: "sha256:ec6d0c77658d511ecce613ec9b02aa722f00844644f1ca7dbf486f13dcf7913b", policy: PRODUCTION },
    Row { name: "genuine-sgx-quote", title: "A genuine SGX quote is no TDX quote", quote: "dcap-qvl/sgx_quote", collateral: "dcap-qvl/sgx_quote_collateral.json", at: "2025-06-19T10:56:12.000Z", failure: ("quote-parse", "quote-malformed"), tcb: None, identity: "", policy: PRODUCTION },
];

pub(super) fn cases() -> Vec<Case> {
    ROWS.iter().map(case).collect()
}

fn case(row: &Row) -> Case {
    let (check, code) = row.failure;
    let word = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Case {
        stage: STAGE,
        name: row.name.to_owned(),
        title: row.title.to_owned(),
        clauses: vec![format!("evidence.md section 5, {check}")],
        provenance: format!(
            "reads {} and {} of the evidence kit",
            row.quote, row.collateral
        ),
        request: RawRequest::UpstreamTdx {
            // every time of the table is one
            at: row.at.parse().unwrap_or(super::NOW),
            nonce: Some(NONCE),
            policy: format!("../policies/{}.toml", row.policy),
            document: None,
            kit: Some(Kit {
                quote: row.quote.into(),
                collateral: row.collateral.into(),
                statement: STATEMENT.to_owned(),
            }),
        },
        files: Vec::new(),
        expected: Answer {
            verdict: Verdict::Reject,
            check: word(check),
            code: word(code),
            identity: word(row.identity),
            tcb: row.tcb.map(str::to_owned),
        },
    }
}
