//! What a boot log says about a register: the first event that differs, and how registers grow.

use proofroom_evidence::{Bank, EV_NO_ACTION, EventLog};
use sha2::{Digest as _, Sha384};

use crate::reference::ReferenceEvent;

/// In words: the first event in `register` of the log, whose name is `label`, that is not the one that
/// the reference has there.
pub(super) fn difference<'a>(
    label: &str,
    log: &EventLog,
    register: u32,
    mut wanted: impl Iterator<Item = &'a ReferenceEvent>,
) -> String {
    let measured = log
        .events()
        .iter()
        .filter(|event| event.register == register && event.kind != EV_NO_ACTION);
    for (number, event) in measured.enumerate() {
        let found = event.digests.get(&Bank::Sha384);
        match wanted.next() {
            Some(wanted) if found.map(Vec::as_slice) == Some(wanted.sha384.as_bytes()) => {}
            Some(wanted) => {
                return format!("{label}: event {number} is not `{}`", wanted.what);
            }
            None => return format!("{label}: event {number} is not in the reference values"),
        }
    }
    wanted.next().map_or_else(
        || format!("{label} does not have its reference value"),
        |wanted| format!("{label}: `{}` was not measured", wanted.what),
    )
}

/// A SHA-384 register after one more event.
pub(super) fn extended(register: [u8; 48], digest: [u8; 48]) -> [u8; 48] {
    Sha384::new_with_prefix(register)
        .chain_update(digest)
        .finalize()
        .into()
}
