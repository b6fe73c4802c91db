//! What is shipped holds nothing of the simulated TEE: neither its code nor the seed of its keys.

use std::{env, fs, process::Command};

use proofroom_e2e::{program, repository_root};

/// The programs that are shipped, each named as its package.
const SHIPPED: [&str; 4] = [
    "proofroom",
    "proofroom-guest",
    "proofroom-agent",
    "proofroom-verify",
];
/// The seeds of the simulated TEE and of the simulated AMD vendor. Not imported: this test is about bytes.
const SEED: &[u8] = b"proofroom simulated TEE, seed 01";
const SNP_SEED: &[u8] = b"proofroom simulated SNP, seed 01";
const DEVELOPMENT_ONLY: [&str; 2] = ["proofroom-testkit", "fuser"];

fn contains_seed(name: &str, seed: &[u8]) -> bool {
    let bytes = fs::read(program(name)).expect("the program can be read");
    bytes.windows(seed.len()).any(|window| window == seed)
}

/// Names of the packages that `package` is built from.
fn built_from(package: &str) -> Vec<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = Command::new(cargo)
        .current_dir(repository_root())
        .args(["tree", "--locked", "--edges=normal,build"])
        .args(["--prefix=none", "--format={p}", "--package", package])
        .output()
        .expect("cargo can be executed");
    assert!(tree.status.success(), "cargo tree --package {package}");
    let text = String::from_utf8(tree.stdout).expect("package names are text");
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_shipped_program_holds_the_seed_of_the_simulated_tee() {
    assert!(
        contains_seed("proofroom-cassette", SEED),
        "the search finds the seed where it is"
    );
    for name in SHIPPED {
        assert!(!contains_seed(name, SEED), "{name}");
        assert!(!contains_seed(name, SNP_SEED), "{name}");
    }
}

#[test]
fn no_shipped_program_is_built_from_the_test_kit() {
    let kit = built_from("proofroom-testkit");
    assert!(kit.iter().any(|package| package == "fuser"));
    for name in SHIPPED {
        let packages = built_from(name);
        assert!(packages.len() > 10, "{name}: {packages:?}");
        for forbidden in DEVELOPMENT_ONLY {
            assert!(
                !packages.iter().any(|package| package == forbidden),
                "{name} is built from {forbidden}"
            );
        }
    }
}
