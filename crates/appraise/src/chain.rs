//! Certificates that were supplied in any order, put in theirs by their names. Nothing is verified.

use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _},
    name::Name,
};

/// More than AMD publishes for one product, and a chip's own.
const MAX_CERTIFICATES: usize = 8;

/// Three certificates, DER.
pub(crate) struct Chain {
    pub(crate) leaf: Vec<u8>,
    pub(crate) intermediate: Vec<u8>,
    pub(crate) root: Vec<u8>,
}

struct Named {
    der: Vec<u8>,
    subject: Name,
    issuer: Name,
}

impl Chain {
    /// The chain that names make: a leaf that issued none of the others, its issuer, and that one's.
    pub(crate) fn sort(files: &[Vec<u8>]) -> Option<Self> {
        let named: Vec<Named> = files
            .iter()
            .flat_map(|file| read(file))
            .take(MAX_CERTIFICATES)
            .collect();
        let issued_none =
            |candidate: &&Named| !named.iter().any(|other| other.issuer == candidate.subject);
        named.iter().filter(issued_none).find_map(|leaf| {
            let intermediate = issuer_of(leaf, &named)?;
            // a signing key that nobody's certificate is from stands right under the root
            if intermediate.subject == intermediate.issuer {
                return None;
            }
            let root = issuer_of(intermediate, &named)?;
            Some(Self {
                leaf: leaf.der.clone(),
                intermediate: intermediate.der.clone(),
                root: root.der.clone(),
            })
        })
    }
}

fn issuer_of<'a>(certificate: &Named, all: &'a [Named]) -> Option<&'a Named> {
    all.iter().find(|other| other.subject == certificate.issuer)
}

/// The certificates of a file, PEM or DER; none of a file that has none.
fn read(file: &[u8]) -> Vec<Named> {
    let ders = match pem::parse_many(file) {
        Ok(blocks) if !blocks.is_empty() => {
            blocks.into_iter().map(pem::Pem::into_contents).collect()
        }
        _ => vec![file.to_vec()],
    };
    ders.into_iter().filter_map(named).collect()
}

fn named(der: Vec<u8>) -> Option<Named> {
    let certificate = Certificate::from_der(&der).ok()?;
    let tbs = certificate.tbs_certificate();
    // a certificate that is not the one way to write what it says is none
    (certificate.to_der().ok()? == der).then(|| Named {
        subject: tbs.subject().clone(),
        issuer: tbs.issuer().clone(),
        der,
    })
}
