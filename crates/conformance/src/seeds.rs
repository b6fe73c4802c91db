//! Seeds for the fuzz targets: small inputs that a target's parser accepts, made by the simulated platforms
//! or written down here. The same bytes each time.

mod authn;
mod evidence;
mod images;
mod models;
mod policies;
mod records;

use std::{fs, io, path::Path};

use proofroom_canonical::{Digest, Timestamp};

const NOW: Timestamp = Timestamp::from_unix_millis(1_795_000_000_000);
const SEED: [u8; 32] = [7; 32];

/// A target's name, and its seeds.
pub type Seeds = (&'static str, Vec<Vec<u8>>);

/// The seeds of every target, sorted by the targets' names.
#[must_use]
pub fn all() -> Vec<Seeds> {
    let mut all = [
        authn::seeds(),
        evidence::seeds(),
        images::seeds(),
        models::seeds(),
        policies::seeds(),
        records::seeds(),
    ]
    .concat();
    all.sort_by_key(|(target, _)| *target);
    all
}

/// Writes every seed to `corpus` as libFuzzer expects them: a folder for each target, a file for each seed.
///
/// # Errors
/// The file system's.
pub fn write(corpus: &Path) -> io::Result<usize> {
    let mut count = 0;
    for (target, seeds) in all() {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        for seed in seeds {
            fs::write(folder.join(Digest::of(&seed).to_hex()), seed)?;
            count += 1;
        }
    }
    Ok(count)
}
