//! Where the programs under test are.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The workspace's root directory.
#[must_use]
pub fn repository_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("crates/e2e lies two levels down")
        .to_owned()
}

/// A program of this workspace.
///
/// # Panics
/// When it has not been built: `cargo xtask test` builds all of them first.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let dir = env::var_os("PROOFROOM_PROGRAMS").map_or_else(beside_this_test, PathBuf::from);
    let path = dir.join(name);
    assert!(
        path.is_file(),
        "`{}` is not built; run the tests with `cargo xtask test`",
        path.display()
    );
    path
}

/// A program of this workspace that needs nothing of the room it runs in.
///
/// # Panics
/// When it has not been built: `cargo xtask test` builds all of them first.
#[must_use]
pub fn static_program(name: &str) -> PathBuf {
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let below = Path::new(&target).join("guest");
    // <target>/debug, and beside it <target>/<triple>
    let debug = env::var_os("PROOFROOM_PROGRAMS").map_or_else(beside_this_test, PathBuf::from);
    let path = debug.parent().unwrap_or(&debug).join(below).join(name);
    assert!(
        path.is_file(),
        "`{}` is not built; run the tests with `cargo xtask test`",
        path.display()
    );
    path
}

/// Test programs lie in `<target>/<profile>/deps`.
fn beside_this_test() -> PathBuf {
    let own = env::current_exe().expect("the running program has a path");
    own.ancestors()
        .nth(2)
        .expect("target/<profile>/deps/<test>")
        .to_owned()
}

/// A Python with the third-party packages, or nothing where `cargo xtask test` did not make one.
#[must_use]
pub fn python() -> Option<PathBuf> {
    env::var_os("PROOFROOM_PYTHON").map(PathBuf::from)
}

/// Says aloud that a test did not run, and why.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}
