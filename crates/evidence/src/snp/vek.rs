//! What the certificate of a VCEK or VLEK says about its chip (AMD 57230, Versioned Chip Endorsement
//! Key Certificate and KDS Interface Specification). The certificate's signature is not looked at here.

use der::{Decode, Tag, asn1::ObjectIdentifier};
use x509_cert::Certificate;

use super::{SigningKey, SnpError, SnpProduct, TcbParts};

/// The most bytes of a certificate that are read. AMD's have 1,300 to 1,700.
pub const MAX_CERTIFICATE_BYTES: usize = 8 * 1024;

const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const BL_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
const TEE_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
const SNP_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
const UCODE_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
const FMC_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
const HW_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
const CSP_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");
/// Security versions that no product uses.
const UNUSED_SPL: [ObjectIdentifier; 4] = [
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.4"),
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.5"),
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.6"),
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.7"),
];
const MAX_CSP_ID_BYTES: usize = 64;

/// What the certificate of a signing key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VekFacts {
    /// The product.
    pub product: SnpProduct,
    /// The TCB that the key was derived from.
    pub tcb: TcbParts,
    /// The chip's id as long as the product has it, in the certificate of a VCEK alone.
    pub hardware_id: Option<Vec<u8>>,
    /// The cloud provider, in the certificate of a VLEK alone.
    pub csp_id: Option<String>,
}

impl VekFacts {
    /// Reads AMD's extensions of the DER certificate `leaf`.
    ///
    /// # Errors
    /// `vek-certificate-malformed` if it is no certificate; `vek-extension-malformed` if an extension
    /// is missing, doubled or malformed, or if it has both or none of a hardware id and a provider.
    pub fn parse(leaf: &[u8]) -> Result<Self, SnpError> {
        if leaf.len() > MAX_CERTIFICATE_BYTES {
            return Err(SnpError::VekCertificate);
        }
        let certificate = Certificate::from_der(leaf).map_err(|_| SnpError::VekCertificate)?;
        let extensions = Extensions(&certificate);
        let product = extensions.product()?;
        extensions.refuse_unused()?;
        let facts = Self {
            product,
            tcb: extensions.tcb(product)?,
            hardware_id: extensions.hardware_id(product)?,
            csp_id: extensions.csp_id()?,
        };
        if facts.hardware_id.is_some() == facts.csp_id.is_some() {
            return Err(SnpError::VekExtension("hwID or CSP_ID"));
        }
        Ok(facts)
    }

    /// Which key the certificate is of.
    #[must_use]
    pub const fn kind(&self) -> SigningKey {
        if self.hardware_id.is_some() {
            SigningKey::Vcek
        } else {
            SigningKey::Vlek
        }
    }
}

struct Extensions<'a>(&'a Certificate);

impl<'a> Extensions<'a> {
    fn find(&self, id: ObjectIdentifier, name: &'static str) -> Result<Option<&'a [u8]>, SnpError> {
        let mut found = self
            .0
            .tbs_certificate()
            .extensions()
            .into_iter()
            .flatten()
            .filter(|extension| extension.extn_id == id);
        match (found.next(), found.next()) {
            (first, None) => Ok(first.map(|extension| extension.extn_value.as_bytes())),
            _ => Err(SnpError::VekExtension(name)),
        }
    }

    fn number(&self, id: ObjectIdentifier, name: &'static str) -> Result<Option<u8>, SnpError> {
        self.find(id, name)?
            .map(|value| u8::from_der(value).map_err(|_| SnpError::VekExtension(name)))
            .transpose()
    }

    fn needed(&self, id: ObjectIdentifier, name: &'static str) -> Result<u8, SnpError> {
        self.number(id, name)?.ok_or(SnpError::VekExtension(name))
    }

    fn text(&self, id: ObjectIdentifier, name: &'static str) -> Result<Option<String>, SnpError> {
        let Some(value) = self.find(id, name)? else {
            return Ok(None);
        };
        let text = der::asn1::Ia5StringRef::from_der(value)
            .map_err(|_| SnpError::VekExtension(name))?
            .as_str();
        Ok(Some(text.to_owned()))
    }

    fn product(&self) -> Result<SnpProduct, SnpError> {
        self.text(PRODUCT_NAME, "productName")?
            .and_then(|name| SnpProduct::of_name(&name))
            .ok_or(SnpError::VekExtension("productName"))
    }

    fn refuse_unused(&self) -> Result<(), SnpError> {
        for id in UNUSED_SPL {
            if self.number(id, "unused SPL")?.unwrap_or(0) != 0 {
                return Err(SnpError::VekExtension("unused SPL"));
            }
        }
        Ok(())
    }

    fn tcb(&self, product: SnpProduct) -> Result<TcbParts, SnpError> {
        let fmc = self.number(FMC_SPL, "fmcSPL")?;
        let fmc = match (product, fmc) {
            (SnpProduct::Turin, Some(_)) => fmc,
            (SnpProduct::Milan | SnpProduct::Genoa, None | Some(0)) => None,
            _ => return Err(SnpError::VekExtension("fmcSPL")),
        };
        Ok(TcbParts {
            fmc,
            boot_loader: self.needed(BL_SPL, "blSPL")?,
            tee: self.needed(TEE_SPL, "teeSPL")?,
            snp: self.needed(SNP_SPL, "snpSPL")?,
            microcode: self.needed(UCODE_SPL, "ucodeSPL")?,
        })
    }

    /// Bare bytes in certificates of Milan; an `OCTET STRING` is taken too.
    fn hardware_id(&self, product: SnpProduct) -> Result<Option<Vec<u8>>, SnpError> {
        let length = match product {
            SnpProduct::Milan | SnpProduct::Genoa => 64,
            SnpProduct::Turin => 8,
        };
        let Some(value) = self.find(HW_ID, "hwID")? else {
            return Ok(None);
        };
        if value.len() == length {
            return Ok(Some(value.to_vec()));
        }
        der::AnyRef::from_der(value)
            .ok()
            .filter(|any| der::Tagged::tag(any) == Tag::OctetString && any.value().len() == length)
            .map(|any| Some(any.value().to_vec()))
            .ok_or(SnpError::VekExtension("hwID"))
    }

    fn csp_id(&self) -> Result<Option<String>, SnpError> {
        let id = self.text(CSP_ID, "CSP_ID")?;
        let odd = |id: &String| id.is_empty() || id.len() > MAX_CSP_ID_BYTES;
        if id.as_ref().is_some_and(odd) {
            return Err(SnpError::VekExtension("CSP_ID"));
        }
        Ok(id)
    }
}
