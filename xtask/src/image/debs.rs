//! The pinned Debian packages: downloaded once through the machine's own mirror, into an apt
//! directory of their own, and believed by their digests alone.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Package, digest_of, output};
use crate::machine;

/// Names a Debian mirror where the machine's own apt has none.
const MIRROR: &str = "PROOFROOM_DEBIAN_MIRROR";

/// The directory `name` of the downloads, in which every one of `packages` is unpacked.
pub(super) fn unpacked(packages: &[Package], name: &str) -> Result<PathBuf> {
    let cache = machine::target().join("image-inputs");
    let archives = cache.join("archives");
    fs::create_dir_all(&archives)?;
    let missing: Vec<&Package> = packages
        .iter()
        .filter(|package| !archive(&archives, package).is_file())
        .collect();
    if !missing.is_empty() {
        download(&cache, &archives, &missing)?;
    }
    let dir = cache.join(name);
    for package in packages {
        let archive = archive(&archives, package);
        let found = digest_of(&archive)?;
        ensure!(
            found == package.sha256,
            "`{}` has digest {found}, image/inputs.toml pins {}; remove it and try again",
            archive.display(),
            package.sha256
        );
        let mark = dir.join(format!(".{}", package.sha256));
        if mark.is_file() {
            continue;
        }
        fs::create_dir_all(&dir)?;
        machine::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&dir))?;
        fs::write(mark, "")?;
    }
    Ok(dir)
}

fn archive(archives: &Path, package: &Package) -> PathBuf {
    archives.join(format!("{}.deb", package.sha256))
}

fn download(cache: &Path, archives: &Path, packages: &[&Package]) -> Result<()> {
    let apt = Apt::prepare(&cache.join("apt"), packages)?;
    eprintln!(
        "downloading {} Debian packages of the image",
        packages.len()
    );
    output(apt.command().arg("update")).context("the package lists cannot be read")?;
    for package in packages {
        let wanted = format!("{}={}", package.name, package.version);
        let into = apt.dir.join(&package.sha256);
        fs::create_dir_all(&into)?;
        output(apt.command().current_dir(&into).args(["download", &wanted]))
            .with_context(|| format!("`{wanted}` cannot be downloaded; has the mirror kept it?"))?;
        let file = fs::read_dir(&into)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("`{wanted}` did not arrive"))?;
        fs::rename(file, archive(archives, package))?;
    }
    Ok(())
}

struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn prepare(dir: &Path, packages: &[&Package]) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial", "preferences"] {
            fs::create_dir_all(dir.join(part))?;
        }
        let mirror = mirror()?;
        let mut suites: Vec<&str> = packages.iter().map(|p| p.suite.as_str()).collect();
        suites.sort_unstable();
        suites.dedup();
        // The archive's signature is not what is relied on: image/inputs.toml pins every digest.
        let sources: String = suites
            .iter()
            .map(|suite| format!("deb [trusted=yes] {mirror} {suite} main\n"))
            .collect();
        fs::write(dir.join("sources.list"), sources)?;
        fs::write(dir.join("status"), "")?;
        let shown = dir.display();
        fs::write(
            dir.join("apt.conf"),
            format!(
                "Dir::State \"{shown}\";\nDir::State::status \"{shown}/status\";\n\
                 Dir::Cache \"{shown}/cache\";\nDir::Etc::sourcelist \"{shown}/sources.list\";\n\
                 Dir::Etc::sourceparts \"-\";\nDir::Etc::preferencesparts \"{shown}/preferences\";\n\
                 Acquire::Languages \"none\";\nAPT::Architecture \"amd64\";\n\
                 APT::Sandbox::User \"\";\n"
            ),
        )?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command
            .env("APT_CONFIG", self.dir.join("apt.conf"))
            .arg("--quiet=2");
        command
    }
}

/// The Debian mirror that this machine's apt uses.
fn mirror() -> Result<String> {
    if let Some(mirror) = env::var_os(MIRROR) {
        return Ok(mirror.to_string_lossy().into_owned());
    }
    let listed = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN) $(SUITE) $(REPO_URI)",
    ]))
    .unwrap_or_default();
    let mirror = listed.lines().find_map(|line| {
        let mut words = line.split(' ');
        let debian = words.next() == Some("Debian");
        let suite = words.next()?;
        let plain = !suite.contains("security") && !suite.contains("updates");
        words.next().filter(|_| debian && plain)
    });
    match mirror {
        Some(mirror) => Ok(mirror.to_owned()),
        None => bail!(
            "this machine's apt knows no Debian mirror (run `apt-get update`, or set {MIRROR} to one)"
        ),
    }
}
