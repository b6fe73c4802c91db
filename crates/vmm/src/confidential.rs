//! The same machine, kept from its host: Intel TDX and AMD SEV-SNP as QEMU knows them. The host
//! binds the room's boot configuration into the machine before it starts, so that a quote names it.

use std::{ffi::OsString, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use sha2::{Digest as _, Sha256, Sha384};

use crate::{Accelerator, Machine, Tpm, machine::Variant};

/// Policy of an SEV-SNP guest (SEV-SNP ABI §4.3): bit 17 is always one, bit 16 allows hyper-threads.
/// No debugging, no migration agent.
const SNP_POLICY: u64 = 1 << 17 | 1 << 16;
/// The processor that an SEV-SNP guest sees: its firmware refuses what it cannot check in `host`.
const SNP_PROCESSOR: &str = "EPYC-v4";

/// `MRCONFIGID` of a TD: the boot configuration that its host promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MrConfigId([u8; 48]);

impl MrConfigId {
    /// SHA-384 of the exact text that the first process gets on the boot port.
    #[must_use]
    pub fn of_boot_config(text: &[u8]) -> Self {
        Self(Sha384::digest(text).into())
    }

    /// The 48 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 48] {
        &self.0
    }
}

/// `HOST_DATA` of an SEV-SNP guest: the boot configuration that its host promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostData([u8; 32]);

impl HostData {
    /// SHA-256 of the exact text that the first process gets on the boot port.
    #[must_use]
    pub fn of_boot_config(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Where QEMU finds the host's quote generation service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuoteService {
    /// Its unix socket, as QEMU sees it.
    Unix(PathBuf),
    /// Its vsock address.
    Vsock {
        /// The context, 2 for the host.
        cid: u32,
        /// The port, 4050 unless configured otherwise.
        port: u32,
    },
}

/// Which bit of a page-table entry marks encrypted memory, and how many address bits that costs. A
/// property of the processor (CPUID `8000001f`, register EBX).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CBit {
    /// `cbitpos`.
    pub position: u32,
    /// `reduced-phys-bits`.
    pub reduced_bits: u32,
}

impl CBit {
    /// Of EPYC processors of the third and later generations.
    pub const EPYC: Self = Self {
        position: 51,
        reduced_bits: 1,
    };
}

/// What keeps the machine from its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Technology {
    /// Intel TDX.
    Tdx {
        /// The promised boot configuration.
        config: MrConfigId,
        /// Who makes quotes of the TD's reports.
        quote_service: QuoteService,
    },
    /// AMD SEV-SNP.
    SevSnp {
        /// The promised boot configuration.
        config: HostData,
        /// Where the encryption bit is.
        c_bit: CBit,
    },
}

/// Why a machine cannot be a confidential one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfidentialProblem {
    /// Emulated processors keep nothing from their host.
    #[error("a confidential machine cannot be emulated, use accelerator `kvm`")]
    Emulated,
    /// The TPM would be the host's.
    #[error("a confidential machine has no software TPM: the host could answer for it")]
    SoftwareTpm,
}

impl ConfidentialProblem {
    /// The stable code of this problem.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Emulated => "confidential-emulated",
            Self::SoftwareTpm => "confidential-software-tpm",
        }
    }
}

/// A room's machine under a [`Technology`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfidentialMachine {
    machine: Machine,
    technology: Technology,
}

impl ConfidentialMachine {
    /// `machine` under `technology`.
    ///
    /// # Errors
    /// `confidential-emulated`, `confidential-software-tpm`.
    pub fn new(machine: Machine, technology: Technology) -> Result<Self, ConfidentialProblem> {
        if machine.accelerator != Accelerator::Kvm {
            return Err(ConfidentialProblem::Emulated);
        }
        if machine.tpm != Tpm::Absent {
            return Err(ConfidentialProblem::SoftwareTpm);
        }
        Ok(Self {
            machine,
            technology,
        })
    }

    /// QEMU's arguments, without the program's own name.
    ///
    /// # Errors
    /// A path of the quote service that is not text, which JSON cannot hold.
    pub fn arguments(&self) -> Result<Vec<OsString>, serde_json::Error> {
        Ok(self.machine.arguments_as(&self.variant()?))
    }

    fn variant(&self) -> Result<Variant, serde_json::Error> {
        let size = format!("{}M", self.machine.shape.memory_mib);
        match &self.technology {
            Technology::Tdx {
                config,
                quote_service,
            } => Ok(Variant {
                processor: "host",
                objects: vec![
                    serde_json::to_string(&TdxGuest::new(config, quote_service))?,
                    format!("memory-backend-ram,id=mem0,size={size}"),
                ],
                machine: ",kernel-irqchip=split,confidential-guest-support=tdx0,memory-backend=mem0",
                promise: None,
            }),
            Technology::SevSnp { config, c_bit } => Ok(Variant {
                processor: SNP_PROCESSOR,
                objects: vec![
                    serde_json::to_string(&SnpGuest::new(config, *c_bit))?,
                    format!("memory-backend-memfd,id=mem0,size={size},share=on,prealloc=off"),
                ],
                machine: ",kernel-irqchip=split,confidential-guest-support=snp0,memory-backend=mem0",
                promise: None,
            }),
        }
    }
}

/// A room's machine whose image brings a simulated TDX module along: an ordinary machine without a
/// TPM. Nothing keeps it from its host, and its evidence is signed with keys that everybody has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedMachine {
    machine: Machine,
    config: MrConfigId,
}

impl SimulatedMachine {
    /// `machine` with the promise of a boot configuration.
    ///
    /// # Errors
    /// `confidential-software-tpm`: a guest must not find two attesters.
    pub fn new(machine: Machine, config: MrConfigId) -> Result<Self, ConfidentialProblem> {
        if machine.tpm != Tpm::Absent {
            return Err(ConfidentialProblem::SoftwareTpm);
        }
        Ok(Self { machine, config })
    }

    /// QEMU's arguments, without the program's own name.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        // As hex: QEMU takes text alone, and a comma would be its end.
        self.machine.arguments_as(&Variant {
            processor: self.machine.processor(),
            promise: Some(hex::encode(self.config.0)),
            ..Variant::default()
        })
    }
}

/// QEMU's object of that name.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct TdxGuest<'a> {
    qom_type: &'static str,
    id: &'static str,
    sept_ve_disable: On,
    mrconfigid: String,
    quote_generation_socket: SocketAddress<'a>,
}

impl<'a> TdxGuest<'a> {
    fn new(config: &MrConfigId, quote_service: &'a QuoteService) -> Self {
        Self {
            qom_type: "tdx-guest",
            id: "tdx0",
            sept_ve_disable: On,
            mrconfigid: STANDARD.encode(config.0),
            quote_generation_socket: match quote_service {
                QuoteService::Unix(path) => SocketAddress::Unix { path },
                QuoteService::Vsock { cid, port } => SocketAddress::Vsock {
                    cid: cid.to_string(),
                    port: port.to_string(),
                },
            },
        }
    }
}

/// QEMU's `SocketAddress`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum SocketAddress<'a> {
    Unix { path: &'a PathBuf },
    Vsock { cid: String, port: String },
}

/// QEMU's object of that name.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SnpGuest {
    qom_type: &'static str,
    id: &'static str,
    cbitpos: u32,
    reduced_phys_bits: u32,
    policy: u64,
    kernel_hashes: On,
    host_data: String,
}

impl SnpGuest {
    fn new(config: &HostData, c_bit: CBit) -> Self {
        Self {
            qom_type: "sev-snp-guest",
            id: "snp0",
            cbitpos: c_bit.position,
            reduced_phys_bits: c_bit.reduced_bits,
            policy: SNP_POLICY,
            kernel_hashes: On,
            host_data: STANDARD.encode(config.0),
        }
    }
}

/// A property that is always on.
struct On;

impl Serialize for On {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bool(true)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Accelerator, CBit, ConfidentialMachine, HostData, MrConfigId, QuoteService,
        SimulatedMachine, Technology, Tpm,
    };
    use crate::{
        Machine,
        machine::tests::{machine, text},
    };

    const CONFIG: &[u8] = br#"{"format":"proofroom.boot.v1"}"#;

    fn hardware() -> Machine {
        Machine {
            accelerator: Accelerator::Kvm,
            tpm: Tpm::Absent,
            ..machine()
        }
    }

    fn tdx(quote_service: QuoteService) -> Technology {
        Technology::Tdx {
            config: MrConfigId::of_boot_config(CONFIG),
            quote_service,
        }
    }

    fn snp() -> Technology {
        Technology::SevSnp {
            config: HostData::of_boot_config(CONFIG),
            c_bit: CBit::EPYC,
        }
    }

    fn line(technology: Technology) -> String {
        let machine = ConfidentialMachine::new(hardware(), technology).unwrap();
        text(&machine.arguments().unwrap())
    }

    #[test]
    fn the_tdx_machine_is_the_golden_one() {
        let unix = QuoteService::Unix("/run/qgs,1.sock".into());
        assert_eq!(line(tdx(unix)), include_str!("../tests/golden/tdx.txt"));
    }

    #[test]
    fn the_simulated_machine_is_the_golden_one() {
        let emulated = Machine {
            accelerator: Accelerator::Tcg,
            ..hardware()
        };
        let config = MrConfigId::of_boot_config(CONFIG);
        let simulated = SimulatedMachine::new(emulated, config).unwrap();
        let golden = include_str!("../tests/golden/simulated.txt");
        assert_eq!(text(&simulated.arguments()), golden);
        let refused = SimulatedMachine::new(machine(), config).unwrap_err();
        assert_eq!(refused.code(), "confidential-software-tpm");
    }

    #[test]
    fn the_sev_snp_machine_is_the_golden_one() {
        assert_eq!(line(snp()), include_str!("../tests/golden/sev-snp.txt"));
    }

    #[test]
    fn a_quote_service_may_be_a_vsock_address() {
        let line = line(tdx(QuoteService::Vsock { cid: 2, port: 4050 }));
        let address = r#""quote-generation-socket":{"type":"vsock","cid":"2","port":"4050"}"#;
        assert!(line.contains(address), "{line}");
    }

    #[test]
    fn nothing_is_confidential_that_the_host_emulates_or_answers_for() {
        let refusal = |machine| {
            let refused = ConfidentialMachine::new(machine, snp()).unwrap_err();
            refused.code()
        };
        let emulated = Machine {
            accelerator: Accelerator::Tcg,
            ..hardware()
        };
        assert_eq!(refusal(emulated), "confidential-emulated");
        let answered_for = Machine {
            tpm: machine().tpm,
            ..hardware()
        };
        assert_eq!(refusal(answered_for), "confidential-software-tpm");
    }

    #[test]
    fn another_configuration_is_another_machine() {
        let other = MrConfigId::of_boot_config(b"{}");
        assert_ne!(MrConfigId::of_boot_config(CONFIG), other);
        assert_ne!(
            HostData::of_boot_config(CONFIG),
            HostData::of_boot_config(b"{}")
        );
    }
}
