//! What is kept of a provider's evidence: the report as it was served, and what Intel said that day of
//! the platforms in it, in one strict JSON file, so that anybody can appraise it at any later time.

use std::collections::BTreeMap;

use proofroom_canonical::{Nonce, json};
use proofroom_evidence::{Collateral, Fmspc, Quote};
use proofroom_serving::{ServingReport, ServingStatement};
use serde::{Deserialize, Serialize};

use crate::{
    Format, MAX_REPORT_BYTES, ReportError,
    aci::AciReport,
    report::Report,
    tinfoil::{Processor, TinfoilReport},
};

/// The `format` member of every document.
pub const PROVIDER_FORMAT: &str = "proofroom.provider-evidence.v1";
/// The most bytes of a document that are read: a report with its quotation marks escaped, and collateral.
pub const MAX_PROVIDER_DOCUMENT_BYTES: usize = 3 * 1024 * 1024;
/// The most platforms of one report.
const MAX_PLATFORMS: usize = 17;

/// Collateral by the FMSPC that it is about, in lower-case hex.
pub type CollateralByPlatform = BTreeMap<String, Collateral>;

/// What is kept beside a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// What Intel said of the platforms.
    pub collateral: CollateralByPlatform,
    /// The challenge that the report was asked with, where nothing in the report repeats it. Proves no freshness:
    /// it is what an archive needs to compute again what the quote binds.
    pub challenge: Option<Nonce>,
}

impl From<CollateralByPlatform> for Beside {
    fn from(collateral: CollateralByPlatform) -> Self {
        Self {
            collateral,
            ..Self::default()
        }
    }
}

/// A document, its outer form right and nothing in it verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderDocument {
    format: String,
    provider: Format,
    report: String,
    collateral: CollateralByPlatform,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    challenge: Option<Nonce>,
}

impl ProviderDocument {
    /// Reads a document of at most [`MAX_PROVIDER_DOCUMENT_BYTES`].
    ///
    /// # Errors
    /// [`ReportError`] for anything but strict JSON with exactly the known members.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        let read: Self =
            json::parse(bytes, MAX_PROVIDER_DOCUMENT_BYTES).map_err(ReportError::Document)?;
        let refuse = |member, problem| Err(ReportError::Member { member, problem });
        if read.format != PROVIDER_FORMAT {
            return refuse("format", "is not `proofroom.provider-evidence.v1`");
        }
        if read.collateral.len() > MAX_PLATFORMS {
            return refuse("collateral", "is about too many platforms");
        }
        Ok(read)
    }

    /// Writes a document around the exact bytes of a report.
    ///
    /// # Errors
    /// [`ReportError`] for a report that is no text or too long.
    pub fn write(
        provider: Format,
        report: &[u8],
        beside: impl Into<Beside>,
    ) -> Result<Vec<u8>, ReportError> {
        let beside = beside.into();
        let text = std::str::from_utf8(report).ok();
        let text = text.filter(|text| text.len() <= MAX_REPORT_BYTES);
        let report = text.ok_or(ReportError::Member {
            member: "report",
            problem: "is not UTF-8 of a size that is read",
        })?;
        json::to_bytes(&Self {
            format: PROVIDER_FORMAT.to_owned(),
            provider,
            report: report.to_owned(),
            collateral: beside.collateral,
            challenge: beside.challenge,
        })
        .map_err(ReportError::Document)
    }

    /// Whose format the report has.
    #[must_use]
    pub const fn provider(&self) -> Format {
        self.provider
    }

    /// The report as it was served.
    #[must_use]
    pub fn report(&self) -> &str {
        &self.report
    }

    pub(crate) const fn challenge(&self) -> Option<Nonce> {
        self.challenge
    }

    /// The challenge that the report was made for, as it says itself. Proves no freshness: who appraises an archived
    /// document with it takes that from whoever chose the challenge and recorded what came of it.
    ///
    /// # Errors
    /// [`ReportError`] for a report that says none that can be read.
    pub fn kept_challenge(&self) -> Result<Nonce, ReportError> {
        let report = self.report.as_bytes();
        match self.provider {
            Format::ProofroomEnclave => {
                let statement = ServingReport::parse(report)?.statement;
                Ok(ServingStatement::parse(statement.as_bytes())?.nonce)
            }
            Format::Aci => self.challenge.ok_or(ReportError::Member {
                member: "challenge",
                problem: "is missing",
            }),
            Format::Tinfoil => Ok(TinfoilReport::parse(report)?.nonce),
            Format::NearAi | Format::Dstack => {
                let report = Report::parse(report, self.provider)?;
                let quote = report.attestations().next().map(|end| &end.quote);
                quote
                    .and_then(|quote| challenge_in(quote))
                    .ok_or(ReportError::Member {
                        member: "intel_quote",
                        problem: "is no quote",
                    })
            }
        }
    }

    pub(crate) fn collateral_for(&self, quote: &Quote) -> Option<&Collateral> {
        let facts = quote.pck_facts().ok()?;
        self.collateral.get(&facts.fmspc.to_string())
    }
}

/// What the second half of report data holds, in the lineage of dstack.
fn challenge_in(quote: &[u8]) -> Option<Nonce> {
    let quote = Quote::parse(quote).ok()?;
    let data = quote.claims().report_data;
    let (_, nonce) = data.split_first_chunk::<32>()?;
    <[u8; 32]>::try_from(nonce).ok().map(Nonce::from_random)
}

/// The platforms whose collateral a report's appraisal needs, each once. A quote that cannot be read has
/// none; its appraisal says why.
///
/// # Errors
/// [`ReportError`] for bytes that are no report.
pub fn platforms_of(report: &[u8], format: Format) -> Result<Vec<Fmspc>, ReportError> {
    let quotes = match format {
        Format::ProofroomEnclave => vec![ServingReport::parse(report)?.quote],
        Format::Aci => vec![AciReport::parse(report)?.quote],
        Format::Tinfoil => {
            let report = TinfoilReport::parse(report)?;
            let quote = (report.processor == Processor::Tdx).then_some(report.evidence);
            quote.into_iter().collect()
        }
        Format::NearAi | Format::Dstack => {
            let report = Report::parse(report, format)?;
            let quotes = report.attestations().map(|one| one.quote.clone());
            quotes.collect()
        }
    };
    let mut platforms = Vec::new();
    for quote in quotes {
        let facts = Quote::parse(&quote).and_then(|quote| quote.pck_facts());
        if let Ok(facts) = facts
            && !platforms.contains(&facts.fmspc)
        {
            platforms.push(facts.fmspc);
        }
    }
    Ok(platforms)
}
