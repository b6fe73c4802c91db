//! Embeddings and ranks that no model computed: made from the texts' bytes, the same for the same text.

use serde_json::{Value, json};

use super::{MODEL_WORD, player::estimate};

/// Numbers of one vector.
const DIMENSIONS: usize = 8;

/// The answer to `POST /v1/embeddings`.
pub(super) fn embeddings(body: &[u8]) -> Result<Value, &'static str> {
    let (request, model) = read(body)?;
    let inputs = match request.get("input") {
        Some(Value::Array(inputs)) => inputs.clone(),
        Some(one) => vec![one.clone()],
        None => return Err("`input` is missing"),
    };
    let base64 = request.get("encoding_format").and_then(Value::as_str) == Some("base64");
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(&input.to_string());
            let vector = if base64 {
                packed(&vector)
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": vector})
        })
        .collect();
    let tokens = estimate(body.len());
    Ok(json!({"object": "list", "data": data, "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}))
}

/// The answer to `POST /v1/rerank`: documents that share more words with the query come first.
pub(super) fn ranks(body: &[u8]) -> Result<Value, &'static str> {
    let (request, model) = read(body)?;
    let query = request.get("query").map(Value::to_string);
    let query = query.ok_or("`query` is missing")?;
    let documents = request.get("documents").and_then(Value::as_array);
    let documents = documents.ok_or("`documents` is missing")?;
    let mut scored: Vec<(usize, f64)> = documents
        .iter()
        .map(|document| shared(&query, &document.to_string()))
        .enumerate()
        .collect();
    scored.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let results: Vec<Value> = scored
        .iter()
        .map(|(index, score)| json!({"index": index, "relevance_score": score}))
        .collect();
    Ok(
        json!({"id": "rerank-cassette", "model": model, "results": results,
        "usage": {"total_tokens": estimate(body.len())}}),
    )
}

fn read(body: &[u8]) -> Result<(Value, String), &'static str> {
    let request: Value = serde_json::from_slice(body).map_err(|_| "the request is not json")?;
    let model = request.get("model").and_then(Value::as_str);
    let model = model.filter(|model| model.contains(MODEL_WORD));
    let model = model.ok_or("`model` is none of cassette-...")?.to_owned();
    Ok((request, model))
}

fn vector(text: &str) -> Vec<f32> {
    let mut sums = [0_u16; DIMENSIONS];
    for (index, byte) in text.bytes().enumerate() {
        if let Some(sum) = sums.get_mut(index % DIMENSIONS) {
            *sum = sum.wrapping_add(u16::from(byte)) % 256;
        }
    }
    sums.map(|sum| f32::from(sum) / 256.0).to_vec()
}

/// A vector as OpenAI packs it: little-endian 32-bit floats in base64.
fn packed(vector: &[f32]) -> Value {
    use base64::Engine as _;
    let bytes: Vec<u8> = vector.iter().flat_map(|n| n.to_le_bytes()).collect();
    Value::from(base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn shared(query: &str, document: &str) -> f64 {
    let words = |text: &str| -> std::collections::BTreeSet<String> {
        let parts = text.split(|c: char| !c.is_alphanumeric());
        parts
            .map(str::to_lowercase)
            .filter(|w| !w.is_empty())
            .collect()
    };
    let (query, document) = (words(query), words(document));
    let both = u32::try_from(query.intersection(&document).count()).unwrap_or(u32::MAX);
    f64::from(both) / f64::from(u32::try_from(query.len().max(1)).unwrap_or(u32::MAX))
}
