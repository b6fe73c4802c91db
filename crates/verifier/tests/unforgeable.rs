//! What the compiler must refuse: a verified upstream made by anybody but the verifier.

#[test]
fn a_verified_upstream_cannot_be_forged() {
    trybuild::TestCases::new().compile_fail("tests/fail/*.rs");
}
