//! What the compiler must refuse: a verified upstream or room made by anybody but the verifier.

#[test]
fn neither_a_verified_upstream_nor_a_verified_room_can_be_forged() {
    trybuild::TestCases::new().compile_fail("tests/fail/*.rs");
}
