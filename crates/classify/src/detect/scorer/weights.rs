//! Weights of the value scorer in units of 1/1024, one for each feature in order. Made by `cargo xtask
//! train-scorer`; `--check` says whether they are what the data gives.
//!
//! Values: 96, of them 74 credentials. SHA-256 of the files, in order:
//! sha256:aa12d866d8f27749cbf361ed3502e8f41aea1052de6bd8644a3afbb624fd2701
//! sha256:42e90a726b2c8a6a746887ce9404e0e8603a3883e9fdccefaa2dfd945de54da0

use super::FEATURES;

pub(super) const WEIGHTS: [(&str, i32); FEATURES.len()] = [
    ("bias", -389),
    ("short", -315),
    ("length", 1023),
    ("digits", 15),
    ("capitals", -67),
    ("symbols", -314),
    ("has-digit", 1379),
    ("has-symbol", 138),
    ("classes", 347),
    ("turns", 652),
    ("rare-pairs", 1860),
    ("distinct", -143),
    ("rows", -395),
    ("separators", -323),
    ("name-like", -1585),
    ("program-words", -872),
    ("chosen-words", -192),
    ("word-then-digits", 185),
    ("named-password", 803),
    ("named-key", -146),
    ("name-length", -118),
    ("name-constant", -255),
    ("name-of-test", 0),
    ("echo", -413),
    ("quoted", 819),
    ("code", -116),
    ("comment", 0),
    ("compared", 0),
    ("lines-of-test", -372),
    ("beside-user", 686),
];
