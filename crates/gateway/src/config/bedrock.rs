//! Upstreams at Amazon Bedrock: the region that an upstream is said to be in, the one in its host's name, the one that is signed
//! for and those in which its models run must not contradict each other.

use super::{
    BaseUrl, Paths,
    check::{Problems, RawKey, RawUpstream},
};

/// Below these domains hosts of AWS are.
const DOMAINS: [&str; 4] = [
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazonaws.eu",
    ".api.aws",
];

/// What models' ids begin with that AWS serves from several regions (inference profiles).
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html>
const GEOGRAPHIES: [&str; 9] = [
    "apac", "au", "ca", "eu", "global", "jp", "sa", "us", "us-gov",
];

/// Adds what contradicts itself in an upstream at Bedrock.
pub(super) fn check(raw: &RawUpstream, base_url: &BaseUrl, problems: &mut Problems) {
    let signed_for = match &raw.key {
        RawKey::Aws { region, .. } => Some(region.as_str()),
        RawKey::None | RawKey::File { .. } | RawKey::Env { .. } | RawKey::ServiceAccount { .. } => {
            None
        }
    };
    let of_host = region_of(&base_url.host);
    if signed_for.is_none() && of_host.is_none() && raw.paths != Paths::Bedrock {
        return;
    }
    if signed_for.is_some() && !raw.is_unattested() {
        problems.add(
            "key-attested",
            "requests to an upstream with `attestation` are not signed with credentials of AWS; use another `key`",
        );
    }
    if signed_for.is_some_and(|region| !is_region(region)) {
        problems.add(
            "key-region",
            "`key.region` must be a region of AWS such as `eu-central-1`",
        );
        return;
    }
    if signed_for
        .zip(of_host)
        .is_some_and(|(signed, of_host)| signed != of_host)
    {
        problems.add(
            "key-region",
            "`key.region` is another region than the one in the host's name",
        );
    }
    if let Some(region) = of_host.or(signed_for) {
        check_region(raw, region, problems);
    }
}

fn check_region(raw: &RawUpstream, region: &str, problems: &mut Problems) {
    for model in raw.models.iter().chain(raw.aliases.values()) {
        let Some(place) = place_of(model, region) else {
            problems.add(
                "bedrock-model-open",
                format!("`{model}` leaves open where it runs: name what stands before its first `.`, and no glob in an ARN"),
            );
            continue;
        };
        if !agrees(&raw.region, place) {
            problems.add(
                "upstream-region-other",
                format!("`{model}` runs in `{place}`, and `region` says otherwise; write `region = \"{place}\"`, with an upstream of its own for models of another region"),
            );
        }
    }
}

/// Whether an upstream that is said to be in `said` may run in `place`: that, or what it is a part of.
fn agrees(said: &str, place: &str) -> bool {
    said == place
        || place
            .strip_prefix(said)
            .is_some_and(|rest| rest.starts_with('-'))
}

/// Where `model` runs that is asked for in `region`: there, or in the geography of an inference profile. `None` where a glob
/// leaves that open.
fn place_of<'a>(model: &'a str, region: &'a str) -> Option<&'a str> {
    let is_open = |text: &str| text.contains(['*', '?', '[', '{', '\\']);
    if let Some(arn) = model.strip_prefix("arn:") {
        // partition, service, region, account, resource
        let mut parts = arn.splitn(5, ':').skip(2);
        let (of_arn, resource) = (parts.next()?, parts.nth(1)?);
        let id = resource.rsplit_once('/').map_or(resource, |(_, id)| id);
        if is_open(model) {
            return None;
        }
        return Some(geography(id).unwrap_or(if of_arn.is_empty() { region } else { of_arn }));
    }
    let (first, _) = model.split_once('.')?;
    if is_open(first) {
        return None;
    }
    Some(geography(model).unwrap_or(region))
}

/// The geography of an inference profile: what stands before the maker in a model's id.
fn geography(id: &str) -> Option<&str> {
    let (first, rest) = id.split_once('.')?;
    (GEOGRAPHIES.contains(&first) || rest.starts_with("anthropic.")).then_some(first)
}

/// The region in the name of a host of Bedrock.
fn region_of(host: &str) -> Option<&str> {
    let domain = DOMAINS.into_iter().find(|domain| host.ends_with(domain))?;
    let mut labels = host.strip_suffix(domain)?.split('.');
    labels.find(|label| label.starts_with("bedrock-"))?;
    labels.next().filter(|label| is_region(label))
}

/// `eu-central-1`, `us-gov-west-1`: words of letters, and a number.
fn is_region(text: &str) -> bool {
    let mut parts = text.split('-').rev();
    let number = parts.next().unwrap_or_default();
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let words: Vec<&str> = parts.collect();
    let letters =
        |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    digits && words.len() >= 2 && words.iter().all(letters)
}

#[cfg(test)]
mod tests;
