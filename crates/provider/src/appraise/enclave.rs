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

impl Work<'_> {
    pub(super) fn judge_enclave(
        &mut self,
        document: &ProviderDocument,
        report: &ServingReport,
        rule: &ServingRule,
    ) -> Machines {
        let statement = ServingStatement::parse(report.statement.as_bytes());
        let (judged, tls_spki) = match statement {
            Ok(statement) => {
                let judged = self.enclave(document, (report, &statement), rule);
                let tls = self.answer_for_all(&statement, judged.outcome(Name::Statement));
                (judged, tls.then_some(statement.tls_spki_sha256))
            }
            Err(error) => {
                let outcome = CheckOutcome::fail(error.code(), error.to_string());
                (Judged::stopped(Name::Statement, outcome), None)
            }
        };
        let mut found = Machines::none(tls_spki);
        found.take((ENCLAVE, Name::ENCLAVE), judged, &mut self.checks);
        found
    }

    /// The checks on the provider as a whole; whether the key of the connection is the enclave's.
    fn answer_for_all(&mut self, statement: &ServingStatement, bound: &CheckOutcome) -> bool {
        let words = "the enclave serves another model";
        let model = statement.model == self.policy.model();
        let model = CheckOutcome::when(model, "model-other", words).resting_on(bound);
        self.set(Component::Provider, Name::Model, model);
        let tls = match self.exchange {
            Exchange::ArchiveAudit => archive(),
            Exchange::Challenge { tls_spki, .. } => {
                let words = "the evidence names another TLS key than the connection's";
                let same = statement.tls_spki_sha256 == tls_spki;
                CheckOutcome::when(same, "tls-key-other", words).resting_on(bound)
            }
        };
        let is_its_own = tls == CheckOutcome::Pass;
        self.set(Component::Provider, Name::TlsKey, tls);
        is_its_own
    }

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
        let said = [(Name::Nonce, fresh), (Name::Gpu, gpu)]
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
