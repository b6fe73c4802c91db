//! EAT attestation results (draft-ietf-rats-ear-04) with the trustworthiness vector of AR4SI
//! (draft-ietf-rats-ar4si), made from the named checks of a report: as claims sets, which are worth as
//! much as whoever wrote them, and as signed tokens.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use proofroom_record::dsse::key_id;
use proofroom_verifier::Assurance;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Answer, End, Kind, Report, Row};

/// `eat_profile` of every EAR (draft-ietf-rats-ear-04 section 3).
pub const PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";

const NO_CLAIM: i8 = 0;
const AFFIRMING: i8 = 2;
/// "Only a recognized genuine set of approved executables have been loaded during the boot process".
const APPROVED_BOOT: i8 = 3;
const UNRECOGNISED_EXECUTABLES: i8 = 33;
const CONTRAINDICATED: i8 = 96;
const UNRECOGNISED: i8 = 97;
/// "Cryptographic validation of the Evidence has failed".
const CRYPTO_FAILED: i8 = 99;

/// A claim of the vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// Who the attester is, and that it is this one.
    InstanceIdentity,
    /// How it is set up.
    Configuration,
    /// What was loaded.
    Executables,
    /// What files it has.
    FileSystem,
    /// What it runs on.
    Hardware,
    /// Whether its memory is hidden from its host.
    RuntimeOpaque,
    /// Whether its storage is. No check of ours is about that.
    StorageOpaque,
    /// What it was given by others. No check of ours is about that.
    SourcedData,
}

impl Claim {
    /// All claims, in the draft's order.
    pub const ALL: [Self; 8] = [
        Self::InstanceIdentity,
        Self::Configuration,
        Self::Executables,
        Self::FileSystem,
        Self::Hardware,
        Self::RuntimeOpaque,
        Self::StorageOpaque,
        Self::SourcedData,
    ];

    /// The one claim that a check is about. None for a name that no report has.
    #[must_use]
    pub fn of(check: &str) -> Option<Self> {
        let about = ABOUT.iter().find(|(_, checks)| checks.contains(&check));
        about.map(|(claim, _)| *claim)
    }

    const fn affirmed(self) -> i8 {
        match self {
            Self::Executables => APPROVED_BOOT,
            _ => AFFIRMING,
        }
    }

    fn refused(self, code: &str) -> i8 {
        match self {
            _ if code.contains("signature") => CRYPTO_FAILED,
            Self::Executables => UNRECOGNISED_EXECUTABLES,
            Self::Hardware if code.contains("root") => UNRECOGNISED,
            _ => CONTRAINDICATED,
        }
    }
}

/// Which claim each check is about.
const ABOUT: [(Claim, &[&str]); 6] = [
    (
        Claim::InstanceIdentity,
        &[
            "document-parse",
            "statement-parse",
            "report-data-binding",
            "report-data",
            "nonce",
            "keyset-expiry",
            "freshness",
            "evidence-type",
            "moment",
            "statement",
            "qualifying-data",
            "runtime-assignment",
            "attestation-key",
            "ak-certificate",
            "quote-signer",
            "evidence-list",
            "device-unique",
            "token-parse",
            "token-signature",
            "token-claims",
            "token-device",
            "ak-certificates",
            "instance",
            "runtime-data",
        ],
    ),
    (
        Claim::Configuration,
        &[
            "model",
            "guest-policy",
            "platform",
            "vmpl",
            "mode",
            "device-count",
            "mr-config-id",
            "mr-owner",
            "reference-pcr-1",
            "reference-pcr-3",
            "reference-pcr-5",
            "reference-pcr-6",
            "reference-pcr-7",
            "reference-pcr-14",
        ],
    ),
    (
        Claim::Executables,
        &[
            "reference-values",
            "placeholder-registers",
            "placeholder-measurement",
            "boot-log",
            "boot-log-replay",
            "event-log",
            "reference-pcrs",
            "runtime-replay",
            "pcr-selection",
            "pcr-digest",
            "reference-mrtd",
            "reference-rtmr0",
            "reference-rtmr1",
            "reference-rtmr2",
            "reference-pcr-0",
            "reference-pcr-2",
            "reference-pcr-4",
            "reference-pcr-8",
            "reference-pcr-9",
            "versions",
            "driver-rim",
            "bios-rim",
            "measurements",
            "firmware-id",
        ],
    ),
    (Claim::FileSystem, &["runtime-boot-config"]),
    (
        Claim::Hardware,
        &[
            "hcl-parse",
            "tee",
            "hardware",
            "quote-parse",
            "pck-chain-root",
            "collateral-time",
            "collateral-signature",
            "quote-signature",
            "tcb-status",
            "mr-seam",
            "report-parse",
            "chain-parse",
            "chain-root",
            "chain-signatures",
            "chain-time",
            "revocation",
            "report-signature",
            "signing-key",
            "product",
            "reported-tcb",
            "chip-id",
            "tcb-minimum",
            "certificate-chain",
            "certificate-time",
            "chip",
        ],
    ),
    (Claim::RuntimeOpaque, &["td-attributes"]),
];

/// What the checks say of one claim: refused if one failed, affirmed if all passed, and no claim
/// wherever one was not made.
fn value(claim: Claim, rows: &[&Row], affirm: bool) -> i8 {
    let about = || {
        rows.iter()
            .filter(|row| Claim::of(row.check) == Some(claim))
    };
    let failed = about().filter_map(|row| match &row.answer {
        Answer::Fail { code, .. } => Some(claim.refused(code)),
        Answer::Pass | Answer::NotEvaluated { .. } => None,
    });
    if let Some(worst) = failed.max() {
        return worst;
    }
    let all_passed = about().all(|row| row.answer == Answer::Pass);
    match about().next().is_some() && all_passed && affirm {
        true => claim.affirmed(),
        false => NO_CLAIM,
    }
}

/// The vector of `rows`. Under a policy for simulated roots nothing is affirmed.
fn vector(rows: &[&Row], affirm: bool) -> BTreeMap<Claim, i8> {
    Claim::ALL
        .into_iter()
        .map(|claim| (claim, value(claim, rows, affirm)))
        .collect()
}

/// The EAR claims set of a report, unsigned. `build` names the program that made it.
#[must_use]
pub fn claims_set(report: &Report, build: &str) -> Value {
    let simulated = report
        .policy()
        .is_some_and(|policy| policy.assurance == Assurance::Simulated);
    // a check on the whole set is about each of its devices
    let mut submods = BTreeMap::new();
    for subject in subjects(report) {
        let about =
            |row: &&Row| subject.is_none() || row.subject.is_none() || row.subject == subject;
        let rows: Vec<&Row> = report.checks().iter().filter(about).collect();
        let label = subject.unwrap_or_else(|| report.kind().as_str().to_owned());
        submods.insert(
            label,
            appraisal(report, &vector(&rows, !simulated), simulated),
        );
    }
    json!({
        "eat_profile": PROFILE,
        "iat": report.at().unix_seconds(),
        "ear_verifier_id": { "developer": "https://proofroom.dev", "build": build },
        "submods": submods,
    })
}

/// A claims set as a JWT that `key` signed (RFC 7515, ES256; `typ` by RFC 9782). `kid` is the SHA-256 of
/// the key's SubjectPublicKeyInfo in hex.
#[must_use]
pub fn token(claims: &Value, key: &SigningKey) -> String {
    let header = json!({ "alg": "ES256", "kid": key_id(key.verifying_key()), "typ": "eat+jwt" });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    let signature: Signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

fn subjects(report: &Report) -> Vec<Option<String>> {
    let mut found: Vec<Option<String>> = Vec::new();
    let of_several = report.kind() == Kind::GpuList;
    for row in report.checks().iter().filter(|_| of_several) {
        if row.subject.is_some() && !found.contains(&row.subject) {
            found.push(row.subject.clone());
        }
    }
    if found.is_empty() {
        found.push(None);
    }
    found
}

fn appraisal(report: &Report, vector: &BTreeMap<Claim, i8>, simulated: bool) -> Value {
    let mut appraisal = json!({
        "ear_status": status(report.end(), simulated),
        "ear_trustworthiness_vector": vector,
    });
    if let (Some(policy), Some(members)) = (report.policy(), appraisal.as_object_mut()) {
        let id = format!("{}@{}", policy.name, policy.digest);
        members.insert("ear_appraisal_policy_ids".to_owned(), json!([id]));
    }
    appraisal
}

const fn status(end: &End, simulated: bool) -> &'static str {
    match end {
        End::Accepted(_) if simulated => "none",
        End::Accepted(_) => "affirming",
        End::Refused => "contraindicated",
        End::Incomplete => "none",
    }
}
