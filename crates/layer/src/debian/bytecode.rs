//! Python bytecode for a layer. A script of the package would make it when it is installed; a layer
//! is read-only, and without bytecode every start of Python compiles its library again.

use super::extract_output;
use crate::{
    error::LayerError,
    program::Program,
    tree::{EntryPath, Tree},
};

/// The distribution's own Python: packages from the machine's sources are for this version.
const PYTHON: Program = Program {
    name: "/usr/bin/python3",
    package: "python3",
};
const SCRIPT: &str = include_str!("bytecode.py");

/// Compiles the Python sources in `tree`; the version that did.
pub(super) fn compile(tree: &mut Tree) -> Result<String, LayerError> {
    let version = say("import sys; print(*sys.version_info[:2], sep='.')")?;
    let library = format!("usr/lib/python{version}");
    if !tree.has(&EntryPath::parse(library.as_bytes())?) {
        let words = format!("it is version {version}, and the layer's Python is another, or none");
        return Err(PYTHON.failed(&[], &words));
    }
    let exact = say("import platform; print(platform.python_version())")?;
    let mut command = PYTHON.command();
    command
        .env_clear()
        // Sets are compiled in the order of their hashes.
        .env("PYTHONHASHSEED", "0")
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/")
        .args(["-s", "-S", "-c", SCRIPT])
        .arg(tree.path())
        .args([library.as_str(), "usr/lib/python3/dist-packages"]);
    extract_output(PYTHON, &mut command, "of Python bytecode", tree, &|_| true)?;
    Ok(exact)
}

fn say(script: &str) -> Result<String, LayerError> {
    let output = PYTHON.run(["-I", "-S", "-c", script])?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
