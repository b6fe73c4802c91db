//! The file that the weights are kept in: a table of Rust that a person can read.

use std::fmt::Write as _;

use proofroom_canonical::Digest;
use proofroom_classify::training;

/// The whole file.
pub(super) fn write(weights: &[i32], data: &[Digest], (all, secret): (usize, usize)) -> String {
    let mut text = String::from(
        "//! Weights of the value scorer in units of 1/1024, one for each feature in order. Made by `cargo xtask\n\
         //! train-scorer`; `--check` says whether they are what the data gives.\n//!\n",
    );
    // a String takes every write
    let mut line = |words: String| writeln!(text, "{words}").unwrap_or_default();
    line(format!(
        "//! Values: {all}, of them {secret} credentials. SHA-256 of the files, in order:"
    ));
    for digest in data {
        line(format!("//! {digest}"));
    }
    line(
        "\nuse super::FEATURES;\n\npub(super) const WEIGHTS: [(&str, i32); FEATURES.len()] = ["
            .to_owned(),
    );
    for (feature, weight) in training::features().iter().zip(weights) {
        line(format!("    (\"{}\", {weight}),", feature.name));
    }
    line("];".to_owned());
    text
}
