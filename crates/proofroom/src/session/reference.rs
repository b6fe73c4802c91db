//! What a room's evidence will be judged by: the reference values of its image, pinned by the room
//! appraisal policy before anything starts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use proofroom_canonical::{Digest, SessionId, Timestamp};
use proofroom_room::{Attestation, MachineConfig, Room};
use proofroom_verifier::{
    PinnedRoomPolicy, ROOM_TDX, ROOM_VM, ReferenceManifest, RoomAppraisalPolicy,
};

use super::SessionError;
use crate::{
    collateral::CollateralSource,
    files,
    isolation::Backend,
    keys::DeploymentKeys,
    policies::{PolicySet, ROOM_REFERENCE},
    service::RoomAttestation,
};

/// Beside an image, as `proofroom measure` writes it.
const REFERENCE: &str = "reference.json";
/// The same, signed by its maker.
const RELEASE: &str = "reference.release.json";

/// How the evidence of a room that is about to start will be judged.
pub(super) enum Judging {
    /// Not at all: the room has nothing to attest with.
    Process,
    /// By these values, evidence of the machine's TPM.
    Tpm(Box<PinnedRoomPolicy>),
    /// By these values, quotes of a TDX module, with collateral from there.
    Tdx(Box<PinnedRoomPolicy>, CollateralSource),
}

impl Judging {
    /// Finds the reference values of the machine's image. A deployment whose policy accepts no evidence
    /// gets the shipped policy for such machines, pinned to them; simulated evidence is accepted by
    /// nobody who did not write a policy that says so.
    ///
    /// # Errors
    /// When there are values that the deployment's own policy does not pin, or that are none.
    pub(super) fn of(
        policies: &mut PolicySet,
        backend: &Backend,
        collateral: Option<&CollateralSource>,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let Backend::Machine(machine) = backend else {
            return Ok(Self::Process);
        };
        let (path, bytes) = reference_file(&machine.image.directory, &policies.room_appraisal)?;
        if policies.room_appraisal.kind().is_none() {
            let manifest = ReferenceManifest::parse(&bytes)
                .with_context(|| format!("`{}` cannot be used", path.display()))?;
            if let Some(reason) = unfit(&manifest, machine) {
                return Err(not_judged(reason));
            }
            match machine.attestation {
                Attestation::SoftwareTpm => policies.pin_room(ROOM_VM, manifest.digest())?,
                Attestation::Tdx { .. } => policies.pin_room(ROOM_TDX, manifest.digest())?,
                Attestation::SimulatedTdx => {
                    let why = "the image only plays TDX; the room appraisal policy must say that it accepts simulated evidence";
                    return Err(not_judged(why.to_owned()));
                }
            }
        }
        let pinned = policies.room_appraisal.clone().with_reference(&bytes, now);
        let pinned = pinned.with_context(|| format!("`{}` cannot be used", path.display()))?;
        let pinned = Box::new(pinned);
        match machine.attestation {
            Attestation::SoftwareTpm => Ok(Self::Tpm(pinned)),
            Attestation::SimulatedTdx | Attestation::Tdx { .. } => {
                let collateral = collateral.cloned().ok_or_else(|| {
                    not_judged(
                        "the vendor's collateral is needed; name it with `--collateral`".to_owned(),
                    )
                })?;
                Ok(Self::Tdx(pinned, collateral))
            }
        }
    }

    /// Keeps the values beside the session's policies.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn save(&self, policies: &Path) -> io::Result<()> {
        match self {
            Self::Tpm(pinned) | Self::Tdx(pinned, _) => {
                files::replace(&policies.join(ROOM_REFERENCE), pinned.file())
            }
            Self::Process => Ok(()),
        }
    }

    /// What the service demands of `room`, which has started.
    ///
    /// # Errors
    /// When the attestation key of its TPM cannot be certified.
    pub(super) fn of_room(
        self,
        room: &Room,
        keys: &DeploymentKeys,
        session: SessionId,
        now: Timestamp,
    ) -> anyhow::Result<RoomAttestation> {
        Ok(match (self, room.attestation_key()) {
            (Self::Process, _) => RoomAttestation::NotPossible {
                reason: "the room is a process on the host's kernel".to_owned(),
            },
            (Self::Tpm(_), None) => anyhow::bail!("the machine has no TPM whose key could be seen"),
            (Self::Tpm(policy), Some(public)) => RoomAttestation::Tpm2 {
                ak_certificate: keys.certify_attestation_key(public, session, now)?,
                policy,
            },
            (Self::Tdx(policy, collateral), _) => RoomAttestation::Tdx { collateral, policy },
        })
    }
}

/// A room that could show what it is, with nothing to judge that by, is not started: its record would
/// claim what nobody looked at.
fn not_judged(why: String) -> anyhow::Error {
    SessionError::NotJudged { why }.into()
}

/// The file with the image's reference values that `policy` may accept: the manifest where it is pinned
/// or nothing else would do, else its maker's release.
fn reference_file(
    image: &Path,
    policy: &RoomAppraisalPolicy,
) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    let path = image.join(REFERENCE);
    let bytes = read(&path)?;
    let is_pinned = |bytes: &Vec<u8>| policy.references().contains(&Digest::of(bytes));
    if policy.accepts_releases() && !bytes.as_ref().is_some_and(is_pinned) {
        let path = image.join(RELEASE);
        return match read(&path)? {
            Some(bytes) => Ok((path, bytes)),
            None => Err(not_judged(format!(
                "the policy wants reference values that their maker signed, and the image has no `{RELEASE}`"
            ))),
        };
    }
    match bytes {
        Some(bytes) => Ok((path, bytes)),
        None => Err(not_judged(format!(
            "the image has no `{REFERENCE}`; make it with `proofroom measure`"
        ))),
    }
}

/// None where there is no such file.
fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// Why values of another machine than this one cannot judge it.
fn unfit(manifest: &ReferenceManifest, machine: &MachineConfig) -> Option<String> {
    let wanted = manifest.contents();
    let (shape, own) = (&wanted.shape, machine.shape);
    if wanted.image != machine.image.digest {
        return Some(format!("`{REFERENCE}` is about another image"));
    }
    if shape.vcpus != u32::from(own.vcpus) || shape.memory_mib != own.memory_mib {
        return Some(format!(
            "`{REFERENCE}` is about {} processors and {} MiB, not {} and {}",
            shape.vcpus, shape.memory_mib, own.vcpus, own.memory_mib
        ));
    }
    let own = machine.layers.iter().map(|file| &file.layer);
    let own: Vec<_> = own.map(|layer| (&layer.name, layer.root.clone())).collect();
    let named = wanted.layers.iter();
    let named: Vec<_> = named
        .map(|known| (&known.name, known.root.to_string()))
        .collect();
    (own != named).then(|| {
        let list = |layers: Vec<(&String, String)>| {
            let names: Vec<_> = layers.into_iter().map(|(name, _)| name.as_str()).collect();
            names.join(", ")
        };
        format!(
            "`{REFERENCE}` is about the layers [{}], not [{}], or about others of these names",
            list(named),
            list(own)
        )
    })
}
