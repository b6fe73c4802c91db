//! apt in a directory of its own: the machine's sources, keys and ways to reach them, but none of
//! its state and none of its hooks.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::archives;
use crate::{error::LayerError, program::Program};

const APT_GET: Program = Program {
    name: "apt-get",
    package: "apt",
};
const APT_CONFIG: Program = Program {
    name: "apt-config",
    package: "apt",
};

pub(super) struct Apt {
    dir: TempDir,
}

impl Apt {
    pub(super) fn prepare() -> Result<Self, LayerError> {
        let place = std::env::temp_dir();
        let failed = LayerError::disk("make a directory in", &place);
        let dir = tempfile::Builder::new()
            .prefix("proofroom-apt-")
            .tempdir()
            .map_err(failed)?;
        // apt's downloaders run as a user of their own where apt is root's.
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir.path(), mode).map_err(failed)?;
        for inner in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(dir.path().join(inner)).map_err(failed)?;
        }
        let apt = Self { dir };
        // No package is installed here, so that everything that is depended upon comes along.
        apt.write("status", "")?;
        apt.write("parts/machine", &acquisition()?)?;
        apt.write("conf", &configuration(apt.dir.path()))?;
        Ok(apt)
    }

    pub(super) fn update(&self) -> Result<(), LayerError> {
        APT_GET.finish(self.command().arg("update")).map(drop)
    }

    /// The archives of everything that has to be installed for `names`.
    pub(super) fn download(&self, names: &[String]) -> Result<Vec<PathBuf>, LayerError> {
        let mut command = self.command();
        command.args(["--yes", "--no-install-recommends", "--download-only"]);
        command.arg("install").arg("--").args(names);
        APT_GET.finish(&mut command)?;
        archives(&self.dir.path().join("cache/archives"))
    }

    fn command(&self) -> Command {
        let mut command = APT_GET.command();
        command
            .env("APT_CONFIG", self.dir.path().join("conf"))
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg("--quiet=2");
        command
    }

    fn write(&self, name: &str, text: &str) -> Result<(), LayerError> {
        let path = self.dir.path().join(name);
        fs::write(&path, text).map_err(LayerError::disk("write", &path))
    }
}

/// How the machine reaches its sources (`Acquire`: proxies, timeouts), without its hooks.
fn acquisition() -> Result<String, LayerError> {
    let output = APT_CONFIG.run(["dump", "Acquire"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter(|line| line.starts_with("Acquire::"))
        .flat_map(|line| [line, "\n"])
        .collect())
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Dir::Etc::main \"{dir}/none\";\n\
         Dir::Etc::parts \"{dir}/parts\";\n\
         Dir::State \"{dir}\";\n\
         Dir::State::lists \"{dir}/lists\";\n\
         Dir::State::status \"{dir}/status\";\n\
         Dir::Cache \"{dir}/cache\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
    )
}
