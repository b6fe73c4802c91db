//! `GET /v1/models`: the models that the caller's next request could reach, in a form that both
//! vendors' clients read.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderValue, Response, header};
use proofroom_classify::{RouteDecision, RouteRequest};
use proofroom_llm::Api;
use serde_json::json;

use crate::{answer::AnswerBody, caller::Caller, gate, gateway::Core};

/// Lists the models that routing would send this session to at its present high-water mark.
pub(crate) fn list(core: &Core, caller: &Caller) -> Response<AnswerBody> {
    let names: BTreeSet<&str> = core
        .upstreams
        .iter()
        .flat_map(crate::config::Upstream::listed_models)
        .filter(|model| reachable(core, caller, model))
        .collect();
    let data: Vec<_> = names
        .iter()
        .map(|name| {
            json!({
                "id": name, "object": "model", "created": 0, "owned_by": "proofroom",
                "type": "model", "display_name": name, "created_at": "1970-01-01T00:00:00Z",
            })
        })
        .collect();
    let body = json!({
        "object": "list", "data": data, "has_more": false,
        "first_id": names.first(), "last_id": names.last(),
    });
    let bytes = body.to_string().into_bytes();
    let mut response = Response::new(AnswerBody::ready(bytes.into(), None));
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    *response.headers_mut() = headers;
    response
}

fn reachable(core: &Core, caller: &Caller, model: &str) -> bool {
    let request = RouteRequest {
        label: caller.high_water(),
        model,
        repository: &caller.identity().repository,
        person: &caller.identity().person,
        purpose: &caller.identity().purpose,
    };
    Api::ALL.into_iter().any(|api| {
        let offers = core.offers.of_model(api, model);
        let (offers, _) = gate::permitted(&*caller.gate, offers, model);
        matches!(
            core.routing.route(&request, &offers),
            RouteDecision::Send { .. }
        )
    })
}
