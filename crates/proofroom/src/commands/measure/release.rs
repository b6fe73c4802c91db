//! `proofroom measure --sign`: the manifest in a statement of its maker.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use proofroom::files;
use proofroom_clock::wall;
use proofroom_verifier::{ReferenceManifest, ReferenceRelease};

use super::super::{Failure, USAGE, deployment::parse_time, key_file};

#[derive(Args, Debug)]
pub(super) struct ReleaseOptions {
    /// Sign the manifest with this P-256 private key (PEM, PKCS #8), for policies that name its maker.
    #[arg(long, value_name = "KEY", requires_all = ["release_out", "name", "release", "expires"])]
    sign: Option<PathBuf>,
    /// Write the signed release here.
    #[arg(long, value_name = "FILE", requires = "sign")]
    release_out: Option<PathBuf>,
    /// Which line of images the release is of, as policies name it.
    #[arg(long, value_name = "NAME", requires = "sign")]
    name: Option<String>,
    /// The release's version: higher than that of every earlier image of the line.
    #[arg(long, value_name = "N", requires = "sign", value_parser = clap::value_parser!(u32).range(1..))]
    release: Option<u32>,
    /// Until when the release holds (RFC 3339, UTC).
    #[arg(long, value_name = "TIME", requires = "sign")]
    expires: Option<String>,
}

/// Signs and writes the release, where it was asked for.
pub(super) fn write(options: &ReleaseOptions, manifest: &ReferenceManifest) -> Result<(), Failure> {
    let (Some(key), Some(out), Some(name), Some(version), Some(expires)) = (
        &options.sign,
        &options.release_out,
        &options.name,
        options.release,
        &options.expires,
    ) else {
        return Ok(());
    };
    let release = ReferenceRelease {
        name: name.clone(),
        version,
        issued: wall(),
        expires: parse_time(expires)?,
        manifest: String::from_utf8_lossy(manifest.bytes()).into_owned(),
    };
    if release.expires <= release.issued {
        let words = format!("`--expires {expires}` is over already");
        return Err(Failure::new(USAGE, "bad-time", anyhow::Error::msg(words)));
    }
    let signed = release
        .sign(&key_file::private(key, "release-key")?)
        .map_err(|error| Failure::new(USAGE, error.code(), error))?;
    files::replace(&super::absolute(out)?, &signed)
        .with_context(|| format!("cannot write `{}`", out.display()))
        .map_err(|error| Failure::new(USAGE, "output", error))
}
