//! Throughput of the classifier on clean requests. Not a correctness test.
fn main() {}
