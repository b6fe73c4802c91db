//! The shim before a model's server of the tests, on a simulated machine: what it proves, what it passes, what it
//! signs, and what it refuses. The program itself is tested in `program`.

#![expect(
    unreachable_pub,
    reason = "a test binary exports nothing, and `pub` reads better than `pub(crate)`"
)]

#[cfg(test)]
mod evidence;
#[cfg(test)]
mod passing;
#[cfg(test)]
mod program;
#[cfg(test)]
mod sealed;
#[cfg(test)]
mod world;
