//! What the gateway promises, shown against upstreams in this process.

#![expect(
    unreachable_pub,
    reason = "a test binary exports nothing, and `pub` reads better than `pub(crate)`"
)]

#[cfg(test)]
mod aci;
#[cfg(test)]
mod apis;
#[cfg(test)]
mod attested;
#[cfg(test)]
mod authorities;
#[cfg(test)]
mod bedrock;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod commitments;
#[cfg(test)]
mod control;
#[cfg(test)]
mod enclave;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod growing;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod lies;
#[cfg(test)]
mod marks;
#[cfg(test)]
mod passing;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod provider;
#[cfg(test)]
mod redaction;
#[cfg(test)]
mod shadow;
#[cfg(test)]
mod tee;
#[cfg(test)]
mod tinfoil;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod translated;
#[cfg(test)]
mod upstream;
#[cfg(test)]
mod vertex;
#[cfg(test)]
mod world;
