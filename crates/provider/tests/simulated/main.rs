//! The production appraisal on a simulated provider: what is accepted, and each defect with the check
//! and the code that refuses it.

#![expect(
    unreachable_pub,
    reason = "a test binary exports nothing, and `pub` reads better than `pub(crate)`"
)]

#[cfg(test)]
mod accepted;
#[cfg(test)]
mod aci;
#[cfg(test)]
mod aci_receipts;
#[cfg(test)]
mod defects;
#[cfg(test)]
mod enclave;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod receipts;
#[cfg(test)]
mod tinfoil;
#[cfg(test)]
mod world;
