//! From QEMU's start to the first word of the guest's first process. QEMU's emulator fails a kernel now and
//! then (`Oops: int3`): a machine that ends before that word was told nothing, neither its configuration
//! nor a secret, and is booted once more. Only an emulated one, only once, and with a word in the record.

use std::time::Instant;

use proofroom_vmm::{
    Accelerator,
    boot::{BootConfig, FrameError, Purpose},
};

use super::{MachineConfig, Raised, boot_config, conversation::FIRST_WORD, patience, spares};
use crate::{Fact, Observed, Recall, RoomConfig, RoomError, room::Spare};

/// A machine whose first process waits for its configuration.
pub(super) struct Speaking {
    pub(super) raised: Raised,
    /// What it will be told.
    pub(super) boot: BootConfig,
    /// Its kernel's release, as it says.
    pub(super) kernel: String,
    /// When the whole boot must be over.
    pub(super) until: Instant,
    /// What was seen of the boot before this one.
    pub(super) failed_boot: Option<Observed>,
}

/// Boots a machine up to its first word.
///
/// # Errors
/// Of the last boot. Nothing is left running.
pub(super) fn speaking(
    first_spares: [Spare; 3],
    name: &str,
    config: &RoomConfig,
    machine: &MachineConfig,
    recall: &Recall,
) -> Result<Speaking, RoomError> {
    let programs = first_spares[0].programs().clone();
    let mut ready = Some(first_spares);
    twice_at_most(machine.accelerator, recall, || {
        let spares = ready.take().map_or_else(|| spares(&programs), Ok)?;
        once(spares, name, config, machine, recall)
    })
    .map(|(speaking, failed_boot)| Speaking {
        failed_boot,
        ..speaking
    })
}

fn once(
    spares: [Spare; 3],
    name: &str,
    config: &RoomConfig,
    machine: &MachineConfig,
    recall: &Recall,
) -> Result<Speaking, RoomError> {
    let boot = boot_config(config, machine, Purpose::Room)?;
    let mut raised = Raised::new(spares, name, config, machine, &boot)?;
    recall.hold(raised.launched.pidfd())?;
    let until = Instant::now() + patience(machine.accelerator);
    match raised.conversation.first_word(until) {
        Ok(kernel) => Ok(Speaking {
            raised,
            boot,
            kernel,
            until,
            failed_boot: None,
        }),
        Err(error) => {
            raised.end()?;
            Err(error)
        }
    }
}

/// What `boot` makes, and what was seen of its first failure where a second boot was permitted.
fn twice_at_most<T>(
    accelerator: Accelerator,
    recall: &Recall,
    mut boot: impl FnMut() -> Result<T, RoomError>,
) -> Result<(T, Option<Observed>), RoomError> {
    let began = Instant::now();
    match boot() {
        Err(error) if accelerator == Accelerator::Tcg && ended_silently(&error) => {
            // what was taken back ended silently too, and by no emulator
            recall.stands()?;
            let failed = observed(&error, began);
            Ok((boot()?, Some(failed)))
        }
        booted => Ok((booted?, None)),
    }
}

/// The machine ended and its first process had not said a word. One that hangs, or says something else, is
/// not what an emulator does to a kernel.
fn ended_silently(error: &RoomError) -> bool {
    let RoomError::Guest { step, source } = error else {
        return false;
    };
    *step == FIRST_WORD && matches!(source, FrameError::Closed)
}

/// What the host can see: the machine has no console.
fn observed(error: &RoomError, began: Instant) -> Observed {
    let after = began.elapsed().as_millis();
    let detail = format!(
        "{}: the emulated machine ended {after} ms after its start, before its first process spoke and before it \
         was told anything",
        error.code()
    );
    Observed::now(Fact::FirstBootFailed, detail)
}

#[cfg(test)]
mod tests {
    use proofroom_vmm::{Accelerator, boot::FrameError};

    use super::{FIRST_WORD, twice_at_most};
    use crate::{Fact, Recall, RoomError};

    fn ended(step: &'static str) -> RoomError {
        let source = FrameError::Closed;
        RoomError::Guest { step, source }
    }

    /// How many boots there were, and what came of them, when the first `failures` fail.
    fn boots(
        accelerator: Accelerator,
        failures: u32,
        error: impl Fn() -> RoomError,
    ) -> (u32, Result<Option<Fact>, &'static str>) {
        let mut boots = 0;
        let came = twice_at_most(accelerator, &Recall::default(), || {
            boots += 1;
            (boots > failures).then_some(()).ok_or_else(&error)
        });
        let came = came.map(|((), failed)| failed.map(|failed| failed.fact));
        (boots, came.map_err(|error| error.code()))
    }

    #[test]
    fn an_emulated_machine_that_ends_without_a_word_boots_once_more_and_no_more() {
        let silent = || ended(FIRST_WORD);
        assert_eq!(boots(Accelerator::Tcg, 0, silent), (1, Ok(None)));
        let again = Ok(Some(Fact::FirstBootFailed));
        assert_eq!(boots(Accelerator::Tcg, 1, silent), (2, again));
        let given_up = Err("boot-port-closed");
        assert_eq!(boots(Accelerator::Tcg, 2, silent), (2, given_up));
    }

    #[test]
    fn no_other_failure_and_no_other_machine_boots_again() {
        let kvm = boots(Accelerator::Kvm, 1, || ended(FIRST_WORD));
        assert_eq!(kvm, (1, Err("boot-port-closed")));
        let told = boots(Accelerator::Tcg, 1, || ended("start its room"));
        assert_eq!(told, (1, Err("boot-port-closed")));
        let silent = || RoomError::GuestSilent { step: FIRST_WORD };
        assert_eq!(boots(Accelerator::Tcg, 1, silent), (1, Err("guest-silent")));
        let recalled = boots(Accelerator::Tcg, 1, || RoomError::Recalled);
        assert_eq!(recalled, (1, Err("start-recalled")));
    }

    #[test]
    fn a_start_that_was_taken_back_boots_nothing_more() {
        let (recall, mut boots) = (Recall::default(), 0);
        let came = twice_at_most(Accelerator::Tcg, &recall, || {
            boots += 1;
            recall.recall();
            Err::<(), _>(ended(FIRST_WORD))
        });
        assert_eq!((boots, came.unwrap_err().code()), (1, "start-recalled"));
    }
}
