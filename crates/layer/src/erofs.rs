//! The file system of a layer, made by `mkfs.erofs`: the same files give the same bytes.

use std::path::Path;

use crate::{build::Compression, error::LayerError, program::Program};

const MKFS: Program = Program {
    name: "mkfs.erofs",
    package: "erofs-utils",
};

/// One for all layers: a file system's own identifier says nothing here.
const UUID: &str = "70726f6f-6672-4f6f-8d2d-6c6179657231";
/// 1980-01-01 UTC: older times do not fit into zip archives, which tools make of files.
const TIME: &str = "315532800";
/// What is compressed together, in bytes on disk. A tool chain has a sixth less to read and to hash than with the
/// 4 KiB that are the program's default, and is read in pieces that are larger than this anyway.
const CLUSTER: &str = "-C65536";

/// Writes the files in `tree` as an erofs image. Owners are root, times are one, extended
/// attributes (file capabilities among them) are left out.
pub(crate) fn write(tree: &Path, image: &Path, compression: Compression) -> Result<(), LayerError> {
    let mut command = MKFS.command();
    command.args(["--quiet", "-x-1", "--all-root"]);
    command.arg(format!("-T{TIME}")).arg(format!("-U{UUID}"));
    match compression {
        Compression::None => {}
        Compression::Lz4 => {
            command.args(["-zlz4hc", CLUSTER]);
        }
    }
    command.arg(image).arg(tree);
    MKFS.finish(&mut command).map(drop)
}

/// The program's name and version, as it says them.
pub(crate) fn version() -> Result<String, LayerError> {
    // Version 1.5 has no option for it and says it with its usage; newer ones have `-V`.
    let output = MKFS
        .command()
        .arg("-V")
        .output()
        .map_err(|error| MKFS.missing(error))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said
        .lines()
        .find(|line| line.starts_with("mkfs.erofs") && !line.contains(':'));
    let line = line.ok_or_else(|| MKFS.failed(&[], "it does not say its version"))?;
    Ok(line.chars().take(100).collect())
}
