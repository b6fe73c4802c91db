//! Documents built by hand.
