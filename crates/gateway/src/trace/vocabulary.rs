//! The names that a configuration gives. What is not among them is `other`, whatever it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proofroom_classify::{Levels, RoutingPolicy};

use crate::{
    config::UpstreamsConfig,
    draft::{NOT_ROUTED, UNCLASSIFIED},
};

/// A name that the configuration gives, or the word `other`. Only a [`Vocabulary`] makes one, so that no
/// text of a request or an answer is ever one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named(Option<Arc<str>>);

impl Named {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("other")
    }

    /// Whether the configuration gives it.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.0.is_some()
    }
}

/// An upstream, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedUpstream {
    /// Its name.
    pub name: Named,
    /// Its host.
    pub host: Named,
    /// Its port.
    pub port: u16,
}

/// Every name that a gateway's policies and upstreams give.
#[derive(Debug)]
pub struct Vocabulary {
    labels: BTreeSet<Arc<str>>,
    rules: BTreeSet<Arc<str>>,
    tiers: BTreeSet<Arc<str>>,
    models: BTreeSet<Arc<str>>,
    upstreams: BTreeMap<String, NamedUpstream>,
}

impl Vocabulary {
    /// The names in these files.
    #[must_use]
    pub fn of(levels: &Levels, routing: &RoutingPolicy, upstreams: &UpstreamsConfig) -> Self {
        let labels = levels.names().iter().map(String::as_str);
        let models = upstreams.iter().flat_map(|upstream| {
            let real = upstream.aliases.values().map(String::as_str);
            upstream.listed_models().chain(real)
        });
        let places = upstreams.iter().map(|upstream| {
            let place = NamedUpstream {
                name: Named(Some(upstream.name.as_str().into())),
                host: Named(Some(upstream.base_url.host.as_str().into())),
                port: upstream.base_url.port,
            };
            (upstream.name.clone(), place)
        });
        Self {
            labels: set(labels.chain([UNCLASSIFIED])),
            rules: set(routing.rules().chain([NOT_ROUTED])),
            tiers: set(routing.tiers().map(|(tier, _)| tier)),
            models: set(models),
            upstreams: places.collect(),
        }
    }

    /// A label.
    #[must_use]
    pub fn label(&self, name: &str) -> Named {
        Named(self.labels.get(name).cloned())
    }

    /// A routing rule's id.
    #[must_use]
    pub fn rule(&self, id: &str) -> Named {
        Named(self.rules.get(id).cloned())
    }

    /// A tier.
    #[must_use]
    pub fn tier(&self, name: &str) -> Named {
        Named(self.tiers.get(name).cloned())
    }

    /// A model, under a name that clients or upstreams know it by.
    #[must_use]
    pub fn model(&self, name: &str) -> Named {
        Named(self.models.get(name).cloned())
    }

    /// An upstream.
    #[must_use]
    pub fn upstream(&self, name: &str) -> NamedUpstream {
        let found = self.upstreams.get(name).cloned();
        found.unwrap_or(NamedUpstream {
            name: Named(None),
            host: Named(None),
            port: 0,
        })
    }
}

fn set<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<Arc<str>> {
    names.map(Arc::from).collect()
}
