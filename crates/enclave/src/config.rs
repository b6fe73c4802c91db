//! `enclave.toml`: what is served, and what is said about it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use proofroom_canonical::Digest;
use proofroom_evidence::MAX_MODEL_BYTES;
use serde::Deserialize;

/// The commented file that a new deployment starts from. It is refused until its image is replaced.
pub const DEFAULT_CONFIG: &str = include_str!("../enclave.default.toml");

/// The most bytes of the file.
pub const MAX_CONFIG_BYTES: usize = 64 * 1024;
/// The longest that a statement may hold: thirty days.
const MAX_STATEMENT_SECONDS: u32 = 30 * 24 * 3600;
/// The longest that the program for GPUs may take: longer waits no gateway.
const MAX_GPU_SECONDS: u32 = 50;

/// What the shim is told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens, with TLS.
    pub listen: SocketAddr,
    /// The model's server, on this machine's loopback, without TLS.
    pub server: SocketAddr,
    /// The model's name, as clients ask for it.
    pub model: String,
    /// SHA-256 of the image that the model's server runs from, as the operator's build knows it. The machine's
    /// measurements must cover this file; nothing here does.
    pub image: Digest,
    /// How long a statement holds, in seconds.
    pub statement_seconds: u32,
    /// Whether requests must be sealed.
    #[serde(default)]
    pub encryption: Encryption,
    /// What is done where memory cannot be locked and the machine has swap.
    #[serde(default)]
    pub swap: Swap,
    /// Where the kernel makes reports, instead of configfs-tsm's own place.
    pub reports: Option<PathBuf>,
    /// Where the model's weights are.
    pub weights: Weights,
    /// Who shows the machine's GPUs.
    pub gpu: Option<GpuHelper>,
}

/// Whether requests are served that TLS alone protects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// Both are served: sealed requests, and others.
    #[default]
    Offered,
    /// Sealed requests alone, and nobody asks for a receipt in the clear.
    Required,
}

/// What is done where prompts could be written to swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Swap {
    /// Nothing is served.
    #[default]
    Refused,
    /// It is borne with: for tests.
    Tolerated,
}

/// Which files are the model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// The directory of the files.
    pub directory: PathBuf,
    /// A manifest that they must be as, line for line; without one the manifest is what they are.
    pub manifest: Option<PathBuf>,
}

/// A program that shows the machine's GPUs for a nonce.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuHelper {
    /// Its path, absolute, and its first arguments. The nonce is the last.
    pub command: Vec<String>,
    /// How long it may take, in seconds.
    pub seconds: u32,
}

/// What is wrong with the file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// Too long, no TOML, or not these keys.
    #[error("the configuration cannot be used: {0}")]
    Syntax(String),
    /// A value that cannot be.
    #[error("`{key}` {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl ConfigProblem {
    /// The stable code of this problem.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "enclave-config-syntax",
            Self::Value { .. } => "enclave-config-value",
        }
    }
}

impl Config {
    /// Reads the file's text. Relative paths are below `base`.
    ///
    /// # Errors
    /// [`ConfigProblem`].
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigProblem> {
        if text.len() > MAX_CONFIG_BYTES {
            return Err(ConfigProblem::Syntax("it is too long".to_owned()));
        }
        let mut config: Self = toml::from_str(text)
            .map_err(|error| ConfigProblem::Syntax(error.to_string().trim_end().to_owned()))?;
        config.check()?;
        let directory = base.join(&config.weights.directory);
        config.weights.directory = directory;
        for path in [&mut config.weights.manifest, &mut config.reports] {
            *path = path.take().map(|path| base.join(path));
        }
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigProblem> {
        let model = &self.model;
        let name =
            (1..=MAX_MODEL_BYTES).contains(&model.len()) && !model.contains(char::is_control);
        let gpu = self.gpu.as_ref().is_none_or(GpuHelper::is_usable);
        let seconds = (1..=MAX_STATEMENT_SECONDS).contains(&self.statement_seconds);
        let image = self.image.as_bytes() != &[0; 32];
        let rules = [
            // prompts must not leave the machine in the clear
            (
                "server",
                self.server.ip().is_loopback(),
                "must be on the machine's own loopback",
            ),
            (
                "model",
                name,
                "must have 1 to 256 bytes and no control characters",
            ),
            ("image", image, "must be the digest of an image"),
            ("statement_seconds", seconds, "must be 1 to 2592000"),
            (
                "gpu",
                gpu,
                "must be an absolute path with arguments, and 1 to 50 seconds",
            ),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((key, _, problem)) => Err(ConfigProblem::Value { key, problem }),
            None => Ok(()),
        }
    }
}

impl GpuHelper {
    fn is_usable(&self) -> bool {
        let program = self.command.first();
        program.is_some_and(|path| Path::new(path).is_absolute())
            && (1..=MAX_GPU_SECONDS).contains(&self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proofroom_canonical::Digest;

    use super::{Config, ConfigProblem, DEFAULT_CONFIG, Encryption, Swap};

    fn usable() -> String {
        let zero = Digest::from_bytes([0; 32]).to_string();
        DEFAULT_CONFIG.replace(&zero, &Digest::of("image").to_string())
    }

    fn parse(text: &str) -> Result<Config, ConfigProblem> {
        Config::parse(text, Path::new("/etc/proofroom"))
    }

    #[test]
    fn the_default_serves_nobody_until_its_image_is_replaced_and_its_paths_are_beside_it() {
        let refused = parse(DEFAULT_CONFIG).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`image` must be the digest of an image"
        );
        let config = parse(&usable()).unwrap();
        assert_eq!(
            config.weights.directory,
            Path::new("/etc/proofroom/weights")
        );
        assert_eq!((config.gpu, config.reports), (None, None));
        assert_eq!(config.swap, Swap::Refused);
        assert_eq!(config.encryption, Encryption::Offered);
        let commented = usable()
            .replace("# [gpu]", "[gpu]")
            .replace("# command", "command")
            .replace("# seconds", "seconds");
        assert_eq!(parse(&commented).unwrap().gpu.unwrap().seconds, 30);
    }

    #[test]
    fn what_would_let_prompts_out_or_promise_too_much_is_refused() {
        let usable = usable();
        let gpu = "\n[gpu]\ncommand = [\"gpu-evidence\"]\nseconds = 30\n";
        for (from, to, key) in [
            ("127.0.0.1:8000", "10.0.0.1:8000", "server"),
            ("127.0.0.1:8000", "0.0.0.0:8000", "server"),
            ("seconds = 3600", "seconds = 0", "statement_seconds"),
            ("seconds = 3600", "seconds = 9999999", "statement_seconds"),
            ("\"example/model\"", "\"\"", "model"),
            ("\"example/model\"", "\"a\\nb\"", "model"),
            ("\n# [gpu]", gpu, "gpu"),
        ] {
            assert!(usable.contains(from), "{from}");
            let refused = parse(&usable.replace(from, to)).unwrap_err();
            assert!(matches!(refused, ConfigProblem::Value { key: found, .. } if found == key));
        }
        for text in [
            format!("surprise = 1\n{usable}"),
            usable.replace("127.0.0.1:8000", "localhost:8000"),
            usable.replace("model = ", "# model = "),
            usable.replace("# swap = \"refused\"", "swap = \"maybe\""),
            usable.replace("# encryption = \"offered\"", "encryption = \"maybe\""),
            format!("{usable}#{}", "x".repeat(70_000)),
        ] {
            assert_eq!(parse(&text).unwrap_err().code(), "enclave-config-syntax");
        }
    }
}
