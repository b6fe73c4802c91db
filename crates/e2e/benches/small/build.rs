//! Makes the table of vowels.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let table = "pub const VOWELS: &[char] = &['a', 'e', 'i', 'o', 'u'];\n";
    fs::write(Path::new(&out).join("vowels.rs"), table)
}
