//! Replaces the model's name in a request and nothing else.

use crate::{Api, RequestError, RequestFacts, inspect::read_top};

/// `body` with the model `new_model` in place of the one it names; every other byte as it was.
/// With the facts of this body at hand, [`RequestFacts::with_model`] reads it no second time.
///
/// # Errors
/// As for [`crate::inspect()`], and [`RequestError::Missing`] if there is no model.
pub fn with_model(_api: Api, body: &[u8], new_model: &str) -> Result<Vec<u8>, RequestError> {
    let (_, span) = read_top(body)?
        .model
        .ok_or(RequestError::Missing { name: "model" })?;
    splice(body, span, new_model)
}

impl RequestFacts {
    /// `body`, from which these facts were read, with the model `new_model`; every other byte as it
    /// was.
    ///
    /// # Errors
    /// [`RequestError::WrongType`] if `body` is another body, whose model lies elsewhere.
    pub fn with_model(&self, body: &[u8], new_model: &str) -> Result<Vec<u8>, RequestError> {
        splice(body, self.model_span.clone(), new_model)
    }
}

fn splice(
    body: &[u8],
    span: std::ops::Range<usize>,
    new_model: &str,
) -> Result<Vec<u8>, RequestError> {
    const ELSEWHERE: RequestError = RequestError::WrongType {
        name: "model",
        expected: "where it was found",
    };
    let (Some(before), Some(old), Some(after)) = (
        body.get(..span.start),
        body.get(span.clone()),
        body.get(span.end..),
    ) else {
        return Err(ELSEWHERE);
    };
    if old.len() < 2 || old.first() != Some(&b'"') || old.last() != Some(&b'"') {
        return Err(ELSEWHERE);
    }
    let name = serde_json::Value::from(new_model).to_string();
    let mut spliced = Vec::with_capacity(before.len() + name.len() + after.len());
    spliced.extend_from_slice(before);
    spliced.extend_from_slice(name.as_bytes());
    spliced.extend_from_slice(after);
    Ok(spliced)
}

#[cfg(test)]
mod tests;
