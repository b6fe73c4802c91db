//! The appraisal of `proofroom-enclave`: its quote binds one statement, and all that it says of keys, model,
//! weights, image and GPUs counts only if it does.

use proofroom_canonical::{Digest, Nonce};
use proofroom_evidence::{Quote, ReportData};
use proofroom_serving::{ServingReport, ServingStatement};
use proofroom_verifier::{QuoteExpectation, gpu::VerifiedGpus};

use super::{Exchange, Judged, Machines, Work, archive};
use crate::{
    CheckOutcome, Component, ProviderCheckName as Name, ProviderDocument, SigningKey,
    policy::ServingRule,
};

/// The one machine of a report.
const ENCLAVE: Component = Component::Model(0);
const OTHER_KEY: &str = "the evidence names another TLS key than the connection's";

/// Somebody ends TLS before the enclave, and sees what is sealed to it.
fn relayed() -> CheckOutcome {
    let words = "the connection ends before the enclave, to whose key requests are sealed";
    CheckOutcome::not_evaluated("tls-key-relayed", words)
}

/// Whether requests can be sealed, where they must be.
fn sealing_key(statement: &ServingStatement, rule: &ServingRule) -> CheckOutcome {
    if !rule.sealed {
        let words = "the policy does not demand that requests are sealed";
        return CheckOutcome::not_evaluated("sealing-not-demanded", words);
    }
    let words = "the statement has no key that requests can be sealed to";
    let offered = statement.sealing_key().is_some();
    CheckOutcome::when(offered, "sealing-not-offered", words)
}

impl Work<'_> {
    pub(super) fn judge_enclave(
        &mut self,
        document: &ProviderDocument,
        report: &ServingReport,
        rule: &ServingRule,
    ) -> Machines {
        let statement = ServingStatement::parse(report.statement.as_bytes());
        let (judged, mut found) = match statement {
            Ok(statement) => {
                let judged = self.enclave(document, (report, &statement), rule);
                let bound = judged.outcome(Name::Statement);
                let tls = self.answer_for_all(&statement, bound, rule);
                let mut found = Machines::none(tls.then_some(statement.tls_spki_sha256));
                if *judged.outcome(Name::SealingKey) == CheckOutcome::Pass {
                    found.sealing_key = statement.sealing_key();
                }
                (judged, found)
            }
            Err(error) => {
                let outcome = CheckOutcome::fail(error.code(), error.to_string());
                let judged = Judged::stopped(Name::Statement, outcome);
                (judged, Machines::none(None))
            }
        };
        let names = match rule.sealed {
            true => Name::SEALED_ENCLAVE,
            false => Name::ENCLAVE,
        };
        found.take((ENCLAVE, names), judged, &mut self.checks);
        found
    }

    /// The checks on the provider as a whole; whether the key of the connection is the enclave's.
    fn answer_for_all(
        &mut self,
        statement: &ServingStatement,
        bound: &CheckOutcome,
        rule: &ServingRule,
    ) -> bool {
        let words = "the enclave serves another model";
        let model = statement.model == self.policy.model();
        let model = CheckOutcome::when(model, "model-other", words).resting_on(bound);
        self.set(Component::Provider, Name::Model, model);
        let tls = match self.exchange {
            Exchange::ArchiveAudit => archive(),
            Exchange::Challenge { tls_spki, .. } => {
                let same = statement.tls_spki_sha256 == tls_spki;
                let outcome = match !same && rule.sealed && self.policy.tolerates(Name::TlsKey) {
                    true => relayed(),
                    false => CheckOutcome::when(same, "tls-key-other", OTHER_KEY),
                };
                outcome.resting_on(bound)
            }
        };
        let is_its_own = tls == CheckOutcome::Pass;
        self.set(Component::Provider, Name::TlsKey, tls);
        is_its_own
    }

    /// Every check on the machine.
    fn enclave(
        &self,
        document: &ProviderDocument,
        (report, statement): (&ServingReport, &ServingStatement),
        rule: &ServingRule,
    ) -> Judged {
        let quote = match Quote::parse(&report.quote) {
            Ok(quote) => quote,
            Err(error) => {
                let outcome = CheckOutcome::fail(error.code(), error.to_string());
                return Judged::stopped(Name::Quote, outcome);
            }
        };
        let data = *ReportData::of_statement(report.statement.as_bytes()).as_bytes();
        let fresh = self.fresh(statement.nonce);
        let expectation = match fresh {
            CheckOutcome::Pass => QuoteExpectation::Challenge(data),
            _ => QuoteExpectation::ArchiveAudit(data),
        };
        let collateral = document.collateral_for(&quote);
        let (quoted, hardware) = self.quoted(&report.quote, collateral, expectation);
        let words = "the quote is not about this statement";
        let same = quote.claims().report_data == data;
        let bound = CheckOutcome::when(same, "report-data-mismatch", words).resting_on(&quoted);
        let (gpu, gpus) = self.enclave_gpus(report, statement);
        let said = self.said(statement, rule);
        let said = [
            (Name::Nonce, fresh),
            (Name::Gpu, gpu),
            (Name::SealingKey, sealing_key(statement, rule)),
        ]
        .into_iter()
        .chain(said);
        let mut made: Vec<_> = said
            .map(|(name, outcome)| (name, outcome.resting_on(&bound)))
            .collect();
        made.extend([(Name::Quote, quoted), (Name::Statement, bound)]);
        Judged {
            made,
            key: Some(SigningKey::Ed25519(*statement.receipt_key.as_bytes())),
            hardware,
            gpus,
            until: Some(statement.not_after),
        }
    }

    fn fresh(&self, said: Nonce) -> CheckOutcome {
        match self.exchange {
            Exchange::ArchiveAudit => archive(),
            Exchange::Challenge { nonce, .. } => {
                let words = "the statement was made for another challenge";
                CheckOutcome::when(said == nonce, "nonce-mismatch", words)
            }
        }
    }

    /// What the statement says of itself, its weights and its image.
    fn said(&self, statement: &ServingStatement, rule: &ServingRule) -> [(Name, CheckOutcome); 3] {
        let listed = |values: &[Digest], found: Digest, code| match values.contains(&found) {
            true => CheckOutcome::Pass,
            false => CheckOutcome::fail(code, format!("the policy does not list {found}")),
        };
        let words = "the enclave does not stand by its statement any more";
        let holds = self.now < statement.not_after;
        [
            (
                Name::StatementExpiry,
                CheckOutcome::when(holds, "statement-expired", words),
            ),
            (
                Name::Weights,
                listed(&rule.weights, statement.weights, "weights-not-allowed"),
            ),
            (
                Name::Image,
                listed(&rule.images, statement.image, "image-not-allowed"),
            ),
        ]
    }

    /// The devices of the report, which must be those that the statement binds.
    fn enclave_gpus(
        &self,
        report: &ServingReport,
        statement: &ServingStatement,
    ) -> (CheckOutcome, Option<VerifiedGpus>) {
        let shown = report.gpu_evidence.as_deref();
        if shown.map(Digest::of) != statement.gpu_evidence {
            let words = "the statement is about other evidence of GPUs than the report shows";
            return (CheckOutcome::fail("gpu-not-bound", words), None);
        }
        self.gpus(shown, *statement.nonce.as_bytes())
    }
}
