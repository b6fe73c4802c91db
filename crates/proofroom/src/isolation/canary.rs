//! Whether machines really run on this machine's processor. `/dev/kvm` says nothing: only a machine
//! that booted does. The answer is kept until the host is started anew or QEMU or the image change.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use proofroom_room::{
    Accelerator, Attestation, DEFAULT_ROOM, Image, MachineConfig, Programs, QEMU, RoomConfig,
    Shape, boot_id, canary, own_name,
};
use serde::{Deserialize, Serialize};

use crate::{causes::chain, files};

/// How long a canary may take: booting on a processor takes less than one.
const PATIENCE: Duration = Duration::from_secs(3);
const DEVICE: &str = "/dev/kvm";
/// Gone when the machine is started anew, as the answer is.
const MACHINE: &str = "/run/proofroom";

/// Boots a canary when it must, and remembers.
#[derive(Clone, Debug)]
pub struct Canary {
    kept: PathBuf,
    programs: Programs,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Circumstances {
    boot: String,
    qemu_bytes: u64,
    qemu_modified: i64,
    image: String,
    vcpus: u16,
    memory_mib: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    under: Circumstances,
    /// Why it did not boot; null when it did.
    failure: Option<String>,
}

/// A canary that did not boot.
struct Failed {
    why: String,
    /// QEMU ended or the guest was silent: it will be so until something changes.
    lasts: bool,
}

impl Canary {
    /// Keeps its answer for the whole machine where root runs it, and in the directory `state` where
    /// not; `programs` start the jails.
    #[must_use]
    pub fn new(state: &Path, programs: Programs) -> Self {
        let root = rustix::process::geteuid().is_root();
        let place = if root { Path::new(MACHINE) } else { state };
        Self {
            kept: place.join("canary.json"),
            programs,
        }
    }

    /// Boots `image` on the processor, or remembers that it did, in words.
    ///
    /// # Errors
    /// Why it does not boot, in words.
    pub fn boots(&self, image: &Image, shape: Shape) -> Result<String, String> {
        if !Path::new(DEVICE).exists() {
            return Err(format!("there is no `{DEVICE}`"));
        }
        let under = circumstances(image, shape)?;
        let failure = match self.remembered(&under) {
            Some(failure) => failure,
            None => {
                let answer = self.boot(image, shape);
                let failure = answer.as_ref().err().map(|failed| failed.why.clone());
                // What failed for another reason than the processor is tried again next time.
                if answer
                    .as_ref()
                    .map_or_else(|failed| failed.lasts, |()| true)
                {
                    self.remember(&Answer {
                        under,
                        failure: failure.clone(),
                    });
                }
                failure
            }
        };
        match failure {
            None => Ok("a canary machine booted on the processor".to_owned()),
            Some(why) => Err(format!(
                "`{DEVICE}` is there, but a canary machine does not boot on it within {} s: {why}",
                PATIENCE.as_secs()
            )),
        }
    }

    fn boot(&self, image: &Image, shape: Shape) -> Result<(), Failed> {
        let machine = MachineConfig {
            image: image.clone(),
            layers: Vec::new(),
            accelerator: Accelerator::Kvm,
            shape,
            attestation: Attestation::of_image(image),
            disk_directory: self.kept.clone(),
        };
        let config = RoomConfig::parse(DEFAULT_ROOM, &self.kept).map_err(|_| Failed {
            why: "the built-in room configuration does not fit this machine".to_owned(),
            lasts: false,
        })?;
        let name = own_name("canary").map_err(|error| Failed {
            why: chain(&error),
            lasts: false,
        })?;
        canary(&name, &config, &self.programs, &machine, PATIENCE).map_err(|error| Failed {
            why: chain(&error),
            lasts: matches!(error.code(), "boot-port-closed" | "guest-silent"),
        })
    }

    fn remembered(&self, under: &Circumstances) -> Option<Option<String>> {
        let text = fs::read(&self.kept).ok()?;
        let answer: Answer = serde_json::from_slice(&text).ok()?;
        (answer.under == *under).then_some(answer.failure)
    }

    /// An answer that cannot be kept is found again next time.
    fn remember(&self, answer: &Answer) {
        if let (Ok(text), Some(place)) = (serde_json::to_vec(answer), self.kept.parent()) {
            drop(fs::create_dir_all(place).and_then(|()| files::replace(&self.kept, &text)));
        }
    }
}

fn circumstances(image: &Image, shape: Shape) -> Result<Circumstances, String> {
    let qemu = fs::metadata(QEMU).map_err(|error| format!("`{QEMU}`: {error}"))?;
    Ok(Circumstances {
        boot: boot_id(),
        qemu_bytes: qemu.len(),
        qemu_modified: qemu.mtime(),
        image: image.digest.to_hex(),
        vcpus: shape.vcpus,
        memory_mib: shape.memory_mib,
    })
}
