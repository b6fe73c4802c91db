//! The programs of the host that a machine needs, at the one place where they are looked for.

use std::path::Path;

/// The emulator.
pub const QEMU: &str = "/usr/bin/qemu-system-x86_64";
/// The software TPM.
pub const SWTPM: &str = "/usr/bin/swtpm";

/// The first of them that is not installed.
#[must_use]
pub fn missing_program() -> Option<&'static str> {
    [QEMU, SWTPM]
        .into_iter()
        .find(|program| !Path::new(program).exists())
}
