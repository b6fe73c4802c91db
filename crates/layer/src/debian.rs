//! Debian packages as the content of a layer: apt downloads them with everything that they depend
//! on, into a private directory and against the machine's own sources and keys, and their files are
//! unpacked. No maintainer script runs.

mod alternatives;
mod apt;
mod bytecode;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use proofroom_canonical::{Digest, Hasher};
use serde::Deserialize;

use self::{alternatives::Alternative, apt::Apt};
use crate::{
    archive::{Whiteouts, extract},
    descriptor::{DebianPackage, Origin},
    error::LayerError,
    program::Program,
    tree::{EntryPath, Tree},
};

const DPKG_DEB: Program = Program {
    name: "dpkg-deb",
    package: "dpkg",
};

/// Directories that became one: programs name both.
const MERGED: [(&str, &str); 4] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
];
/// What no program of a room reads.
const LEFT_OUT: [&str; 6] = ["man", "info", "locale", "lintian", "bug", "doc-base"];

/// Packages that make a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packages {
    requested: Vec<String>,
    without: Vec<String>,
    links: BTreeMap<String, String>,
    bytecode: Bytecode,
}

/// Whether Python's bytecode is made for a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bytecode {
    /// No: every start of Python compiles what it imports.
    #[default]
    None,
    /// Yes, by the machine's own Python, which must be of the layer's version.
    Python,
}

impl Packages {
    /// Takes names (`git`, `git=1:2.39.5-0`), patterns of names to leave out (`perl-modules-*`), and
    /// links to add, from path to target.
    ///
    /// # Errors
    /// A name that is none, or no names.
    pub fn new(
        requested: Vec<String>,
        without: Vec<String>,
        links: BTreeMap<String, String>,
    ) -> Result<Self, LayerError> {
        if requested.is_empty() {
            return Err(LayerError::NoPackages);
        }
        for name in &requested {
            let (name, version) = name.split_once('=').unwrap_or((name, "0"));
            // apt reads `name-` as a wish to remove.
            if !is_name(name) || name.ends_with('-') || !is_version(version) {
                return Err(LayerError::PackageName(name.chars().take(80).collect()));
            }
        }
        for pattern in &without {
            if !is_name(pattern.strip_suffix('*').unwrap_or(pattern)) {
                return Err(LayerError::PackageName(pattern.chars().take(80).collect()));
            }
        }
        Ok(Self {
            requested,
            without,
            links,
            bytecode: Bytecode::None,
        })
    }

    /// The same packages, with or without Python's bytecode.
    #[must_use]
    pub const fn with_bytecode(mut self, bytecode: Bytecode) -> Self {
        self.bytecode = bytecode;
        self
    }

    fn leaves_out(&self, name: &str) -> bool {
        self.without.iter().any(|pattern| {
            (pattern.strip_suffix('*')).map_or(name == pattern, |start| name.starts_with(start))
        })
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
}

fn is_version(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.:~".contains(c))
}

/// Downloads and unpacks `packages` into `tree`.
pub(crate) fn install(
    packages: &Packages,
    tree: &mut Tree,
    note: &mut dyn FnMut(&str),
) -> Result<Origin, LayerError> {
    note("asking the machine's package sources");
    let apt = Apt::prepare()?;
    apt.update()?;
    note("downloading packages and what they depend on");
    let archives = apt.download(&packages.requested)?;
    for (link, target) in MERGED {
        tree.directory(&EntryPath::parse(target.as_bytes())?, 0o755)?;
        tree.symlink(&EntryPath::parse(link.as_bytes())?, target.as_bytes())?;
    }
    let mut found = Vec::new();
    for archive in archives {
        let package = describe(&archive)?;
        if !packages.leaves_out(&package.name) {
            found.push((package, archive));
        }
    }
    found.sort();
    let mut choices = Vec::new();
    for (number, (package, archive)) in found.iter().enumerate() {
        if number % 20 == 0 {
            note(&format!(
                "unpacking package {} of {}",
                number + 1,
                found.len()
            ));
        }
        unpack(archive, &package.name, tree)?;
        choices.extend(alternatives::read(&postinst(archive)?));
    }
    let mut links = choose(choices, tree)?;
    for (path, target) in &packages.links {
        tree.symlink(&EntryPath::parse(path.as_bytes())?, target.as_bytes())?;
        links.push(format!("{path} -> {target}"));
    }
    let bytecode = match packages.bytecode {
        Bytecode::None => "none".to_owned(),
        Bytecode::Python => {
            note("compiling Python's library");
            format!("python {}", bytecode::compile(tree)?)
        }
    };
    Ok(Origin::DebianPackages {
        requested: packages.requested.clone(),
        packages: found.into_iter().map(|(package, _)| package).collect(),
        without: packages.without.clone(),
        links,
        bytecode,
    })
}

fn describe(archive: &Path) -> Result<DebianPackage, LayerError> {
    let format = "--showformat=${Package}\n${Version}\n${Architecture}\n";
    let output = DPKG_DEB.run(["--show".as_ref(), format.as_ref(), archive.as_os_str()])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().map(str::to_owned);
    let mut line = || {
        lines.next().filter(|line| !line.is_empty()).ok_or_else(|| {
            DPKG_DEB.failed(&[], "the package says no name, version or architecture")
        })
    };
    Ok(DebianPackage {
        name: line()?,
        version: line()?,
        architecture: line()?,
        sha256: digest(archive)?,
    })
}

fn digest(path: &Path) -> Result<Digest, LayerError> {
    let failed = LayerError::disk("read", path);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Hashed(Hasher::new());
    io::copy(&mut file, &mut hasher).map_err(failed)?;
    Ok(hasher.0.finish())
}

struct Hashed(Hasher);

impl io::Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unpack(archive: &Path, name: &str, tree: &mut Tree) -> Result<(), LayerError> {
    let mut command = DPKG_DEB.command();
    command.arg("--fsys-tarfile").arg(archive);
    let what = format!("of package `{name}`");
    extract_output(DPKG_DEB, &mut command, &what, tree, &wanted)
}

/// Puts the entries of the tar archive that a program writes into `tree`.
fn extract_output(
    program: Program,
    command: &mut Command,
    what: &str,
    tree: &mut Tree,
    wanted: &dyn Fn(&[String]) -> bool,
) -> Result<(), LayerError> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| program.missing(error))?;
    let extracted = match child.stdout.take() {
        Some(mut bytes) => {
            let extracted = extract(what, &mut bytes, tree, Whiteouts::None, wanted);
            // The padding after the archive's end, so that the program does not meet a closed pipe.
            extracted.and_then(|()| {
                io::copy(&mut bytes, &mut io::sink())
                    .map(drop)
                    .map_err(|source| LayerError::Archive {
                        what: what.to_owned(),
                        source,
                    })
            })
        }
        None => Ok(()),
    };
    let ended = child
        .wait_with_output()
        .map_err(|error| program.missing(error))?;
    extracted?;
    if !ended.status.success() {
        return Err(program.failed(&ended.stderr, &ended.status.to_string()));
    }
    Ok(())
}

/// Whether a room has a use for this path. Copyright files stay: they are the licence's terms.
fn wanted(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["usr", "share", "doc", _, rest @ ..] => matches!(rest, [] | ["copyright"]),
        ["usr", "share", name, ..] => !LEFT_OUT.contains(name),
        ["dev" | "proc" | "sys" | "run" | "tmp", ..] => false,
        _ => true,
    }
}

/// The script that says which alternatives the package offers; it is read, never run.
fn postinst(archive: &Path) -> Result<String, LayerError> {
    let mut command = DPKG_DEB.command();
    command.arg("--info").arg(archive).arg("postinst");
    let output = command.output().map_err(|error| DPKG_DEB.missing(error))?;
    // A package without the script is answered with an error.
    if !output.status.success() {
        return Ok(String::new());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Makes the link of the best alternative where nothing else is at its path.
fn choose(mut choices: Vec<Alternative>, tree: &mut Tree) -> Result<Vec<String>, LayerError> {
    choices.sort();
    let mut links = Vec::new();
    for choice in choices {
        let (Ok(link), Ok(path)) = (
            EntryPath::parse(choice.link.as_bytes()),
            EntryPath::parse(choice.path.as_bytes()),
        ) else {
            continue;
        };
        if wanted(link.components()) && !tree.has(&link) && tree.has(&path) {
            tree.symlink(&link, choice.path.as_bytes())?;
            links.push(format!("{link} -> {}", choice.path));
        }
    }
    links.sort();
    Ok(links)
}

/// The archives of a directory, in the order of their names.
fn archives(dir: &Path) -> Result<Vec<PathBuf>, LayerError> {
    let failed = LayerError::disk("read", dir);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{Packages, wanted};
    use std::collections::BTreeMap;

    fn code(requested: &[&str], without: &[&str]) -> Option<&'static str> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Packages::new(owned(requested), owned(without), BTreeMap::new())
            .err()
            .map(|error| error.code())
    }

    #[test]
    fn only_names_of_packages_reach_apt() {
        assert_eq!(
            code(&["git", "g++", "git=1:2.39.5-0+deb12u3"], &["perl-*"]),
            None
        );
        assert_eq!(code(&[], &[]), Some("layer-no-packages"));
        for bad in [
            "",
            "-y",
            "--config-file=x",
            "a b",
            "./a.deb",
            "A",
            "git=",
            "git=-1",
            "git/sid",
        ] {
            assert_eq!(code(&[bad], &[]), Some("layer-package-name"), "{bad}");
            assert_eq!(code(&["git"], &[bad]), Some("layer-package-name"), "{bad}");
        }
        assert_eq!(code(&["git-"], &[]), Some("layer-package-name"));
    }

    #[test]
    fn manuals_are_left_out_and_copyrights_stay() {
        let wanted = |path: &str| {
            let parts: Vec<String> = path.split('/').map(str::to_owned).collect();
            wanted(&parts)
        };
        assert!(wanted("usr/bin/git"));
        assert!(wanted("usr/share/doc/git"));
        assert!(wanted("usr/share/doc/git/copyright"));
        assert!(!wanted("usr/share/doc/git/README.gz"));
        assert!(!wanted("usr/share/man/man1/git.1.gz"));
        assert!(!wanted("usr/share/locale"));
        assert!(!wanted("dev/null"));
    }
}
