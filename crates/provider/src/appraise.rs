//! The appraisal of a provider's evidence: every check in order, and what they come to. Total: any
//! bytes give an appraisal.

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{Collateral, Quote, REPORT_DATA_BYTES};
use proofroom_serving::{KeyConfig, ServingReport};
use proofroom_verifier::{
    Assurance, CheckName, Freshness, Outcome, QuoteAppraisal, QuoteExpectation, Verdict,
    appraise_quote,
    gpu::{VerifiedGpus, appraise_unendorsed_gpus},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    CheckOutcome, Component, ProviderCheck, ProviderCheckName as Name, ProviderDocument,
    ProviderPolicy, ReportError, SigningKey, VerifiedProvider,
    aci::{AciReport, AttestedKeys},
    check::UNPROVED,
    policy::{Rules, ServiceRule},
    report::{Attestation, Report},
    service::{self, Said},
    tinfoil::TinfoilReport,
    verified::{Hardware, Machine},
};

mod aci;
mod enclave;
mod tinfoil;

/// How the evidence was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// The relying party chose this nonce for this very exchange, over a connection whose server showed
    /// a key with this SHA-256 of its `SubjectPublicKeyInfo`.
    Challenge {
        /// The nonce.
        nonce: Nonce,
        /// The connection's key.
        tls_spki: Digest,
    },
    /// The evidence comes from an archive: neither its freshness nor any connection can be shown.
    ArchiveAudit,
}

/// What a provider's evidence is worth under a policy at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderAppraisal {
    policy: String,
    policy_digest: Digest,
    assurance: Assurance,
    at: Timestamp,
    verdict: Verdict,
    evidence: Digest,
    checks: Vec<ProviderCheck>,
    #[serde(skip)]
    obstacle: Option<usize>,
    #[serde(skip)]
    proof: Option<VerifiedProvider>,
}

impl ProviderAppraisal {
    /// Every check, in order: those on the provider, then each machine's.
    #[must_use]
    pub fn checks(&self) -> &[ProviderCheck] {
        &self.checks
    }

    /// The worst outcome of all checks. One that was not made and that the policy bears with counts for
    /// nothing.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What stands in the way: the first check that failed, or else the first that was not made and that
    /// the policy does not do without.
    #[must_use]
    pub fn first_obstacle(&self) -> Option<&ProviderCheck> {
        self.obstacle.and_then(|place| self.checks.get(place))
    }

    /// The name of the policy.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Turns an accepted appraisal into the type that allows sending.
    ///
    /// # Errors
    /// The appraisal itself, unless every check passed or is one that was not made and that the policy
    /// bears with.
    pub fn into_verified(self) -> Result<VerifiedProvider, Box<Self>> {
        match (self.verdict, &self.proof) {
            (Verdict::Accept, Some(proof)) => Ok(proof.clone()),
            _ => Err(Box::new(self)),
        }
    }
}

/// Appraises `document`, a [`ProviderDocument`] in bytes, under `policy` as of `now`.
#[must_use]
pub fn appraise_provider(
    document: &[u8],
    policy: &ProviderPolicy,
    exchange: Exchange,
    now: Timestamp,
) -> ProviderAppraisal {
    let mut work = Work {
        policy,
        exchange,
        now,
        checks: Vec::new(),
    };
    let read = ProviderDocument::parse(document).map_err(malformed);
    let machines = read.and_then(|document| work.read(&document));
    let (outcome, machines) = match machines {
        Ok(machines) => (CheckOutcome::Pass, Some(machines)),
        Err(outcome) => (outcome, None),
    };
    work.set(Component::Provider, Name::Report, outcome);
    work.finish(Digest::of(document), machines)
}

fn malformed(error: impl Into<ReportError>) -> CheckOutcome {
    let error = error.into();
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    let words = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    CheckOutcome::fail(error.code(), words)
}

/// What the checks left standing.
struct Machines {
    gateway: Option<Machine>,
    models: Vec<Machine>,
    /// Whether there is a proof for each machine of the report.
    whole: bool,
    tls_spki: Option<Digest>,
    keyset: Option<AttestedKeys>,
    /// The key that requests are sealed to.
    sealing_key: Option<KeyConfig>,
}

/// An appraisal under way.
struct Work<'a> {
    policy: &'a ProviderPolicy,
    exchange: Exchange,
    now: Timestamp,
    checks: Vec<ProviderCheck>,
}

impl Work<'_> {
    fn set(&mut self, component: Component, name: Name, outcome: CheckOutcome) {
        self.checks.push(ProviderCheck {
            component,
            name,
            outcome,
        });
    }

    /// Reads the report in the policy's format, and judges all that is in it.
    fn read(&mut self, document: &ProviderDocument) -> Result<Machines, CheckOutcome> {
        let format = self.policy.format();
        if document.provider() != format {
            let words = "the document is of another provider's format than the policy";
            return Err(CheckOutcome::fail("report-format", words));
        }
        let bytes = document.report().as_bytes();
        match self.policy.rules() {
            Rules::Machines { gateway, machine } => {
                let report = Report::parse(bytes, format).map_err(malformed)?;
                Ok(self.judge(document, &report, (gateway.as_ref(), machine)))
            }
            Rules::Serving(rule) => {
                let report = ServingReport::parse(bytes).map_err(malformed)?;
                Ok(self.judge_enclave(document, &report, rule))
            }
            Rules::Aci { keyset, machine } => {
                let report = AciReport::parse(bytes).map_err(malformed)?;
                Ok(self.judge_aci(document, &report, (keyset, machine)))
            }
            Rules::Tinfoil(serving) => {
                let report = TinfoilReport::parse(bytes).map_err(malformed)?;
                Ok(self.judge_tinfoil(document, &report, *serving))
            }
        }
    }

    fn judge(
        &mut self,
        document: &ProviderDocument,
        report: &Report,
        (of_gateway, rule): (Option<&ServiceRule>, &ServiceRule),
    ) -> Machines {
        let mut machines = Vec::new();
        if let (Some(gateway), Some(rule)) = (&report.gateway, of_gateway) {
            let judged = self.machine(document, gateway, rule, Component::Gateway);
            machines.push((Component::Gateway, judged));
        }
        for (place, model) in report.models.iter().enumerate() {
            let component = Component::Model(place);
            machines.push((component, self.machine(document, model, rule, component)));
        }
        self.set(Component::Provider, Name::Model, self.model(report));
        let end = report.gateway.as_ref().or_else(|| report.models.first());
        let bound = machines
            .first()
            .map(|(_, judged)| judged.outcome(Name::SigningKey));
        let tls = self.tls_key(end, bound);
        let tls_spki = end
            .and_then(|end| end.tls_spki)
            .filter(|_| tls == CheckOutcome::Pass);
        self.set(Component::Provider, Name::TlsKey, tls);
        let mut found = Machines::none(tls_spki);
        for (component, judged) in machines {
            let names = match component {
                Component::Model(_) => Name::MODEL,
                Component::Gateway | Component::Provider => Name::GATEWAY,
            };
            found.take((component, names), judged, &mut self.checks);
        }
        found
    }

    fn model(&self, report: &Report) -> CheckOutcome {
        let names = report.models.iter().map(|model| model.model.as_deref());
        for name in names {
            match name {
                Some(name) if name == self.policy.model() => {}
                Some(_) => {
                    let words = "a machine says that it serves another model";
                    return CheckOutcome::fail("model-other", words);
                }
                None => {
                    let words = "a machine does not say which model it serves";
                    return CheckOutcome::not_evaluated("model-not-named", words);
                }
            }
        }
        CheckOutcome::Pass
    }

    fn tls_key(&self, end: Option<&Attestation>, bound: Option<&CheckOutcome>) -> CheckOutcome {
        let offered = end.and_then(|end| end.tls_spki);
        if end.is_some_and(|end| offered.is_none() && matches!(end.key, SigningKey::Ed25519(_))) {
            let words = "an Ed25519 key alone can be the digest of a signing key and a TLS key that were left out";
            return CheckOutcome::fail("tls-key-unclear", words);
        }
        match (offered, self.exchange, bound) {
            (None, ..) | (_, _, None) => CheckOutcome::not_evaluated(
                "tls-key-not-offered",
                "no quote binds the key of the connection",
            ),
            (_, Exchange::ArchiveAudit, _) => archive(),
            (Some(named), Exchange::Challenge { tls_spki, .. }, Some(bound)) => CheckOutcome::when(
                named == tls_spki,
                "tls-key-other",
                "the evidence names another TLS key than the connection's",
            )
            .resting_on(bound),
        }
    }

    fn machine(
        &self,
        document: &ProviderDocument,
        attestation: &Attestation,
        rule: &ServiceRule,
        component: Component,
    ) -> Judged {
        let quote = match Quote::parse(&attestation.quote) {
            Ok(quote) => quote,
            Err(error) => {
                let outcome = CheckOutcome::fail(error.code(), error.to_string());
                return Judged::stopped(Name::Quote, outcome);
            }
        };
        let said = quote.claims().report_data;
        let (nonce, fresh) = self.nonce(&said);
        let key = bound_key(attestation);
        let mut expected = [0; REPORT_DATA_BYTES];
        expected[..32].copy_from_slice(&key);
        expected[32..].copy_from_slice(&nonce);
        let collateral = document.collateral_for(&quote);
        let expectation = match self.exchange {
            Exchange::Challenge { .. } => QuoteExpectation::Challenge(expected),
            Exchange::ArchiveAudit => QuoteExpectation::ArchiveAudit(expected),
        };
        let (quoted, hardware) = self.quoted(&attestation.quote, collateral, expectation);
        let binds = CheckOutcome::when(
            said[..32] == key,
            "key-not-in-quote",
            "the quote does not bind the key that signs receipts",
        );
        let mut judged = Judged {
            made: vec![
                (Name::SigningKey, binds.resting_on(&quoted)),
                (Name::Nonce, fresh.resting_on(&quoted)),
            ],
            key: Some(attestation.key),
            hardware,
            gpus: None,
            until: None,
        };
        let said = Said {
            log: &attestation.log,
            compose: &attestation.compose,
        };
        let measured = service::check(said, rule, quote.claims());
        let measured = measured
            .into_iter()
            .map(|(name, outcome)| (name, outcome.resting_on(&quoted)));
        judged.made.extend(measured);
        if let Component::Model(_) = component {
            let (outcome, gpus) = self.gpus(attestation.gpus.as_deref(), nonce);
            judged.made.push((Name::Gpu, outcome.resting_on(&quoted)));
            judged.gpus = gpus;
        }
        judged.made.push((Name::Quote, quoted));
        judged
    }

    /// What the verifier's appraisal of a quote comes to, and its proof.
    fn quoted(
        &self,
        quote: &[u8],
        collateral: Option<&Collateral>,
        expected: QuoteExpectation,
    ) -> (CheckOutcome, Option<Hardware>) {
        let Some(policy) = self.policy.quote() else {
            let words = "the policy names none for quotes of Intel TDX";
            return (CheckOutcome::not_evaluated("quote-no-policy", words), None);
        };
        let appraised = appraise_quote(quote, collateral, policy, expected, self.now);
        let outcome = outcome_of(&appraised);
        let proof = appraised.into_verified().ok().map(Hardware::Tdx);
        (outcome, proof)
    }

    /// The nonce that is expected, and what its comparison answers. What an archive holds is compared with
    /// itself, so that devices and quote must still agree.
    fn nonce(&self, said: &[u8; REPORT_DATA_BYTES]) -> ([u8; 32], CheckOutcome) {
        let mut found = [0; 32];
        found.copy_from_slice(&said[32..]);
        match self.exchange {
            Exchange::Challenge { nonce, .. } => {
                let words = "the quote was made for another challenge";
                let same = CheckOutcome::when(found == *nonce.as_bytes(), "nonce-mismatch", words);
                (*nonce.as_bytes(), same)
            }
            Exchange::ArchiveAudit => (found, archive()),
        }
    }

    fn gpus(&self, payload: Option<&str>, nonce: [u8; 32]) -> (CheckOutcome, Option<VerifiedGpus>) {
        let Some(payload) = payload else {
            let words = "the machine shows no evidence of its GPUs";
            return (CheckOutcome::not_evaluated("gpu-not-supplied", words), None);
        };
        let Some(policy) = self.policy.gpu() else {
            let words = "the policy names none for devices";
            return (CheckOutcome::not_evaluated("gpu-no-policy", words), None);
        };
        let fresh = Freshness::Challenge(Nonce::from_random(nonce));
        let appraisal = appraise_unendorsed_gpus(payload.as_bytes(), policy, fresh, self.now);
        let failure = appraisal.first_failure();
        match (appraisal.into_verified(), failure) {
            (Ok(gpus), _) => (CheckOutcome::Pass, Some(gpus)),
            (Err(_), Some((check, cause))) => {
                let words = format!("check `{check}` of a device or of all");
                (CheckOutcome::fail(cause.as_str(), words), None)
            }
            (Err(_), None) => {
                let words = "a check on devices that their policy requires was not made";
                (CheckOutcome::not_evaluated("gpu-incomplete", words), None)
            }
        }
    }

    fn finish(self, evidence: Digest, machines: Option<Machines>) -> ProviderAppraisal {
        let policy = self.policy;
        let (checks, now) = (ordered(self.checks), self.now);
        let verdict = verdict_of(&checks, policy);
        let proof = machines
            .filter(|found| found.whole && (!found.models.is_empty() || policy.is_aggregator()))
            .and_then(|found| prove(found, policy, &checks, evidence));
        ProviderAppraisal {
            policy: policy.name().to_owned(),
            policy_digest: policy.digest(),
            assurance: policy.assurance(),
            at: now,
            verdict,
            evidence,
            obstacle: obstacle(&checks, policy),
            checks,
            proof,
        }
    }
}

fn archive() -> CheckOutcome {
    let words =
        "evidence from an archive cannot show that it was fresh, nor whose connection it was";
    CheckOutcome::not_evaluated("archive-audit", words)
}

/// The first half of report data: SHA-256 of key and TLS key, or the key alone with zeroes behind it.
fn bound_key(attestation: &Attestation) -> [u8; 32] {
    let key = attestation.key.bytes();
    if let Some(spki) = attestation.tls_spki {
        return Sha256::new()
            .chain_update(key)
            .chain_update(spki.as_bytes())
            .finalize()
            .into();
    }
    let mut padded = [0; 32];
    for (place, byte) in padded.iter_mut().zip(key) {
        *place = *byte;
    }
    padded
}

/// What the verifier's whole appraisal of a quote comes to. Binding and freshness are checks of their
/// own here.
fn outcome_of(appraisal: &QuoteAppraisal) -> CheckOutcome {
    let own = [CheckName::ReportDataBinding, CheckName::Nonce];
    let checks = appraisal.checks().iter();
    let checks = checks.filter(|check| !own.contains(&check.name));
    worst(checks.map(|check| match &check.outcome {
        Outcome::Pass => CheckOutcome::Pass,
        Outcome::Fail { cause, words } => {
            let words = format!("check `{}`: {words}", check.name);
            CheckOutcome::fail(cause.as_str(), words)
        }
        Outcome::NotEvaluated(reason) => {
            let words = format!("check `{}`: {reason}", check.name);
            CheckOutcome::not_evaluated(reason.code(), words)
        }
    }))
}

/// The first failure, or else the first that was not made, or else a pass.
fn worst(outcomes: impl Iterator<Item = CheckOutcome>) -> CheckOutcome {
    let mut worst = CheckOutcome::Pass;
    for outcome in outcomes {
        match (&worst, &outcome) {
            (_, CheckOutcome::Fail { .. }) => return outcome,
            (CheckOutcome::Pass, CheckOutcome::NotEvaluated { .. }) => worst = outcome,
            _ => {}
        }
    }
    worst
}

/// What came of one machine.
struct Judged {
    made: Vec<(Name, CheckOutcome)>,
    key: Option<SigningKey>,
    hardware: Option<Hardware>,
    gpus: Option<VerifiedGpus>,
    until: Option<Timestamp>,
}

impl Judged {
    fn stopped(name: Name, outcome: CheckOutcome) -> Self {
        Self {
            made: vec![(name, outcome)],
            key: None,
            hardware: None,
            gpus: None,
            until: None,
        }
    }

    fn outcome(&self, name: Name) -> &CheckOutcome {
        const NOT_REACHED: &CheckOutcome = &CheckOutcome::NotEvaluated {
            code: "not-reached",
            words: String::new(),
        };
        let found = self.made.iter().find(|(made, _)| *made == name);
        found.map_or(NOT_REACHED, |(_, outcome)| outcome)
    }
}

impl Machines {
    /// No machine yet behind the end of the connection, whose key is bound where there is one.
    const fn none(tls_spki: Option<Digest>) -> Self {
        Self {
            gateway: None,
            models: Vec::new(),
            whole: true,
            tls_spki,
            keyset: None,
            sealing_key: None,
        }
    }

    /// Takes over what a machine showed, and answers every one of its checks.
    fn take(
        &mut self,
        (component, names): (Component, &[Name]),
        judged: Judged,
        checks: &mut Vec<ProviderCheck>,
    ) {
        checks.extend(names.iter().map(|name| ProviderCheck {
            component,
            name: *name,
            outcome: judged.outcome(*name).clone(),
        }));
        let Some(hardware) = judged.hardware else {
            self.whole = false;
            return;
        };
        let machine = Machine {
            key: judged.key,
            hardware,
            gpus: judged.gpus,
            until: judged.until,
        };
        match component {
            Component::Model(_) => self.models.push(machine),
            Component::Gateway | Component::Provider => self.gateway = Some(machine),
        }
    }
}

/// The checks on the provider in their order, with one that was not reached as what it is.
fn ordered(made: Vec<ProviderCheck>) -> Vec<ProviderCheck> {
    let (provider, machines): (Vec<_>, Vec<_>) = made
        .into_iter()
        .partition(|check| check.component == Component::Provider);
    let answer = |name: &Name| {
        let found = provider.iter().find(|check| check.name == *name).cloned();
        found.unwrap_or_else(|| ProviderCheck {
            component: Component::Provider,
            name: *name,
            outcome: CheckOutcome::not_evaluated("not-reached", "an earlier check did not pass"),
        })
    };
    let mut checks: Vec<_> = Name::PROVIDER.iter().map(answer).collect();
    checks.extend(machines);
    checks
}

fn verdict_of(checks: &[ProviderCheck], policy: &ProviderPolicy) -> Verdict {
    let each = checks.iter().map(|check| match check.outcome {
        CheckOutcome::Pass => Verdict::Accept,
        CheckOutcome::Fail { .. } => Verdict::Reject,
        CheckOutcome::NotEvaluated { .. } if policy.tolerates(check.name) => Verdict::Accept,
        CheckOutcome::NotEvaluated { .. } => Verdict::Incomplete,
    });
    each.max().unwrap_or(Verdict::Incomplete)
}

fn obstacle(checks: &[ProviderCheck], policy: &ProviderPolicy) -> Option<usize> {
    let place = |wanted: &dyn Fn(&ProviderCheck) -> bool| checks.iter().position(wanted);
    let open = |check: &ProviderCheck| {
        check.outcome != CheckOutcome::Pass && !policy.tolerates(check.name)
    };
    place(&|check| matches!(check.outcome, CheckOutcome::Fail { .. }))
        // what is unproved says nothing that another check does not say
        .or_else(|| place(&|check| open(check) && check.outcome.code() != Some(UNPROVED)))
        .or_else(|| place(&open))
}

fn prove(
    found: Machines,
    policy: &ProviderPolicy,
    checks: &[ProviderCheck],
    evidence: Digest,
) -> Option<VerifiedProvider> {
    let machines = found.gateway.iter().chain(&found.models);
    let ends = machines.flat_map(|machine| {
        let gpus = machine.gpus.as_ref().map(VerifiedGpus::expires);
        let all = [Some(machine.hardware.expires()), gpus, machine.until];
        all.into_iter().flatten()
    });
    Some(VerifiedProvider {
        format: policy.format(),
        model: policy.model().to_owned(),
        tls_spki: found.tls_spki,
        sealing_key: found.sealing_key,
        receipts: policy.receipts(),
        checks: checks.to_vec(),
        expires: ends.min()?,
        evidence,
        policy_name: policy.name().to_owned(),
        policy_digest: policy.digest(),
        assurance: policy.assurance(),
        gateway: found.gateway,
        machines: found.models,
        keyset: found.keyset,
    })
}
