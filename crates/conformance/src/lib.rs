//! Conformance vectors of the verifier: language-neutral cases in `vectors/`, the request and answer
//! that any implementation exchanges on its standard streams, and what makes the cases. Normative
//! text: `vectors/README.md`.

#![forbid(unsafe_code)]

mod answer;
mod contract;
pub mod make;
pub mod seeds;
mod vector;

pub use answer::answer;
pub use contract::{
    Answer, Bytes, ChipChain, Expectation, GpuRequest, MAX_REQUEST_BYTES, ReportData, Request,
    SnpRequest, Verdict, VtpmRequest,
};
pub use vector::{Kit, Vector, VectorError, load_all};
