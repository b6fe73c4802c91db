//! The policy file as written (TOML), and its reading into a [`ProviderPolicy`]. Reports every problem
//! at once.

use std::collections::BTreeMap;

use proofroom_canonical::{Digest, lower_hex};
use proofroom_verifier::{
    AppraisalPolicy, Assurance, PolicyProblem, SnpAppraisalPolicy, gpu::GpuPolicy,
};
use serde::Deserialize;

use super::{
    Format, KeysetRule, MAX_POLICY_BYTES, ProviderPolicy, ProviderPolicyProblem, ReceiptRule,
    Rules, ServiceRule, ServingRule, SessionRule,
};
use crate::{aci::Serving, check::ProviderCheckName};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    name: String,
    format: Format,
    model: String,
    receipts: ReceiptRule,
    quote_policy: Option<String>,
    snp_policy: Option<String>,
    gpu_policy: Option<String>,
    #[serde(default)]
    tolerate: Vec<RawTolerance>,
    gateway: Option<RawService>,
    machine: Option<RawService>,
    serving: Option<RawServing>,
    keyset: Option<RawKeyset>,
    sessions: Option<RawSessions>,
    enclave: Option<RawEnclave>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEnclave {
    serving: Serving,
}

/// A check that need not be made, and why somebody decided that.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTolerance {
    check: Tolerable,
    reason: String,
}

/// The checks whose absence a policy may bear with: formats exist that do not offer them.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Tolerable {
    TlsKey,
    Gpu,
    Model,
    KeyCustody,
    ReleaseProvenance,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawService {
    app_ids: Vec<String>,
    compose_hashes: Vec<String>,
    os_images: Vec<String>,
    key_providers: Vec<String>,
    #[serde(default)]
    later_events: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServing {
    weights: Vec<Digest>,
    images: Vec<Digest>,
    encryption: Option<Encryption>,
}

/// Whether requests are sealed to a key of the enclave: there is no word for "where it is offered".
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Encryption {
    Required,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeyset {
    serving: Serving,
    domain: Option<String>,
    #[serde(default)]
    subjects: Vec<String>,
    max_seconds: u32,
    kms_roots: Vec<String>,
    rewrites: Rewrites,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Rewrites {
    Allowed,
    Refused,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSessions {
    verifiers: Vec<String>,
    models: Vec<String>,
    claims: BTreeMap<Claim, Vec<Ground>>,
}

/// What ACI says of an upstream in a fixed vocabulary, and on what ground.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Claim {
    TeeAttested,
    GpuAttested,
    TcbUpToDate,
    OsKnownGood,
    ServingSoftwareKnownGood,
    ModelWeightsProvenance,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ground {
    HardwareProven,
    VerifierDerived,
    ProviderAsserted,
    OperatorAsserted,
}

impl Claim {
    const fn as_str(self) -> &'static str {
        match self {
            Self::TeeAttested => "tee_attested",
            Self::GpuAttested => "gpu_attested",
            Self::TcbUpToDate => "tcb_up_to_date",
            Self::OsKnownGood => "os_known_good",
            Self::ServingSoftwareKnownGood => "serving_software_known_good",
            Self::ModelWeightsProvenance => "model_weights_provenance",
        }
    }
}

impl Ground {
    const fn as_str(self) -> &'static str {
        match self {
            Self::HardwareProven => "hardware_proven",
            Self::VerifierDerived => "verifier_derived",
            Self::ProviderAsserted => "provider_asserted",
            Self::OperatorAsserted => "operator_asserted",
        }
    }
}

/// What is wrong with a file, collected.
struct Problems<'a> {
    file: &'a str,
    found: Vec<ProviderPolicyProblem>,
}

impl Problems<'_> {
    fn add(&mut self, code: &'static str, words: impl Into<String>) {
        self.found.push(ProviderPolicyProblem {
            file: self.file.to_owned(),
            code,
            words: words.into(),
        });
    }
}

pub(super) fn parse(
    text: &str,
    file: &str,
    sibling: &dyn Fn(&str) -> Option<String>,
) -> Result<ProviderPolicy, Vec<ProviderPolicyProblem>> {
    let mut problems = Problems {
        file,
        found: Vec::new(),
    };
    if text.len() > MAX_POLICY_BYTES {
        problems.add("policy-too-large", "the file is too large");
        return Err(problems.found);
    }
    let mut raw: RawPolicy = match toml::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            problems.add("policy-syntax", error.to_string().trim_end());
            return Err(problems.found);
        }
    };
    check_words(&raw, &mut problems);
    let rules = read_rules(&mut raw, &mut problems);
    check_processors(&raw, &mut problems);
    let names = (&raw.quote_policy, &raw.snp_policy, &raw.gpu_policy);
    let siblings = Siblings {
        quote: load(names.0, AppraisalPolicy::parse, sibling, &mut problems),
        snp: load(names.1, SnpAppraisalPolicy::parse, sibling, &mut problems),
        gpu: load(names.2, GpuPolicy::parse, sibling, &mut problems),
    };
    check_assurance(&raw.name, &siblings, &mut problems);
    match rules {
        Some(rules) if problems.found.is_empty() => {
            Ok(join(raw, Digest::of(text), rules, siblings))
        }
        _ => Err(problems.found),
    }
}

/// The policies that one names.
struct Siblings {
    quote: Option<AppraisalPolicy>,
    snp: Option<SnpAppraisalPolicy>,
    gpu: Option<GpuPolicy>,
}

/// A policy for the processors that the format's machines have.
fn check_processors(raw: &RawPolicy, problems: &mut Problems<'_>) {
    let (tdx, snp) = (raw.quote_policy.is_some(), raw.snp_policy.is_some());
    let named = match raw.format {
        Format::Tinfoil => tdx || snp,
        _ => tdx && !snp,
    };
    if !named {
        let words = "needs a `quote_policy`; format `tinfoil` may have a `snp_policy` beside it or in its place";
        problems.add("policy-quote", words);
    }
}

fn check_assurance(name: &str, siblings: &Siblings, problems: &mut Problems<'_>) {
    let of_all = [
        siblings.quote.as_ref().map(AppraisalPolicy::assurance),
        siblings.snp.as_ref().map(SnpAppraisalPolicy::assurance),
        siblings.gpu.as_ref().map(GpuPolicy::assurance),
    ];
    let simulated = of_all.contains(&Some(Assurance::Simulated));
    if simulated && Assurance::of_policy(name) != Assurance::Simulated {
        let words = "rests on a policy for simulated roots, so its name must contain `simulated`";
        problems.add("policy-simulated", words);
    }
}

fn join(
    raw: RawPolicy,
    own: Digest,
    rules: Rules,
    Siblings { quote, snp, gpu }: Siblings,
) -> ProviderPolicy {
    let line = |digest: Option<Digest>| digest.map_or_else(|| "-".to_owned(), |it| it.to_string());
    let of_quote = line(quote.as_ref().map(AppraisalPolicy::digest));
    let of_gpu = line(gpu.as_ref().map(GpuPolicy::digest));
    let of_snp = snp.as_ref().map(|snp| format!("{}\n", snp.digest()));
    let digests = format!(
        "{own}\n{of_quote}\n{of_gpu}\n{}",
        of_snp.unwrap_or_default()
    );
    let tolerated = raw.tolerate.iter().map(|entry| name_of(entry.check));
    ProviderPolicy {
        digest: Digest::of(digests),
        tolerated: tolerated.collect(),
        name: raw.name,
        format: raw.format,
        model: raw.model,
        receipts: raw.receipts,
        quote,
        snp,
        gpu,
        rules,
    }
}

const fn name_of(check: Tolerable) -> ProviderCheckName {
    match check {
        Tolerable::TlsKey => ProviderCheckName::TlsKey,
        Tolerable::Gpu => ProviderCheckName::Gpu,
        Tolerable::Model => ProviderCheckName::Model,
        Tolerable::KeyCustody => ProviderCheckName::KeyCustody,
        Tolerable::ReleaseProvenance => ProviderCheckName::ReleaseProvenance,
    }
}

fn rule_of(raw: RawService) -> ServiceRule {
    ServiceRule {
        app_ids: raw.app_ids,
        compose_hashes: raw.compose_hashes,
        os_images: raw.os_images,
        key_providers: raw.key_providers,
        later_events: raw.later_events,
    }
}

fn load<T>(
    name: &Option<String>,
    parse: fn(&str, &str) -> Result<T, Vec<PolicyProblem>>,
    sibling: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems<'_>,
) -> Option<T> {
    let name = name.as_ref()?;
    let Some(text) = sibling(name) else {
        problems.add(
            "policy-sibling",
            format!("names `{name}`, which is not there"),
        );
        return None;
    };
    match parse(&text, name) {
        Ok(policy) => Some(policy),
        Err(found) => {
            for problem in found {
                problems.add(problem.code(), problem.to_string());
            }
            None
        }
    }
}

fn check_words(raw: &RawPolicy, problems: &mut Problems<'_>) {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if raw.name.is_empty() || raw.name.len() > 64 || !raw.name.bytes().all(plain) {
        let words = "`name` must have 1 to 64 lower-case letters, digits and hyphens";
        problems.add("policy-name", words);
    }
    if raw.model.is_empty() || raw.model.contains('*') {
        problems.add("policy-models", "`model` must be the name of one model");
    }
    if raw
        .tolerate
        .iter()
        .any(|entry| entry.reason.trim().is_empty())
    {
        problems.add("policy-tolerance", "a `[[tolerate]]` needs its `reason`");
    }
}

/// What the format's tables say: a table of another format, or one that leaves something open, is a problem.
fn read_rules(raw: &mut RawPolicy, problems: &mut Problems<'_>) -> Option<Rules> {
    if raw.gateway.is_some() != (raw.format == Format::NearAi) {
        let words = "format `near-ai` has a `[gateway]`, and no other format has one";
        problems.add("policy-gateway", words);
    }
    let tables = (
        (raw.gateway.take(), raw.machine.take()),
        (raw.serving.take(), raw.keyset.take()),
        raw.enclave.take(),
    );
    match (raw.format, tables) {
        (Format::ProofroomEnclave, ((_, None), (Some(serving), None), None)) => {
            check_signed(raw, problems);
            check_serving(&serving, problems);
            Some(Rules::Serving(ServingRule {
                weights: serving.weights,
                images: serving.images,
                sealed: matches!(serving.encryption, Some(Encryption::Required)),
            }))
        }
        (Format::Aci, ((_, Some(machine)), (None, Some(keyset)), None)) => {
            check_signed(raw, problems);
            check_keyset(raw, &keyset, problems);
            check_services([("gateway", None), ("machine", Some(&machine))], problems);
            Some(Rules::Aci {
                keyset: keyset_of(keyset, raw.sessions.take()),
                machine: rule_of(machine),
            })
        }
        (Format::Tinfoil, ((_, None), (None, None), Some(enclave))) => {
            if raw.receipts != ReceiptRule::NotOffered {
                let words = "format `tinfoil` signs no answers: `receipts` must be `not-offered`";
                problems.add("policy-receipts", words);
            }
            Some(Rules::Tinfoil(enclave.serving))
        }
        (Format::NearAi | Format::Dstack, ((gateway, Some(machine)), (None, None), None)) => {
            let tables = [("gateway", gateway.as_ref()), ("machine", Some(&machine))];
            check_services(tables, problems);
            Some(Rules::Machines {
                gateway: gateway.map(rule_of),
                machine: rule_of(machine),
            })
        }
        _ => {
            let words = "format `proofroom-enclave` has a `[serving]`, `aci` a `[machine]` and a `[keyset]`, `tinfoil` an `[enclave]`, every other a `[machine]`";
            problems.add("policy-tables", words);
            None
        }
    }
}

/// These formats sign every answer, so that one without a receipt is none of theirs.
fn check_signed(raw: &RawPolicy, problems: &mut Problems<'_>) {
    if raw.receipts != ReceiptRule::Required {
        let format = raw.format.as_str();
        let words = format!("format `{format}` signs every answer: `receipts` must be `required`");
        problems.add("policy-receipts", words);
    }
}

fn check_keyset(raw: &RawPolicy, keyset: &RawKeyset, problems: &mut Problems<'_>) {
    let hex = |root: &String| matches!(lower_hex::<33>(root), Some([2 | 3, ..]));
    if keyset.kms_roots.is_empty() || !keyset.kms_roots.iter().all(hex) {
        let words =
            "`keyset.kms_roots` must be a list of compressed secp256k1 keys in lower-case hex";
        problems.add("policy-unpinned", words);
    }
    if keyset.max_seconds == 0 {
        let words = "`keyset.max_seconds` must say for how long a keyset may hold";
        problems.add("policy-freshness", words);
    }
    check_sessions(keyset.serving, raw.sessions.as_ref(), problems);
    if raw.gpu_policy.is_some() {
        let words = "format `aci` shows no devices that a `gpu_policy` could judge";
        problems.add("policy-gpu", words);
    }
}

fn check_sessions(serving: Serving, sessions: Option<&RawSessions>, problems: &mut Problems<'_>) {
    let Some(sessions) = sessions else {
        if serving == Serving::Aggregator {
            let words = "a service that passes requests on needs `[sessions]`";
            problems.add("policy-sessions", words);
        }
        return;
    };
    if serving == Serving::Direct {
        let words = "a service that answers itself has no `[sessions]`";
        problems.add("policy-sessions", words);
    }
    let grounded = sessions.claims.values().all(|grounds| !grounds.is_empty());
    let attested = sessions.claims.contains_key(&Claim::TeeAttested) && grounded;
    if sessions.verifiers.is_empty() || sessions.models.is_empty() || !attested {
        let words = "`[sessions]` must list `verifiers`, `models`, and `claims` with `tee_attested`, each with its grounds";
        problems.add("policy-unpinned", words);
    }
}

fn keyset_of(raw: RawKeyset, sessions: Option<RawSessions>) -> KeysetRule {
    KeysetRule {
        serving: raw.serving,
        domain: raw.domain,
        subjects: raw.subjects,
        max_seconds: raw.max_seconds,
        kms_roots: raw.kms_roots,
        rewrites: raw.rewrites == Rewrites::Allowed,
        sessions: sessions.map(sessions_of),
    }
}

fn sessions_of(raw: RawSessions) -> SessionRule {
    let claims = raw.claims.iter().map(|(claim, grounds)| {
        let grounds = grounds.iter().map(|ground| ground.as_str().to_owned());
        (claim.as_str().to_owned(), grounds.collect())
    });
    SessionRule {
        claims: claims.collect(),
        verifiers: raw.verifiers,
        models: raw.models,
    }
}

fn check_serving(serving: &RawServing, problems: &mut Problems<'_>) {
    for (key, values) in [("weights", &serving.weights), ("images", &serving.images)] {
        if values.is_empty() {
            let words = format!("`serving.{key}` must list at least one digest");
            problems.add("policy-unpinned", words);
        }
    }
}

fn check_services(tables: [(&str, Option<&RawService>); 2], problems: &mut Problems<'_>) {
    for (table, service) in tables {
        let Some(service) = service else { continue };
        for (key, values) in [
            ("app_ids", &service.app_ids),
            ("compose_hashes", &service.compose_hashes),
            ("os_images", &service.os_images),
            ("key_providers", &service.key_providers),
        ] {
            let hex = |value: &String| {
                let digit = |b| matches!(b, b'0'..=b'9' | b'a'..=b'f');
                !value.is_empty() && value.bytes().all(digit)
            };
            if values.is_empty() || !values.iter().all(hex) {
                let words = format!("`{table}.{key}` must be a list of values in lower-case hex");
                problems.add("policy-unpinned", words);
            }
        }
    }
}
