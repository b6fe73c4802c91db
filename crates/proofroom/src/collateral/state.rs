//! How long collateral lasts: its own dates, read and not verified, against a clock.

use std::time::Duration;

use proofroom_canonical::Timestamp;
use proofroom_evidence::Collateral;
use serde::{Deserialize, Serialize};
use x509_cert::{crl::CertificateList, der::Decode as _};

/// Whether kept collateral can still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Freshness {
    /// It lasts.
    Fresh,
    /// It lasts, but it is time for newer.
    Due,
    /// A part of it has ended.
    Expired,
}

/// The parts that have an end of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// TCB info.
    TcbInfo,
    /// QE identity.
    QeIdentity,
    /// Revocation list of the PCK authority.
    PckCrl,
    /// Revocation list of the root.
    RootCrl,
    /// Revocation list of AMD's root.
    AmdCrl,
}

/// Which part ends first, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lasts {
    /// The part.
    pub part: Part,
    /// Its `nextUpdate`.
    pub until: Timestamp,
}

#[derive(Deserialize)]
struct Dated {
    #[serde(rename = "nextUpdate")]
    next_update: String,
}

impl Lasts {
    /// Reads the dates of `collateral`.
    ///
    /// # Errors
    /// What is wrong with the part that has no readable date.
    pub fn of(collateral: &Collateral) -> Result<Self, String> {
        let ends = [
            (Part::TcbInfo, of_text(&collateral.tcb_info)?),
            (Part::QeIdentity, of_text(&collateral.qe_identity)?),
            (Part::PckCrl, of_list(&collateral.pck_crl)?),
            (Part::RootCrl, of_list(&collateral.root_ca_crl)?),
        ];
        let first = ends.into_iter().min_by_key(|(_, until)| *until);
        let (part, until) = first.ok_or_else(|| "it has no parts".to_owned())?;
        Ok(Self { part, until })
    }

    /// Reads the date of AMD's revocation list.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_amd_list(der: &[u8]) -> Result<Self, String> {
        let until = of_list(der)?;
        Ok(Self {
            part: Part::AmdCrl,
            until,
        })
    }

    /// Its state at `now`, when newer should be fetched `margin` before the end.
    #[must_use]
    pub fn at(&self, now: Timestamp, margin: Duration) -> Freshness {
        let margin = i64::try_from(margin.as_secs()).unwrap_or(i64::MAX);
        let (now, until) = (now.unix_seconds(), self.until.unix_seconds());
        if now >= until {
            Freshness::Expired
        } else if now.saturating_add(margin) >= until {
            Freshness::Due
        } else {
            Freshness::Fresh
        }
    }
}

fn of_text(text: &str) -> Result<Timestamp, String> {
    let dated: Dated = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let read = dated.next_update.parse::<jiff::Timestamp>();
    read.map(|time| Timestamp::from_unix_seconds(time.as_second()))
        .map_err(|error| error.to_string())
}

fn of_list(der: &[u8]) -> Result<Timestamp, String> {
    let list: CertificateList =
        CertificateList::from_der(der).map_err(|error| format!("a revocation list: {error}"))?;
    let next = list.tbs_cert_list.next_update;
    let next = next.ok_or("a revocation list says no next update")?;
    let seconds = next.to_unix_duration().as_secs();
    Ok(Timestamp::from_unix_seconds(
        i64::try_from(seconds).unwrap_or(i64::MAX),
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proofroom_canonical::{Digest, Nonce, Timestamp};
    use proofroom_testkit::tee::SimulatedTee;

    use super::{Freshness, Lasts, Part};

    const DAY: i64 = 24 * 3600;
    const NOW: Timestamp = Timestamp::from_unix_seconds(1_790_000_000);

    #[test]
    fn the_part_that_ends_first_decides() {
        let tee = SimulatedTee::demo();
        let mut plan = tee.plan(Nonce::from_random([1; 32]), Digest::of("k"), "any", NOW);
        let later = |days: i64| Timestamp::from_unix_seconds(NOW.unix_seconds() + days * DAY);
        (plan.collateral_until, plan.revocation_until) = (later(30), later(20));
        let lasts = Lasts::of(&tee.collateral(&plan)).unwrap();
        assert_eq!((lasts.part, lasts.until), (Part::PckCrl, later(20)));
        let week = Duration::from_secs(7 * 24 * 3600);
        for (day, state) in [
            (0, Freshness::Fresh),
            (12, Freshness::Fresh),
            (13, Freshness::Due),
            (19, Freshness::Due),
            (20, Freshness::Expired),
        ] {
            assert_eq!(lasts.at(later(day), week), state, "day {day}");
        }
        (plan.collateral_until, plan.revocation_until) = (later(10), later(20));
        let lasts = Lasts::of(&tee.collateral(&plan)).unwrap();
        assert_eq!(lasts.part, Part::TcbInfo);
    }

    #[test]
    fn what_has_no_date_is_not_fresh() {
        let tee = SimulatedTee::demo();
        let plan = tee.plan(Nonce::from_random([1; 32]), Digest::of("k"), "any", NOW);
        let whole = tee.collateral(&plan);
        let mut broken = whole.clone();
        broken.tcb_info = "{}".to_owned();
        Lasts::of(&broken).unwrap_err();
        let mut broken = whole;
        broken.root_ca_crl.truncate(9);
        Lasts::of(&broken).unwrap_err();
    }
}
