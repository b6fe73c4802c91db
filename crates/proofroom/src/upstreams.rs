//! Upstreams from options and the environment, for those who have no `upstreams.toml` yet. What
//! they are made of is an ordinary upstreams file, so that nothing here is a second way to configure.

use std::{env, path::Path};

use proofroom_gateway::{ServedModelsError, UpstreamsConfig, served_models};

use crate::policies::UpstreamSource;

/// Environment variables that carry a provider's key, in the order in which they are looked for.
const OPENAI_KEY: &str = "OPENAI_API_KEY";
const ANTHROPIC_KEY: &str = "ANTHROPIC_API_KEY";
/// What a provider's models are asked for when nothing else is said.
const OPENAI_MODEL: &str = "gpt-5.1";
const ANTHROPIC_MODEL: &str = "claude-sonnet-4-5";
/// What an upstream is made from that was named on the command line.
const COMMAND_LINE: &str = "--upstream";
/// The alias that every upstream understands.
const DEFAULT_MODEL: &str = "default";

/// Why there is no upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamChoiceError {
    /// Nothing names one.
    #[error(
        "there is no model to ask: give `--upstream URL`, `--upstreams FILE` or `--policy DIR`, or \
         set OPENAI_API_KEY or ANTHROPIC_API_KEY"
    )]
    None,
    /// The URL cannot be written into a file.
    #[error(
        "`{0}` is not the address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1"
    )]
    Address(String),
    /// The server serves several models, and none was chosen.
    #[error("the upstream serves several models; name one with `--model`: {}", .0.join(", "))]
    SeveralModels(Vec<String>),
    /// The server serves no model.
    #[error("the upstream serves no model; load one, or name one with `--model`")]
    NoModels,
    /// The server does not say which models it serves.
    #[error("the upstream did not say which models it serves; name one with `--model`")]
    Unanswered(#[source] ServedModelsError),
}

/// Chooses where the upstreams come from.
///
/// # Errors
/// [`UpstreamChoiceError`].
pub fn choose(
    url: Option<&str>,
    file: Option<&Path>,
    policy: Option<&Path>,
) -> Result<UpstreamSource, UpstreamChoiceError> {
    if let Some(file) = file {
        return Ok(UpstreamSource::File(file.to_owned()));
    }
    if let Some(url) = url {
        return made(COMMAND_LINE, &local(url)?);
    }
    if policy.is_some() {
        return Ok(UpstreamSource::PolicyDirectory);
    }
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let providers = [
        (
            OPENAI_KEY,
            provider(
                "openai",
                "https://api.openai.com",
                OPENAI_KEY,
                "bearer",
                OPENAI_MODEL,
                "\"chat\", \"responses\", \"embeddings\"",
            ),
        ),
        (
            ANTHROPIC_KEY,
            provider(
                "anthropic",
                "https://api.anthropic.com",
                ANTHROPIC_KEY,
                "x-api-key",
                ANTHROPIC_MODEL,
                "\"chat\", \"messages\"",
            ),
        ),
    ];
    for (name, text) in providers {
        if set(name) {
            return made(name, &text);
        }
    }
    Err(UpstreamChoiceError::None)
}

/// The model to ask for when none is named: the default alias, or, where a server was named on the
/// command line, the only model that it serves.
///
/// # Errors
/// [`UpstreamChoiceError`] for a server that does not serve exactly one model.
pub async fn default_model(
    source: &UpstreamSource,
    upstreams: &UpstreamsConfig,
) -> Result<String, UpstreamChoiceError> {
    let server = match source {
        UpstreamSource::Made { from, .. } if from == COMMAND_LINE => upstreams.upstreams().next(),
        _ => None,
    };
    let Some(server) = server else {
        return Ok(DEFAULT_MODEL.to_owned());
    };
    let mut served = served_models(&server.base_url)
        .await
        .map_err(UpstreamChoiceError::Unanswered)?;
    match (served.pop(), served.is_empty()) {
        (None, _) => Err(UpstreamChoiceError::NoModels),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            served.push(last);
            Err(UpstreamChoiceError::SeveralModels(served))
        }
    }
}

fn made(from: &str, text: &str) -> Result<UpstreamSource, UpstreamChoiceError> {
    Ok(UpstreamSource::Made {
        from: from.to_owned(),
        text: text.to_owned(),
    })
}

fn local(url: &str) -> Result<String, UpstreamChoiceError> {
    let refuse = || UpstreamChoiceError::Address(url.to_owned());
    let plain = url
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    let web = url.starts_with("http://") || url.starts_with("https://");
    if !plain || !web {
        return Err(refuse());
    }
    let base = url.trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base);
    Ok(format!(
        "[[upstream]]\nname = \"upstream\"\ntier = \"standard\"\nbase_url = \"{base}\"\n\
         apis = [\"chat\", \"messages\", \"embeddings\", \"rerank\"]\nmodels = [\"*\"]\nregion = \"unknown\"\nsource = \"live\"\n\
         key = {{ from = \"none\" }}\nretention = {{ mode = \"unknown\", contract = \"none: named on the command line\" }}\n\
         attestation = {{ kind = \"none\" }}\n"
    ))
}

fn provider(name: &str, base: &str, key: &str, header: &str, model: &str, apis: &str) -> String {
    format!(
        "[[upstream]]\nname = \"{name}\"\ntier = \"standard\"\nbase_url = \"{base}\"\n\
         apis = [{apis}]\nmodels = [\"*\"]\nregion = \"unknown\"\nsource = \"live\"\n\
         key = {{ from = \"env\", name = \"{key}\", header = \"{header}\" }}\n\
         retention = {{ mode = \"unknown\", contract = \"none configured: see upstreams.toml\" }}\n\
         attestation = {{ kind = \"none\" }}\n\n[upstream.aliases]\n\"{DEFAULT_MODEL}\" = \"{model}\"\n"
    )
}
