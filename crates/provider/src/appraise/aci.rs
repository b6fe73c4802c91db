//! The appraisal of a service of ACI: its quote binds one keyset and one challenge, and the keys in that count only
//! if it does.

use proofroom_canonical::Nonce;
use proofroom_evidence::{Quote, REPORT_DATA_BYTES};
use proofroom_verifier::QuoteExpectation;

use super::{Exchange, Judged, Machines, Work, archive};
use crate::{
    CheckOutcome, Component, ProviderCheckName as Name, ProviderDocument, SigningKey,
    aci::{AciReport, AttestedKeys, Keyset, Serving, judge_custody, statement},
    policy::{KeysetRule, ServiceRule},
    service::{self, Said},
};

/// A quote as it was read, with what it is expected to bind and whether it does.
struct Bound<'a> {
    quote: &'a Quote,
    data: [u8; REPORT_DATA_BYTES],
    keyset: CheckOutcome,
    nonce: CheckOutcome,
}

impl Work<'_> {
    pub(super) fn judge_aci(
        &mut self,
        document: &ProviderDocument,
        report: &AciReport,
        (rule, machine): (&KeysetRule, &ServiceRule),
    ) -> Machines {
        let (component, names) = match rule.serving {
            Serving::Direct => (Component::Model(0), Name::ACI),
            Serving::Aggregator => (Component::Gateway, Name::ACI_AGGREGATOR),
        };
        let words = "a service of this protocol attests itself and no model";
        let model = CheckOutcome::not_evaluated("model-not-named", words);
        self.set(Component::Provider, Name::Model, model);
        let keyset = Keyset::read(&report.keyset);
        let keys = keyset
            .as_ref()
            .ok()
            .map(|keyset| AttestedKeys::of(keyset, rule));
        let judged = match keyset {
            Ok(keyset) => {
                let judged = self.aci(document, (report, &keyset), (rule, machine));
                let tls = self.keyset_tls(&keyset, rule, judged.outcome(Name::Keyset));
                self.set(Component::Provider, Name::TlsKey, tls);
                judged
            }
            Err(problem) => {
                let words = format!("the keyset {problem}");
                Judged::stopped(Name::Keyset, CheckOutcome::fail("keyset-malformed", words))
            }
        };
        let mut found = Machines {
            keyset: keys,
            ..Machines::none(self.bound_connection())
        };
        found.take((component, names), judged, &mut self.checks);
        found
    }

    /// The key of the connection, where the check on it passed.
    fn bound_connection(&self) -> Option<proofroom_canonical::Digest> {
        let passed = self
            .checks
            .iter()
            .any(|check| check.name == Name::TlsKey && check.outcome == CheckOutcome::Pass);
        match self.exchange {
            Exchange::Challenge { tls_spki, .. } if passed => Some(tls_spki),
            Exchange::Challenge { .. } | Exchange::ArchiveAudit => None,
        }
    }

    fn keyset_tls(&self, keyset: &Keyset, rule: &KeysetRule, bound: &CheckOutcome) -> CheckOutcome {
        if !keyset.offers_tls() {
            let words = "the keyset binds no key of a connection";
            return CheckOutcome::not_evaluated("tls-key-not-offered", words);
        }
        match self.exchange {
            Exchange::ArchiveAudit => archive(),
            Exchange::Challenge { tls_spki, .. } => {
                let words = "the keyset does not name the connection's key for this domain";
                let named = keyset.names_tls(tls_spki, rule.domain.as_deref());
                CheckOutcome::when(named, "tls-key-other", words).resting_on(bound)
            }
        }
    }

    fn aci(
        &self,
        document: &ProviderDocument,
        (report, keyset): (&AciReport, &Keyset),
        (rule, machine): (&KeysetRule, &ServiceRule),
    ) -> Judged {
        let stated = stated(report, keyset);
        let quote = match Quote::parse(&report.quote) {
            Ok(quote) => quote,
            Err(error) => {
                let outcome = CheckOutcome::fail(error.code(), error.to_string());
                let mut judged = Judged::stopped(Name::Quote, outcome);
                let unread = CheckOutcome::not_evaluated("not-reached", "the quote cannot be read");
                let keyset = if stated == CheckOutcome::Pass {
                    unread
                } else {
                    stated
                };
                judged.made.push((Name::Keyset, keyset));
                return judged;
            }
        };
        let bound = self.bound(document.challenge(), (report, keyset), &quote);
        let bound = Bound {
            keyset: worse(stated, worse(bound.keyset, subject(keyset, rule))),
            ..bound
        };
        self.aci_quoted(document, (report, keyset), (rule, machine), bound)
    }

    /// What the quote must bind, and whether it does: this keyset for this very challenge.
    fn bound<'a>(
        &self,
        kept: Option<Nonce>,
        (report, keyset): (&AciReport, &Keyset),
        quote: &'a Quote,
    ) -> Bound<'a> {
        let said = quote.claims().report_data;
        let challenge = match self.exchange {
            Exchange::Challenge { nonce, .. } => Some(nonce),
            Exchange::ArchiveAudit => kept,
        };
        let wanted = statement(keyset.digest, challenge);
        let unchallenged = statement(keyset.digest, None);
        let live = self.exchange != Exchange::ArchiveAudit;
        let (data, nonce) = match () {
            () if !live => (wanted, archive()),
            () if said == wanted => (wanted, CheckOutcome::Pass),
            () if said == unchallenged => {
                let words = "the quote was made for no challenge at all";
                (unchallenged, CheckOutcome::fail("nonce-absent", words))
            }
            () => (wanted, CheckOutcome::Pass),
        };
        let same = said == data && report.report_data[..] == data[..32];
        let words = "the quote binds another keyset or another challenge";
        Bound {
            quote,
            data,
            keyset: CheckOutcome::when(same, "keyset-not-in-quote", words),
            nonce,
        }
    }

    fn aci_quoted(
        &self,
        document: &ProviderDocument,
        (report, keyset): (&AciReport, &Keyset),
        (rule, machine): (&KeysetRule, &ServiceRule),
        bound: Bound<'_>,
    ) -> Judged {
        let expectation = match bound.nonce {
            CheckOutcome::Pass => QuoteExpectation::Challenge(bound.data),
            _ => QuoteExpectation::ArchiveAudit(bound.data),
        };
        let collateral = document.collateral_for(bound.quote);
        let (quoted, hardware) = self.quoted(&report.quote, collateral, expectation);
        let is_bound = bound.keyset.resting_on(&quoted);
        let said = Said {
            log: &report.log,
            compose: &report.compose,
        };
        let mut made: Vec<_> = service::check(said, machine, bound.quote.claims())
            .into_iter()
            .map(|(name, outcome)| (name, outcome.resting_on(&quoted)))
            .collect();
        let custody = custody(report, keyset, rule, &made).resting_on(&is_bound);
        made.extend([
            (Name::Nonce, bound.nonce.resting_on(&is_bound)),
            (
                Name::KeysetExpiry,
                self.expiry(keyset, rule).resting_on(&is_bound),
            ),
            (Name::SigningKey, signs(keyset).resting_on(&is_bound)),
            (Name::KeyCustody, custody),
            (Name::Gpu, self.gpus(None, [0; 32]).0),
            (Name::Keyset, is_bound),
            (Name::Quote, quoted),
        ]);
        let first = keyset.receipt_keys.first();
        Judged {
            made,
            key: first.map(|key| SigningKey::Ed25519(key.key)),
            hardware,
            gpus: None,
            until: Some(keyset.not_after),
        }
    }

    fn expiry(&self, keyset: &Keyset, rule: &KeysetRule) -> CheckOutcome {
        if self.now >= keyset.not_after {
            return CheckOutcome::fail("keyset-expired", "the keyset has expired");
        }
        let latest = self.now.after_seconds(rule.max_seconds);
        let words = "the keyset promises to hold for longer than the policy allows";
        CheckOutcome::when(keyset.not_after <= latest, "keyset-lifetime", words)
    }
}

/// Whether the report says of its keyset what is so.
fn stated(report: &AciReport, keyset: &Keyset) -> CheckOutcome {
    let words = "the report gives another digest than its keyset's";
    CheckOutcome::when(
        report.keyset_digest == keyset.digest,
        "keyset-digest",
        words,
    )
}

fn subject(keyset: &Keyset, rule: &KeysetRule) -> CheckOutcome {
    let named = keyset.subject.as_ref();
    let allowed = named.is_none_or(|subject| rule.subjects.contains(subject));
    let words = "the keyset names itself as the policy does not allow";
    CheckOutcome::when(allowed, "subject-not-allowed", words)
}

fn signs(keyset: &Keyset) -> CheckOutcome {
    let words = "the keyset has no Ed25519 key that signs receipts";
    CheckOutcome::when(
        !keyset.receipt_keys.is_empty(),
        "receipt-key-missing",
        words,
    )
}

/// Rests on the log, which says for which application the keys must be.
fn custody(
    report: &AciReport,
    keyset: &Keyset,
    rule: &KeysetRule,
    made: &[(Name, CheckOutcome)],
) -> CheckOutcome {
    let app_id = service::app_id(&report.log);
    let judged = judge_custody(
        report.custody.as_ref(),
        keyset,
        app_id.as_deref(),
        &rule.kms_roots,
    );
    let log = made.iter().find(|(name, _)| *name == Name::EventLog);
    match log {
        Some((_, log)) => judged.resting_on(log),
        None => judged,
    }
}

fn worse(one: CheckOutcome, other: CheckOutcome) -> CheckOutcome {
    if one == CheckOutcome::Pass {
        other
    } else {
        one
    }
}
