//! What an upstream says it serves: one question without a prompt, for whoever has to name a model.
//! Routing never goes by it.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Deserialize;

use crate::{
    config::BaseUrl,
    transport::{self, FetchFailure},
};

/// How long the question may take in all.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest list that is read.
const MAX_LIST_BYTES: usize = 1024 * 1024;

/// Why an upstream's models are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServedModelsError {
    /// No connection, or no answer in time.
    #[error("it cannot be reached")]
    Unreachable,
    /// Another status than 200.
    #[error("it answered `GET /v1/models` with status {0}")]
    Status(u16),
    /// The answer is not a list of models.
    #[error("its answer to `GET /v1/models` is not a list of models")]
    NotAList,
}

impl ServedModelsError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable => "upstream-unreachable",
            Self::Status(_) => "upstream-status",
            Self::NotAList => "upstream-not-an-api",
        }
    }
}

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

/// Asks an OpenAI-compatible server, without a key, which models it serves; in its order.
///
/// # Errors
/// See [`ServedModelsError`].
pub async fn served_models(base: &BaseUrl) -> Result<Vec<String>, ServedModelsError> {
    tokio::time::timeout(TIMEOUT, ask(base))
        .await
        .map_err(|_| ServedModelsError::Unreachable)?
}

/// What is at `uri`, at most `max` bytes of it.
pub(crate) async fn get_plain(uri: Uri, max: usize) -> Result<Bytes, FetchFailure> {
    let unreachable = || FetchFailure::Unreachable;
    let request = Request::get(uri)
        .header(header::ACCEPT, "application/json")
        .body(Full::<Bytes>::default())
        .map_err(|_| unreachable())?;
    let client = transport::standard_client(None).map_err(|_| unreachable())?;
    let answer = tokio::time::timeout(TIMEOUT, client.request(request))
        .await
        .map_err(|_| unreachable())?
        .map_err(|_| unreachable())?;
    if answer.status() != StatusCode::OK {
        return Err(FetchFailure::Status(answer.status().as_u16()));
    }
    let body = Limited::new(answer.into_body(), max).collect();
    let body = tokio::time::timeout(TIMEOUT, body)
        .await
        .map_err(|_| unreachable())?;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|_| FetchFailure::Body)
}

async fn ask(base: &BaseUrl) -> Result<Vec<String>, ServedModelsError> {
    let uri = base.join("/v1/models");
    let uri = uri.map_err(|_| ServedModelsError::Unreachable)?;
    let body = get_plain(uri, MAX_LIST_BYTES).await;
    let body = body.map_err(|failure| match failure {
        FetchFailure::Unreachable | FetchFailure::NoKey => ServedModelsError::Unreachable,
        FetchFailure::Status(status) => ServedModelsError::Status(status),
        FetchFailure::Body => ServedModelsError::NotAList,
    })?;
    let list: List = serde_json::from_slice(&body).map_err(|_| ServedModelsError::NotAList)?;
    Ok(list.data.into_iter().map(|model| model.id).collect())
}
