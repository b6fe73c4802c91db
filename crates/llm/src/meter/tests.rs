//! Tests of `meter`.
