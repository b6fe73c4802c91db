//! Reads a list of files in JSON and prints the digest of each.

use std::{fs, io::Read as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

#[derive(Deserialize)]
struct Manifest {
    files: Vec<String>,
}

#[derive(Serialize)]
struct Entry {
    file: String,
    sha256: String,
    bytes: usize,
}

fn entry(file: String) -> Result<Entry, std::io::Error> {
    let content = fs::read(&file)?;
    let digest = Sha256::digest(&content);
    let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Entry {
        file,
        sha256,
        bytes: content.len(),
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let manifest: Manifest = serde_json::from_str(&text)?;
    let entries: Vec<Entry> = manifest.files.into_iter().map(entry).collect::<Result<_, _>>()?;
    println!("{}", serde_json::to_string_pretty(&entries)?);
    Ok(())
}
