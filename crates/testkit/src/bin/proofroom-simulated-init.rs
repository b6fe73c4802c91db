//! The `proofroom-simulated-init` binary: `/init` of a SIMULATED image. Mounts the double of configfs-tsm over
//! the kernel's own paths and becomes the machine's first process. Anywhere else it refuses.

use std::{io::Write as _, process::ExitCode};

use proofroom_testkit::simulated_guest;

fn main() -> ExitCode {
    let error = if std::process::id() == 1 {
        simulated_guest::become_first_process().to_string()
    } else {
        "this program is the first process of a simulated image and nothing else".to_owned()
    };
    // The kernel's console is all there is; the machine ends when this process does.
    drop(writeln!(
        std::io::stderr(),
        "proofroom-simulated-init: {error}"
    ));
    ExitCode::FAILURE
}
