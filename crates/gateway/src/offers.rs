//! What the configured upstreams offer to routing, put together once.

use std::{borrow::Cow, sync::Arc};

use proofroom_classify::UpstreamOffer;
use proofroom_llm::Api;
use proofroom_record::statement::RejectedUpstream;

use crate::config::{Upstream, UpstreamsConfig};

/// The offers of each API.
pub(crate) struct Offers([Offered; Api::ALL.len()]);

/// What can be asked for in one API.
struct Offered {
    api: Api,
    upstreams: Vec<Arc<Upstream>>,
    /// Of each of these, under the names that are listed.
    listed: Vec<UpstreamOffer>,
    /// The upstreams that speak only APIs into which this one is not translated.
    silent: Vec<RejectedUpstream>,
}

impl Offers {
    pub(crate) fn of(upstreams: &UpstreamsConfig) -> Self {
        Self(Api::ALL.map(|api| Offered::of(upstreams, api)))
    }

    /// The upstreams that can be asked in `api` or by a translation of it, as routing sees them: those that speak it
    /// before the others. A glob becomes an offer of `model`, the name asked for, when it matches.
    pub(crate) fn of_model(&self, api: Api, model: &str) -> Cow<'_, [UpstreamOffer]> {
        let Some(offered) = self.offered(api) else {
            return Cow::default();
        };
        let mut offers = Cow::Borrowed(offered.listed.as_slice());
        let bare = model.split_once('/').map(|(_, rest)| rest);
        for name in [Some(model), bare].into_iter().flatten() {
            for (place, upstream) in offered.upstreams.iter().enumerate() {
                let unlisted = (offers.get(place)).is_some_and(|offer| !lists(offer, name));
                if unlisted
                    && upstream.served(name).is_some()
                    && let Some(offer) = offers.to_mut().get_mut(place)
                {
                    offer.models.push(name.to_owned());
                }
            }
        }
        offers
    }

    /// The upstreams that speak only APIs into which `api` is not translated; routing does not see them.
    pub(crate) fn silent(&self, api: Api) -> &[RejectedUpstream] {
        self.offered(api).map_or(&[], |offered| &offered.silent)
    }

    fn offered(&self, api: Api) -> Option<&Offered> {
        self.0.iter().find(|offered| offered.api == api)
    }
}

impl Offered {
    fn of(upstreams: &UpstreamsConfig, api: Api) -> Self {
        let (able, silent): (Vec<_>, Vec<_>) = (upstreams.upstreams.iter().cloned())
            .partition(|upstream| upstream.spoken(api).is_some());
        let (mut able, translated): (Vec<_>, Vec<_>) =
            able.into_iter().partition(|upstream| upstream.speaks(api));
        able.extend(translated);
        Self {
            api,
            listed: able.iter().map(|upstream| offer(upstream)).collect(),
            upstreams: able,
            silent: (silent.iter())
                .map(|upstream| RejectedUpstream {
                    upstream: upstream.name.clone(),
                    code: "api-not-spoken".to_owned(),
                })
                .collect(),
        }
    }
}

fn offer(upstream: &Upstream) -> UpstreamOffer {
    UpstreamOffer {
        name: upstream.name.clone(),
        tier: upstream.tier.clone(),
        models: upstream.listed_models().map(str::to_owned).collect(),
        region: upstream.region.clone(),
    }
}

fn lists(offer: &UpstreamOffer, name: &str) -> bool {
    offer.models.iter().any(|listed| listed == name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proofroom_llm::Api;

    use super::Offers;
    use crate::config::{SystemSecrets, UpstreamsConfig};

    fn upstream(name: &str, apis: &str, models: &str) -> String {
        format!(
            r#"
[[upstream]]
name = "{name}"
tier = "standard"
base_url = "https://api.example.com"
apis = [{apis}]
models = [{models}]
region = "eu"
source = "live"
key = {{ from = "none" }}
retention = {{ mode = "in-memory", contract = "c-1" }}
attestation = {{ kind = "none" }}
"#
        )
    }

    fn offered(offers: &Offers, api: Api, model: &str) -> Vec<String> {
        let offers = offers.of_model(api, model);
        let said =
            |offer: &super::UpstreamOffer| format!("{}: {}", offer.name, offer.models.join(" "));
        offers.iter().map(said).collect()
    }

    #[test]
    fn who_speaks_an_api_comes_first_and_a_glob_offers_what_is_asked_for() {
        let file = [
            upstream("other", r#""messages""#, r#""m""#),
            upstream("vectors", r#""embeddings""#, r#""v""#),
            upstream("same", r#""chat""#, r#""m", "claude-*""#),
        ];
        let config = UpstreamsConfig::parse(&file.concat(), Arc::new(SystemSecrets)).unwrap();
        let offers = Offers::of(&config);
        let chat = |model: &str| offered(&offers, Api::ChatCompletions, model);
        assert_eq!(chat("m"), ["same: m", "other: m"]);
        assert_eq!(chat("none"), ["same: m", "other: m"]);
        assert_eq!(chat("claude-1"), ["same: m claude-1", "other: m"]);
        assert_eq!(chat("same/claude-1"), ["same: m claude-1", "other: m"]);
        let silent = offers.silent(Api::ChatCompletions);
        assert!(matches!(silent, [only] if only.upstream == "vectors"));
        assert_eq!(offered(&offers, Api::Embeddings, "v"), ["vectors: v"]);
    }
}
