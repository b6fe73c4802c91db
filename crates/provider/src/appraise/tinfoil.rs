//! The appraisal of a Tinfoil enclave: its report or quote binds the challenge and two sections, and the keys and
//! devices in them count only if it does.

use proofroom_canonical::Digest;
use proofroom_evidence::{Quote, REPORT_DATA_BYTES};
use proofroom_verifier::{
    QuoteExpectation, SnpAppraisal, SnpChain, SnpExpectation, SnpOutcome, appraise_snp,
};

use super::{Exchange, Judged, Machines, Work, archive, worst};
use crate::{
    CheckOutcome, Component, ProviderCheckName as Name, ProviderDocument,
    aci::Serving,
    tinfoil::{Processor, TinfoilReport},
    verified::Hardware,
};

impl Work<'_> {
    pub(super) fn judge_tinfoil(
        &mut self,
        document: &ProviderDocument,
        report: &TinfoilReport,
        serving: Serving,
    ) -> Machines {
        let (component, names) = match serving {
            Serving::Direct => (Component::Model(0), Name::TINFOIL),
            Serving::Aggregator => (Component::Gateway, Name::TINFOIL_AGGREGATOR),
        };
        let words = "the evidence is about a machine, and names no model";
        let model = CheckOutcome::not_evaluated("model-not-named", words);
        self.set(Component::Provider, Name::Model, model);
        let judged = self.tinfoil(document, report);
        let tls = self.attested_tls(report.tls_spki, judged.outcome(Name::Statement));
        let bound = report.tls_spki.filter(|_| tls == CheckOutcome::Pass);
        self.set(Component::Provider, Name::TlsKey, tls);
        let mut found = Machines::none(bound);
        found.take((component, names), judged, &mut self.checks);
        found
    }

    fn attested_tls(&self, named: Option<Digest>, bound: &CheckOutcome) -> CheckOutcome {
        match (named, self.exchange) {
            (None, _) => CheckOutcome::not_evaluated(
                "tls-key-not-offered",
                "the enclave names no key of a connection",
            ),
            (_, Exchange::ArchiveAudit) => archive(),
            (Some(named), Exchange::Challenge { tls_spki, .. }) => {
                let words = "the evidence names another TLS key than the connection's";
                CheckOutcome::when(named == tls_spki, "tls-key-other", words).resting_on(bound)
            }
        }
    }

    fn tinfoil(&self, document: &ProviderDocument, report: &TinfoilReport) -> Judged {
        let fresh = match self.exchange {
            Exchange::ArchiveAudit => archive(),
            Exchange::Challenge { nonce, .. } => {
                let words = "the evidence was made for another challenge";
                CheckOutcome::when(report.nonce == nonce, "nonce-mismatch", words)
            }
        };
        let live = fresh == CheckOutcome::Pass;
        let (quoted, said, hardware) = match report.processor {
            Processor::Snp => self.snp(report, live),
            Processor::Tdx => self.tdx(document, report, live),
        };
        let bound = stated(report, said).resting_on(&quoted);
        let (gpu, gpus) = match &report.gpus {
            Ok(list) => self.gpus(list.as_deref(), *report.nonce.as_bytes()),
            Err(words) => (CheckOutcome::fail("gpu-evidence-unknown", *words), None),
        };
        let words = "the measurements are compared with the policy's; the release's Sigstore bundles are not read";
        let release = CheckOutcome::not_evaluated("release-not-read", words);
        Judged {
            made: vec![
                (Name::Nonce, fresh.resting_on(&bound)),
                (Name::Gpu, gpu.resting_on(&bound)),
                (Name::ReleaseProvenance, release),
                (Name::Statement, bound),
                (Name::Quote, quoted),
            ],
            key: None,
            hardware,
            gpus,
            until: None,
        }
    }

    /// What the quote's appraisal comes to, the report data in it, and the proof.
    fn tdx(&self, document: &ProviderDocument, report: &TinfoilReport, live: bool) -> Appraised {
        let quote = match Quote::parse(&report.evidence) {
            Ok(quote) => quote,
            Err(error) => {
                let outcome = CheckOutcome::fail(error.code(), error.to_string());
                return (outcome, None, None);
            }
        };
        let expected = match live {
            true => QuoteExpectation::Challenge(report.report_data),
            false => QuoteExpectation::ArchiveAudit(report.report_data),
        };
        let collateral = document.collateral_for(&quote);
        let (outcome, proof) = self.quoted(&report.evidence, collateral, expected);
        (outcome, Some(quote.claims().report_data), proof)
    }

    fn snp(&self, report: &TinfoilReport, live: bool) -> Appraised {
        let Some(policy) = self.policy.snp() else {
            let words = "the policy names none for reports of AMD SEV-SNP";
            return (
                CheckOutcome::not_evaluated("snp-no-policy", words),
                None,
                None,
            );
        };
        let Some(chain) = &report.chain else {
            let words = "the document brings no certificates of AMD's along";
            return (
                CheckOutcome::not_evaluated("not-supplied", words),
                None,
                None,
            );
        };
        let chain = SnpChain {
            leaf: &chain.leaf,
            intermediate: &chain.intermediate,
            root: &chain.root,
            crl: chain.crl.as_deref(),
        };
        let expected = match live {
            true => SnpExpectation::Challenge(report.report_data),
            false => SnpExpectation::ArchiveAudit(report.report_data),
        };
        let appraised = appraise_snp(&report.evidence, chain, policy, expected, self.now);
        let outcome = outcome_of(&appraised);
        let said = proofroom_evidence::snp::SnpReport::parse(&report.evidence);
        let said = said.ok().map(|report| report.claims().report_data);
        let proof = appraised.into_verified().ok().map(Hardware::Snp);
        (outcome, said, proof)
    }
}

/// Outcome, report data as signed, and the proof where there is one.
type Appraised = (
    CheckOutcome,
    Option<[u8; REPORT_DATA_BYTES]>,
    Option<Hardware>,
);

/// Whether the processor signed what the document shows, and the document states that too.
fn stated(report: &TinfoilReport, said: Option<[u8; REPORT_DATA_BYTES]>) -> CheckOutcome {
    let Some(said) = said else {
        let words = "what the processor signed cannot be read or was not judged";
        return CheckOutcome::not_evaluated("not-reached", words);
    };
    if !report.states_itself {
        let words = "the document states digests that are not those of its sections";
        return CheckOutcome::fail("section-digest", words);
    }
    let words = "the processor signed other sections or another challenge";
    CheckOutcome::when(said == report.report_data, "report-data-mismatch", words)
}

/// What the verifier's whole appraisal of a report comes to. Binding and freshness are checks of their own here.
fn outcome_of(appraisal: &SnpAppraisal) -> CheckOutcome {
    use proofroom_verifier::SnpCheckName as Snp;
    let own = [Snp::ReportDataBinding, Snp::Freshness];
    let checks = appraisal.checks().iter();
    let checks = checks.filter(|check| !own.contains(&check.name));
    worst(checks.map(|check| match &check.outcome {
        SnpOutcome::Pass => CheckOutcome::Pass,
        SnpOutcome::Fail { cause, words } => {
            let words = format!("check `{}`: {words}", check.name);
            CheckOutcome::fail(cause.as_str(), words)
        }
        SnpOutcome::NotEvaluated(reason) => {
            let words = format!("check `{}`: {reason}", check.name);
            CheckOutcome::not_evaluated(reason.code(), words)
        }
    }))
}
