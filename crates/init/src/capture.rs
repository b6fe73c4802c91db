//! What the firmware was given: the ACPI tables and their loader script, as QEMU's `fw_cfg` has
//! them. They are inputs of the measurement calculator, read once for each QEMU and shape.

use std::{collections::BTreeMap, fs, io::Read as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{InitError, error::On as _};

const FILES: &str = "/sys/firmware/qemu_fw_cfg/by_name/etc";
/// Names below `etc/`, as the firmware asks for them.
const NAMES: [&str; 4] = ["acpi/tables", "acpi/rsdp", "table-loader", "tpm/log"];
/// Together they must fit into one report.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// Reads the files that are there.
pub(crate) fn firmware_files() -> Result<BTreeMap<String, String>, InitError> {
    let mut files = BTreeMap::new();
    for name in NAMES {
        let path = Path::new(FILES).join(name).join("raw");
        let Ok(file) = fs::File::open(&path) else {
            continue;
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES)
            .read_to_end(&mut bytes)
            .on("read", &path)?;
        files.insert(name.to_owned(), STANDARD.encode(bytes));
    }
    Ok(files)
}
