//! Requests about AMD's and NVIDIA's evidence and virtual TPMs, with names of files in the place of their contents.

use std::path::Path;

use proofroom_canonical::{Nonce, Timestamp};
use serde::{Deserialize, Serialize};

use super::{VectorError, bytes, text};
use crate::{Bytes, ChipChain, GpuRequest, ReportData, SnpRequest, VtpmRequest};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSnp {
    pub(crate) at: Timestamp,
    pub(crate) report_data: ReportData,
    pub(crate) policy: String,
    pub(crate) report: String,
    pub(crate) leaf: String,
    pub(crate) intermediate: String,
    pub(crate) root: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crl: Option<String>,
}

impl RawSnp {
    pub(super) fn read(self, case: &Path) -> Result<SnpRequest, VectorError> {
        let read = |name: &String| bytes(&case.join(name)).map(Bytes);
        Ok(SnpRequest {
            at: self.at,
            report_data: self.report_data,
            policy: text(&case.join(&self.policy))?,
            report: read(&self.report)?,
            leaf: read(&self.leaf)?,
            intermediate: read(&self.intermediate)?,
            root: read(&self.root)?,
            crl: self.crl.as_ref().map(read).transpose()?,
        })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawGpu {
    pub(crate) at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<Nonce>,
    pub(crate) policy: String,
    pub(crate) list: String,
    pub(crate) driver_rims: Vec<String>,
    pub(crate) bios_rims: Vec<String>,
    pub(crate) tokens: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jwks: Option<String>,
}

impl RawGpu {
    pub(super) fn read(self, case: &Path) -> Result<GpuRequest, VectorError> {
        let read = |name: &String| bytes(&case.join(name)).map(Bytes);
        let files = |names: &[String]| names.iter().map(read).collect::<Result<_, _>>();
        Ok(GpuRequest {
            at: self.at,
            nonce: self.nonce,
            policy: text(&case.join(&self.policy))?,
            list: read(&self.list)?,
            driver_rims: files(&self.driver_rims)?,
            bios_rims: files(&self.bios_rims)?,
            tokens: files(&self.tokens)?,
            jwks: self.jwks.as_ref().map(read).transpose()?,
        })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawChain {
    pub(crate) leaf: String,
    pub(crate) intermediate: String,
    pub(crate) root: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crl: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawVtpm {
    pub(crate) at: Timestamp,
    pub(crate) nonce: Nonce,
    pub(crate) policy: String,
    pub(crate) document: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) collateral: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) chain: Option<RawChain>,
}

impl RawVtpm {
    pub(super) fn read(self, case: &Path) -> Result<VtpmRequest, VectorError> {
        let read = |name: &String| bytes(&case.join(name)).map(Bytes);
        let chain = |chain: &RawChain| {
            Ok(ChipChain {
                leaf: read(&chain.leaf)?,
                intermediate: read(&chain.intermediate)?,
                root: read(&chain.root)?,
                crl: chain.crl.as_ref().map(read).transpose()?,
            })
        };
        Ok(VtpmRequest {
            at: self.at,
            nonce: self.nonce,
            policy: text(&case.join(&self.policy))?,
            document: read(&self.document)?,
            collateral: self.collateral.as_ref().map(read).transpose()?,
            chain: self.chain.as_ref().map(chain).transpose()?,
        })
    }
}
