//! Tests of `splice`.
