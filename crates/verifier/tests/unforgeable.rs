//! What the compiler must refuse: a proof of an acceptance made, put together or read by anybody but the
//! verifier, and a policy without its pins.

#[test]
fn no_proof_can_be_forged_and_no_policy_unpinned() {
    trybuild::TestCases::new().compile_fail("tests/fail/*.rs");
}
