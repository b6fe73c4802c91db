//! Quotes built by hand.
