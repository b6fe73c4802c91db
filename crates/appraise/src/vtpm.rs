//! Reports on guests with a virtual TPM, of Azure and of Google.

use proofroom_canonical::Timestamp;
use proofroom_evidence::{Base64, HclReport, HclTee, TpmQuote, VtpmDocument, VtpmGuest};
use proofroom_verifier::{
    GcpAppraisal, GcpEvidence, GcpHardware, HardwareChecks, NamedCheck, PRODUCTION_AZURE_SNP,
    PRODUCTION_AZURE_TDX, PRODUCTION_GCP_SNP, PRODUCTION_GCP_TDX, SnpChain, VTPM_REGISTERS,
    VtpmAppraisal, VtpmCheckName, VtpmEvidence, VtpmHardware, VtpmPolicy, appraise_gcp,
    appraise_vtpm,
};

use crate::{
    Answer, Beside, Kind, Made, Policy, Proof, Report, Row, chain::Chain, quote, row::PolicyWords,
    snp,
};

/// What of an appraisal is its policy's own word. Of the hardware that is told check by check.
const WORDS: PolicyWords = PolicyWords {
    checks: &[
        "tee",
        "hardware",
        "instance",
        "reference-pcrs",
        "report-data",
    ],
    codes: &[
        "hardware-refused",
        "project-not-allowed",
        "pcr-selection-mismatch",
        "event-log-incomplete",
        "reference-mismatch",
        "report-data-mismatch",
    ],
};
/// What the rows on the hardware's own quote or report are about.
const HARDWARE: &str = "hardware";

pub(crate) fn report(
    evidence: &[u8],
    beside: &Beside,
    policy: Option<&Policy>,
    at: Timestamp,
) -> Report {
    let parse = "document-parse";
    let document = match VtpmDocument::parse(evidence) {
        Ok(document) => document,
        Err(error) => {
            let (code, words) = (error.code().to_owned(), error.to_string());
            let row = Row::new(parse, Answer::Fail { code, words });
            return Report::unproved(Kind::Vtpm, evidence, at, vec![row]);
        }
    };
    let given = Given::of(&document, beside);
    let mut rows = vec![Row::new(parse, Answer::Pass)];
    match policy {
        Some(named @ Policy::Vtpm(policy)) => {
            let judged = given.appraise(policy, at);
            rows.extend(given.rows(&judged));
            rows.extend(hardware_rows(judged.hardware_checks()));
            let report = judged.facts(Report::unproved(Kind::Vtpm, evidence, at, rows));
            let proof = given.answers_now().then(|| judged.proof()).flatten();
            report.under(named.facts(), proof)
        }
        _ => match VtpmPolicy::parse(given.shipped(), "shipped") {
            Ok(shipped) => {
                let judged = given.appraise(&shipped, at);
                rows.extend(WORDS.withdraw(given.rows(&judged)));
                let hardware = hardware_rows(judged.hardware_checks());
                rows.extend(snp::WORDS.withdraw(quote::WORDS.withdraw(hardware)));
                judged.facts(Report::unproved(Kind::Vtpm, evidence, at, rows))
            }
            Err(_) => Report::unproved(Kind::Vtpm, evidence, at, Vec::new()),
        },
    }
}

/// An appraisal of a guest of either cloud.
enum Judged {
    Azure(VtpmAppraisal),
    Gcp(GcpAppraisal),
}

impl Judged {
    fn checks(&self) -> &[NamedCheck<VtpmCheckName>] {
        match self {
            Self::Azure(appraisal) => appraisal.checks(),
            Self::Gcp(appraisal) => appraisal.checks(),
        }
    }

    const fn hardware_checks(&self) -> &HardwareChecks {
        match self {
            Self::Azure(appraisal) => appraisal.hardware_checks(),
            Self::Gcp(appraisal) => appraisal.hardware_checks(),
        }
    }

    fn facts(&self, report: Report) -> Report {
        match self {
            Self::Azure(appraisal) => report.with_facts("", appraisal),
            Self::Gcp(appraisal) => report.with_facts("", appraisal),
        }
    }

    fn proof(self) -> Option<Proof> {
        match self {
            Self::Azure(appraisal) => {
                let verified = appraisal.into_verified().ok()?;
                Some(Proof::Vtpm(Box::new(verified)))
            }
            Self::Gcp(appraisal) => {
                let verified = appraisal.into_verified().ok()?;
                Some(Proof::Gcp(Box::new(verified)))
            }
        }
    }
}

/// A document with what was supplied beside it.
struct Given<'a> {
    document: &'a VtpmDocument,
    beside: &'a Beside,
    pcrs: [[u8; 32]; VTPM_REGISTERS],
    chain: Option<Chain>,
    /// What the TPM's quote itself answers, so that the other checks can be made without a nonce.
    own: Vec<u8>,
}

impl<'a> Given<'a> {
    fn of(document: &'a VtpmDocument, beside: &'a Beside) -> Self {
        let quote = TpmQuote::parse(&document.quote.0);
        Self {
            document,
            beside,
            pcrs: document.registers(),
            chain: Chain::sort(&beside.certificates),
            own: quote.map(|quote| quote.qualifying_data).unwrap_or_default(),
        }
    }

    /// Whether there is a nonce that was made for this exchange.
    fn answers_now(&self) -> bool {
        let expected = &self.beside.expected;
        expected.nonce.is_some() && expected.made == Made::ForThisExchange
    }

    /// The shipped policy for guests like this one.
    fn shipped(&self) -> &'static str {
        match &self.document.guest {
            VtpmGuest::Azure { hcl_report } => match HclReport::parse(&hcl_report.0) {
                Ok(report) if report.tee() == HclTee::Snp => PRODUCTION_AZURE_SNP,
                _ => PRODUCTION_AZURE_TDX,
            },
            VtpmGuest::Gcp {
                snp_report: Some(_),
                ..
            } => PRODUCTION_GCP_SNP,
            VtpmGuest::Gcp { .. } => PRODUCTION_GCP_TDX,
        }
    }

    fn appraise(&self, policy: &VtpmPolicy, at: Timestamp) -> Judged {
        let nonce = self.beside.expected.nonce;
        let nonce = nonce
            .as_ref()
            .map_or(&self.own[..], |nonce| nonce.as_bytes());
        let (quote, signature) = (&self.document.quote.0, &self.document.signature.0);
        match &self.document.guest {
            VtpmGuest::Azure { hcl_report } => {
                let evidence = VtpmEvidence {
                    hcl_report: &hcl_report.0,
                    quote,
                    signature,
                    pcrs: &self.pcrs,
                    hardware: self.azure_hardware(&hcl_report.0),
                };
                Judged::Azure(appraise_vtpm(evidence, policy, nonce, at))
            }
            VtpmGuest::Gcp {
                ak_certificates,
                event_log,
                snp_report,
            } => {
                let evidence = GcpEvidence {
                    ak_certificates,
                    quote,
                    signature,
                    pcrs: &self.pcrs,
                    event_log: &event_log.0,
                    hardware: self.gcp_hardware(snp_report.as_ref()),
                };
                Judged::Gcp(appraise_gcp(evidence, policy, nonce, at))
            }
        }
    }

    fn azure_hardware(&self, hcl_report: &[u8]) -> VtpmHardware<'_> {
        let tdx = self.tdx();
        match HclReport::parse(hcl_report).map(|report| report.tee()) {
            Ok(HclTee::Snp) => self
                .snp()
                .map_or(VtpmHardware::NotSupplied, VtpmHardware::Snp),
            _ => tdx.map_or(VtpmHardware::NotSupplied, |(quote, collateral)| {
                VtpmHardware::Tdx(quote, collateral)
            }),
        }
    }

    fn gcp_hardware(&self, snp_report: Option<&'a Base64>) -> GcpHardware<'_> {
        match (snp_report, self.snp(), self.tdx()) {
            (Some(report), Some(chain), _) => GcpHardware::Snp(&report.0, chain),
            (None, _, Some((quote, collateral))) => GcpHardware::Tdx(quote, collateral),
            _ => GcpHardware::NotSupplied,
        }
    }

    fn tdx(&self) -> Option<(&[u8], &proofroom_evidence::Collateral)> {
        let quote = self.document.td_quote.as_ref()?;
        Some((&quote.0, self.beside.collateral.as_ref()?))
    }

    fn snp(&self) -> Option<SnpChain<'_>> {
        self.chain.as_ref().map(|chain| SnpChain {
            leaf: &chain.leaf,
            intermediate: &chain.intermediate,
            root: &chain.root,
            crl: self.beside.crl.as_deref(),
        })
    }

    /// The rows, with nothing said about what was not supplied, and no freshness shown by an archived nonce.
    fn rows(&self, judged: &Judged) -> Vec<Row> {
        let checks = judged.checks().iter();
        let mut rows: Vec<Row> = checks
            .map(|check| Row::of(check.name.as_str(), &check.outcome))
            .collect();
        let hardware = hardware_rows(judged.hardware_checks());
        for row in &mut rows {
            if let Some(answer) = self.instead_of(row, &hardware) {
                row.answer = answer;
            }
        }
        rows
    }

    fn instead_of(&self, row: &Row, hardware: &[Row]) -> Option<Answer> {
        let expected = &self.beside.expected;
        let shows_freshness = ["qualifying-data", "report-data"].contains(&row.check);
        match &row.answer {
            Answer::Fail { code, .. } if code == "tee-incomplete" => Some(Answer::not_supplied(
                "what vouches for the hardware (a TD's quote with collateral, or a report with certificates)",
            )),
            Answer::Fail { code, .. } if code == "hardware-refused" => unmade(hardware),
            Answer::Pass | Answer::Fail { .. } if shows_freshness && expected.nonce.is_none() => {
                Some(Answer::not_supplied("the nonce"))
            }
            Answer::Pass if shows_freshness && expected.made == Made::Archived => {
                let words =
                    "the nonce was not made for this exchange, so that nothing shows freshness";
                Some(Answer::not_evaluated("archive-audit", words))
            }
            _ => None,
        }
    }
}

/// What the first check on the hardware that was not made answered, where none failed.
fn unmade(hardware: &[Row]) -> Option<Answer> {
    let failed = |row: &Row| matches!(row.answer, Answer::Fail { .. });
    let not_made = |row: &&Row| matches!(row.answer, Answer::NotEvaluated { .. });
    match hardware.iter().any(failed) {
        true => None,
        false => Some(hardware.iter().find(not_made)?.answer.clone()),
    }
}

fn hardware_rows(checks: &HardwareChecks) -> Vec<Row> {
    let rows: Vec<Row> = match checks {
        HardwareChecks::None => Vec::new(),
        HardwareChecks::Tdx(checks) => {
            let rows = checks.iter();
            rows.map(|check| Row::of(check.name.as_str(), &check.outcome))
                .collect()
        }
        HardwareChecks::Snp(checks) => {
            let rows = checks.iter();
            rows.map(|check| Row::of(check.name.as_str(), &check.outcome))
                .collect()
        }
    };
    rows.into_iter().map(|row| row.about(HARDWARE)).collect()
}
