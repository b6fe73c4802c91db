//! What AMD says about the chip behind an SNP report: its key's certificate, the certificates above it and the
//! root's revocation list, from AMD's Key Distribution Service or a caching one (AMD 57230). Kept as files that
//! `appraise --certificates` and `--crl` read. Nothing is verified.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proofroom_evidence::snp::{SigningKey, SnpProduct, SnpReport, VekFacts};
use x509_cert::Certificate;

use super::{CollateralService, FetchError, Lasts};

/// AMD's own service.
pub const AMD: &str = "https://kdsintf.amd.com";

/// A kind of chip key of a product: it has certificates and a revocation list of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmdLine {
    product: SnpProduct,
    key: SigningKey,
}

impl AmdLine {
    /// The line whose revocation list is called `file`.
    #[must_use]
    pub fn of_list(file: &str) -> Option<Self> {
        let lines = SnpProduct::ALL.into_iter().flat_map(|product| {
            [SigningKey::Vcek, SigningKey::Vlek].map(|key| Self { product, key })
        });
        lines.into_iter().find(|line| line.file("crl") == file)
    }

    /// `<vcek or vlek>-<product>`.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}-{}", self.key(), self.product).to_lowercase()
    }

    /// Where its revocation list lies.
    #[must_use]
    pub fn list_in(self, directory: &Path) -> PathBuf {
        directory.join(self.file("crl"))
    }

    fn file(self, kind: &str) -> String {
        format!("amd-{}.{kind}", self.name())
    }

    const fn key(self) -> &'static str {
        match self.key {
            SigningKey::Vlek => "vlek",
            SigningKey::Vcek | SigningKey::None => "vcek",
        }
    }

    fn address(self, base: &str) -> String {
        format!("{base}/{}/v1/{}", self.key(), self.product)
    }
}

/// The chip that made a report, at the TCB that it reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmdChip {
    line: AmdLine,
    /// Chip id in hex and query; none where the key is a VLEK, whose certificate AMD gives to the provider alone.
    asked: Option<(String, String)>,
}

impl AmdChip {
    /// Reads the report of 1,184 bytes; `product` is needed where it does not name one (version 2).
    ///
    /// # Errors
    /// Words: it is no report, names no product, hides its chip, or no key signed it.
    pub fn of_report(report: &[u8], product: Option<SnpProduct>) -> Result<Self, String> {
        let report = SnpReport::parse(report).map_err(|error| error.to_string())?;
        let product = match (report.product(), product) {
            (Some(own), None) => own,
            (Some(own), Some(named)) if own == named => own,
            (None, Some(named)) => named,
            (Some(own), Some(_)) => return Err(format!("the report is of a {own}")),
            (None, None) => return Err("the report names no product: name it".to_owned()),
        };
        let claims = report.claims();
        let key = claims.signing_key;
        let line = AmdLine { product, key };
        match key {
            SigningKey::None => return Err("the report says that no key signed it".to_owned()),
            SigningKey::Vlek => return Ok(Self { line, asked: None }),
            SigningKey::Vcek => {}
        }
        if claims.chip_id.is_masked() {
            return Err("the report hides its chip".to_owned());
        }
        let words = |error: proofroom_evidence::snp::SnpError| error.to_string();
        let chip = claims.chip_id.significant(product).map_err(words)?;
        let parts = claims.reported_tcb.parts(product).map_err(words)?;
        let fmc = parts.fmc.map(|fmc| format!("fmcSPL={fmc:02}&"));
        let query = format!(
            "{}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
            fmc.unwrap_or_default(),
            parts.boot_loader,
            parts.tee,
            parts.snp,
            parts.microcode
        );
        let asked = Some((hex::encode(chip), query));
        Ok(Self { line, asked })
    }

    /// Its kind of key.
    #[must_use]
    pub const fn line(&self) -> AmdLine {
        self.line
    }
}

/// A file to keep: its path and its bytes.
pub type Kept = (PathBuf, Vec<u8>);

impl CollateralService {
    /// The certificate of the chip's key at the TCB that its report says, to be kept in `directory`; none for a
    /// VLEK.
    ///
    /// # Errors
    /// See [`FetchError`]; `collateral-service-answer` for a certificate of another chip or product.
    pub async fn fetch_chip(
        &self,
        chip: &AmdChip,
        directory: &Path,
    ) -> Result<Option<Kept>, FetchError> {
        let Some((id, query)) = &chip.asked else {
            return Ok(None);
        };
        let address = chip.line.address(self.base());
        let leaf = self.get(&format!("{address}/{id}?{query}")).await?.body;
        let facts = VekFacts::parse(&leaf).map_err(|error| self.malformed(error.to_string()))?;
        let found = facts.hardware_id.as_ref().map(hex::encode);
        if facts.product != chip.line.product || found.as_ref() != Some(id) {
            return Err(self.malformed("a certificate of another chip".to_owned()));
        }
        let parts = query.split('&').filter_map(|part| part.split_once('='));
        let tcb: Vec<&str> = parts.map(|(_, version)| version).collect();
        let tcb = tcb.join("-");
        let name = format!("amd-{}-{id}-{tcb}.der", chip.line.name());
        Ok(Some((directory.join(name), leaf)))
    }

    /// The certificates above a kind of key, and the root's revocation list, to be kept in `directory`; and how
    /// long that lasts.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch_line(
        &self,
        line: AmdLine,
        directory: &Path,
    ) -> Result<([Kept; 2], Lasts), FetchError> {
        let address = line.address(self.base());
        let chain = self.get(&format!("{address}/cert_chain")).await?.body;
        match Certificate::load_pem_chain(&chain) {
            Ok(certificates) if certificates.len() == 2 => {}
            _ => return Err(self.malformed("there are not two certificates".to_owned())),
        }
        let list = self.get(&format!("{address}/crl")).await?.body;
        let lasts = Lasts::of_amd_list(&list).map_err(|problem| self.malformed(problem))?;
        let kept = [
            (directory.join(line.file("pem")), chain),
            (line.list_in(directory), list),
        ];
        Ok((kept, lasts))
    }
}

/// How long a kept revocation list lasts.
///
/// # Errors
/// Words: it cannot be read, or has no date.
pub fn list_lasts(path: &Path) -> Result<Lasts, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    Lasts::of_amd_list(&bytes)
}

#[cfg(test)]
mod tests {
    use proofroom_canonical::Timestamp;
    use proofroom_evidence::snp::{SigningKey, SnpProduct};
    use proofroom_testkit::snp::{SNP_SEED, SimulatedAmd};

    use super::{AMD, AmdChip, AmdLine};

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_790_000_000);

    #[test]
    fn a_report_says_what_is_asked_and_the_addresses_are_amds() {
        let amd = SimulatedAmd::from_seed(SNP_SEED);
        let report = |product, version, key| {
            let plan = amd.plan(product, version, key, NOW);
            amd.report(&plan)
        };
        let milan = report(SnpProduct::Milan, 3, SigningKey::Vcek);
        let chip = AmdChip::of_report(&milan, None).unwrap();
        let (id, query) = chip.asked.clone().unwrap();
        assert_eq!(id, "5a".repeat(64));
        assert_eq!(query, "blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219");
        let address = chip.line().address(AMD);
        assert_eq!(address, "https://kdsintf.amd.com/vcek/v1/Milan");
        let turin = report(SnpProduct::Turin, 3, SigningKey::Vcek);
        let (id, query) = AmdChip::of_report(&turin, None).unwrap().asked.unwrap();
        assert_eq!(id, "5a".repeat(8));
        assert_eq!(query, "fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=75");
        let vlek = report(SnpProduct::Genoa, 3, SigningKey::Vlek);
        let vlek = AmdChip::of_report(&vlek, None).unwrap();
        assert_eq!(
            (vlek.line().name().as_str(), vlek.asked),
            ("vlek-genoa", None)
        );
    }

    #[test]
    fn what_does_not_say_enough_is_not_asked_about() {
        let amd = SimulatedAmd::from_seed(SNP_SEED);
        let mut plan = amd.plan(SnpProduct::Milan, 2, SigningKey::Vcek, NOW);
        let report = amd.report(&plan);
        AmdChip::of_report(&report, None).unwrap_err();
        AmdChip::of_report(&report, Some(SnpProduct::Milan)).unwrap();
        AmdChip::of_report(&report[..100], Some(SnpProduct::Milan)).unwrap_err();
        plan.report.chip_id = [0; 64];
        let hidden = amd.report(&plan);
        AmdChip::of_report(&hidden, Some(SnpProduct::Milan)).unwrap_err();
        let newer = amd.report(&amd.plan(SnpProduct::Milan, 3, SigningKey::Vcek, NOW));
        AmdChip::of_report(&newer, Some(SnpProduct::Genoa)).unwrap_err();
    }

    #[test]
    fn a_list_is_found_by_its_name_alone() {
        let line = AmdLine::of_list("amd-vlek-turin.crl").unwrap();
        assert_eq!(line.name(), "vlek-turin");
        for other in [
            "amd-vlek-turin.pem",
            "vlek-turin.crl",
            "amd-vcek-rome.crl",
            "",
        ] {
            assert_eq!(AmdLine::of_list(other), None);
        }
    }
}
