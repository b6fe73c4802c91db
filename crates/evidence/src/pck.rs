//! The platform facts in a PCK certificate's SGX extension (Intel PCK certificate profile, OID
//! 1.2.840.113741.1.13.1). The certificate's signature is not looked at here.

use der::{AnyRef, Decode, ErrorKind, Reader, SliceReader, asn1::ObjectIdentifier};
use proofroom_canonical::Hex;
use x509_cert::Certificate;

use crate::EvidenceError;

const SGX_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
const FMSPC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.4");
const PPID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.1");
const PCEID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.3");
/// Intel's chains have three certificates: PCK, platform or processor CA, root.
const MAX_CHAIN: usize = 4;

/// The platform family, model, stepping and package: which TCB info speaks about it.
pub type Fmspc = Hex<6>;
/// The provisioning id of one platform: no two have the same.
pub type Ppid = Hex<16>;

/// What a PCK certificate says about its platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PckFacts {
    /// FMSPC, the key under which Intel publishes TCB info.
    pub fmspc: Fmspc,
    /// PCEID.
    pub pce_id: [u8; 2],
    /// PPID.
    pub ppid: Ppid,
}

impl PckFacts {
    /// Reads the SGX extension of the DER certificate `leaf`.
    ///
    /// # Errors
    /// `pck-chain-malformed` if it is no certificate, `pck-extension-malformed` if the extension or
    /// one of its parts is missing, doubled or has the wrong length.
    pub fn parse(leaf: &[u8]) -> Result<Self, EvidenceError> {
        let certificate = Certificate::from_der(leaf)
            .map_err(|_| EvidenceError::PckChain("its first certificate is not DER X.509"))?;
        let mut found = certificate
            .tbs_certificate()
            .extensions()
            .into_iter()
            .flatten()
            .filter(|extension| extension.extn_id == SGX_EXTENSION);
        let (Some(extension), None) = (found.next(), found.next()) else {
            return Err(EvidenceError::PckExtension("SGX extension"));
        };
        let entries = read_entries(extension.extn_value.as_bytes())
            .map_err(|_| EvidenceError::PckExtension("SGX extension"))?;
        Ok(Self {
            fmspc: Hex::from_bytes(octets(&entries, FMSPC, "FMSPC")?),
            pce_id: octets(&entries, PCEID, "PCEID")?,
            ppid: Hex::from_bytes(octets(&entries, PPID, "PPID")?),
        })
    }
}

type Entry<'a> = (ObjectIdentifier, AnyRef<'a>);

/// `SEQUENCE OF SEQUENCE { OBJECT IDENTIFIER, ANY }`
fn read_entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, der::Error> {
    let mut reader = SliceReader::new(bytes)?;
    let entries = reader.sequence(|outer: &mut SliceReader<'_>| {
        let mut entries = Vec::new();
        while !outer.is_finished() {
            entries.push(outer.sequence(|entry: &mut SliceReader<'_>| {
                Ok::<_, der::Error>((entry.decode()?, entry.decode()?))
            })?);
        }
        Ok::<_, der::Error>(entries)
    })?;
    if !reader.is_finished() {
        return Err(ErrorKind::Failed.into());
    }
    Ok(entries)
}

fn octets<const N: usize>(
    entries: &[Entry<'_>],
    oid: ObjectIdentifier,
    name: &'static str,
) -> Result<[u8; N], EvidenceError> {
    let mut found = entries.iter().filter(|(id, _)| *id == oid);
    let (Some((_, value)), None) = (found.next(), found.next()) else {
        return Err(EvidenceError::PckExtension(name));
    };
    value
        .value()
        .try_into()
        .map_err(|_| EvidenceError::PckExtension(name))
}

pub(crate) fn chain(bytes: &[u8]) -> Result<Vec<Vec<u8>>, EvidenceError> {
    let blocks = pem::parse_many(bytes).map_err(|_| EvidenceError::PckChain("it is not PEM"))?;
    if blocks.is_empty() || blocks.len() > MAX_CHAIN {
        return Err(EvidenceError::PckChain(
            "it has none or too many certificates",
        ));
    }
    Ok(blocks.into_iter().map(pem::Pem::into_contents).collect())
}
