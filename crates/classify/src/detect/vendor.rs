//! Tokens with a vendor's fixed prefix. The prefix is the proof; the check drops placeholders.

use std::ops::Range;

use super::{
    Broken, Detector, Severity, Window, at,
    secrets::{secret, varied},
};

const fn token(
    id: &'static str,
    reason: &'static str,
    literals: &'static [&'static str],
    pattern: &'static str,
) -> Detector {
    Detector {
        window: at(512),
        ..secret(id, reason, literals, pattern, varied)
    }
}

const fn test_token(
    id: &'static str,
    reason: &'static str,
    literals: &'static [&'static str],
    pattern: &'static str,
) -> Detector {
    Detector {
        severity: Severity::SecondHighest,
        ..token(id, reason, literals, pattern)
    }
}

/// A token whose literal stands inside it, up to `before` bytes from its start.
const fn inner(
    before: usize,
    id: &'static str,
    reason: &'static str,
    literals: &'static [&'static str],
    pattern: &'static str,
) -> Detector {
    Detector {
        window: Window::Around { before, reach: 512 },
        broken: Broken::Leave,
        ..token(id, reason, literals, pattern)
    }
}

/// Whether so many bytes stand right before `at` that are all what a token has there.
fn preceded(
    text: &[u8],
    window: Range<usize>,
    at: usize,
    count: usize,
    of_token: impl Fn(&u8) -> bool,
) -> bool {
    let before = text.get(window.start..at).unwrap_or_default();
    let near = before.iter().rev().take(count);
    near.filter(|b| of_token(b)).count() == count
}

pub(super) const DETECTORS: &[Detector] = &[
    token(
        "github-fine-grained-token",
        "a GitHub fine-grained token",
        &["github_pat_"],
        r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b",
    ),
    token(
        "gitlab-token",
        "a GitLab token",
        &[
            "glpat-", "gldt-", "glrt-", "glrtr-", "glptt-", "glcbt-", "glimt-", "glagent-",
            "glsoat-", "glft-", "gloas-", "glffct-",
        ],
        r"\bgl(?:pat|dt|rt|rtr|ptt|cbt|imt|agent|soat|ft|oas|ffct)-[A-Za-z0-9_-]{20,300}(?:\.[a-z0-9]{2}\.[a-z0-9]{9}|\.[a-z0-9]{9})?",
    ),
    token(
        "slack-token",
        "a Slack token",
        &[
            "xoxa-", "xoxb-", "xoxc-", "xoxd-", "xoxe-", "xoxe.", "xoxo-", "xoxp-", "xoxr-",
            "xoxs-", "xapp-",
        ],
        r"\b(?:xoxe\.)?(?:xox[abcdeoprs]-[A-Za-z0-9%/+.-]{10,300}|xapp-\d-[A-Za-z0-9]{6,20}-\d{6,20}-[A-Za-z0-9]{10,100})",
    ),
    inner(
        8,
        "slack-webhook",
        "a Slack webhook address",
        &["hooks.slack.com/"],
        r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{30,90}",
    ),
    token(
        "stripe-live-key",
        "a Stripe live key",
        &["sk_live_", "rk_live_", "sk_prod_", "rk_prod_", "whsec_"],
        r"\b(?:[sr]k_(?:live|prod)_[A-Za-z0-9]{10,247}|whsec_[A-Za-z0-9+/]{32,64})\b",
    ),
    test_token(
        "stripe-test-key",
        "a Stripe test key",
        &["sk_test_", "rk_test_"],
        r"\b[sr]k_test_[A-Za-z0-9]{10,247}\b",
    ),
    token(
        "openai-key",
        "an OpenAI key",
        &["sk-proj-", "sk-svcacct-", "sk-admin-"],
        r"\bsk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,250}",
    ),
    inner(
        30,
        "openai-legacy-key",
        "an OpenAI key",
        &["t3blbkfj"],
        r"\bsk-[A-Za-z0-9_-]{20,80}T3BlbkFJ[A-Za-z0-9_-]{20,80}",
    ),
    token(
        "anthropic-key",
        "an Anthropic key",
        &["sk-ant-"],
        r"\bsk-ant-(?:api|admin|oat|ort|sid)\d{2}-[A-Za-z0-9_-]{60,120}",
    ),
    token(
        "google-api-key",
        "a Google API key",
        &["aiza"],
        r"\bAIza[A-Za-z0-9_-]{35}(?:[^A-Za-z0-9_-]|$)",
    ),
    token(
        "google-oauth-secret",
        "a Google OAuth secret or access token",
        &["gocspx-", "ya29."],
        r"\b(?:GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{30,300})",
    ),
    inner(
        4,
        "azure-client-secret",
        "a Microsoft Entra client secret",
        &["7q~", "8q~", "9q~"],
        r"(?:^|[^A-Za-z0-9_~.-])([A-Za-z0-9_~.]{3}[789]Q~[A-Za-z0-9_~.-]{31,34})(?:[^A-Za-z0-9_~.-]|$)",
    ),
    token(
        "vault-token",
        "a HashiCorp Vault token",
        &["hvs.", "hvb.", "hvr."],
        r"\bhv[sbr]\.[A-Za-z0-9_-]{24,300}",
    ),
    inner(
        14,
        "terraform-cloud-token",
        "a Terraform Cloud token",
        &[".atlasv1."],
        r"\b[A-Za-z0-9]{14}\.(?i:atlasv1)\.[A-Za-z0-9_=-]{60,80}",
    ),
    token(
        "databricks-token",
        "a Databricks token",
        &["dapi"],
        r"\bdapi[a-f0-9]{32}(?:-\d)?\b",
    ),
    token(
        "digitalocean-token",
        "a DigitalOcean token",
        &["dop_v1_", "doo_v1_", "dor_v1_"],
        r"\bdo[opr]_v1_[a-f0-9]{64}\b",
    ),
    token(
        "sendgrid-key",
        "a SendGrid key",
        &["sg."],
        r"\bSG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{39,50}",
    ),
    inner(
        2,
        "twilio-key",
        "a Twilio key",
        &["twilio"],
        r"(?i:twilio)[^\r\n]{0,60}?\b((?:SK|AC)[0-9a-f]{32})\b",
    ),
    token(
        "twilio-api-key",
        "a Twilio API key",
        &[
            "sk0", "sk1", "sk2", "sk3", "sk4", "sk5", "sk6", "sk7", "sk8", "sk9", "ska", "skb",
            "skc", "skd", "ske", "skf",
        ],
        r"\bSK[0-9a-f]{32}\b",
    ),
    token(
        "mailgun-key",
        "a Mailgun key",
        &["key-", "pubkey-"],
        r"\b(?:pub)?key-[0-9a-f]{32}\b",
    ),
    Detector {
        needs: |text, window, at| {
            let before = text.get(window.start..at).unwrap_or_default();
            let region = text.get(at + "-us".len());
            before.last().is_some_and(u8::is_ascii_hexdigit)
                && region.is_some_and(u8::is_ascii_digit)
        },
        ..inner(
            33,
            "mailchimp-key",
            "a Mailchimp key",
            &["-us"],
            r"\b[0-9a-f]{32}-us\d{1,2}\b",
        )
    },
    token(
        "pypi-token",
        "a PyPI token",
        &["pypi-ageichlwas5vcmc"],
        r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,300}",
    ),
    token(
        "rubygems-key",
        "a RubyGems key",
        &["rubygems_"],
        r"\brubygems_[a-f0-9]{48}\b",
    ),
    token(
        "docker-token",
        "a Docker Hub token",
        &["dckr_pat_", "dckr_oat_"],
        r"\bdckr_[po]at_[A-Za-z0-9_-]{27,36}",
    ),
    token("nuget-key", "a NuGet key", &["oy2"], r"\boy2[a-z0-9]{43}\b"),
    token(
        "shopify-token",
        "a Shopify token",
        &["shpat_", "shpca_", "shppa_", "shpss_"],
        r"\bshp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}\b",
    ),
    token(
        "square-token",
        "a Square token",
        &["sq0atp-", "sq0csp-", "eaaa"],
        r"\b(?:sq0atp-[A-Za-z0-9_-]{22}|sq0csp-[A-Za-z0-9_-]{43}|EAAA[A-Za-z0-9_-]{60})(?:[^A-Za-z0-9_-]|$)",
    ),
    token(
        "grafana-token",
        "a Grafana token",
        &["glsa_", "glc_"],
        r"\b(?:glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|glc_[A-Za-z0-9+/]{32,400}={0,2})",
    ),
    token(
        "new-relic-key",
        "a New Relic key",
        &["nrak-", "nrjs-", "nrii-", "nraa-"],
        r"\bNR(?:AK|JS|II|AA)-[A-Za-z0-9_-]{19,42}",
    ),
    token(
        "linear-key",
        "a Linear key",
        &["lin_api_", "lin_oauth_"],
        r"\blin_(?:api|oauth)_[A-Za-z0-9]{40,64}\b",
    ),
    token(
        "notion-token",
        "a Notion token",
        &["ntn_"],
        r"\bntn_[0-9]{11}[A-Za-z0-9]{35}\b",
    ),
    token(
        "postman-key",
        "a Postman key",
        &["pmak-"],
        r"\bPMAK-[A-Fa-f0-9]{24}-[A-Fa-f0-9]{34}\b",
    ),
    token(
        "hugging-face-token",
        "a Hugging Face token",
        &["hf_", "api_org_"],
        r"\b(?:hf_|api_org_)[A-Za-z]{34}\b",
    ),
    token(
        "replicate-token",
        "a Replicate token",
        &["r8_"],
        r"\br8_[A-Za-z0-9_-]{37}",
    ),
    token(
        "groq-key",
        "a Groq key",
        &["gsk_"],
        r"\bgsk_[A-Za-z0-9]{52}\b",
    ),
    token(
        "xai-key",
        "an xAI key",
        &["xai-"],
        r"\bxai-[A-Za-z0-9_]{70,85}\b",
    ),
    token(
        "perplexity-key",
        "a Perplexity key",
        &["pplx-"],
        r"\bpplx-[A-Za-z0-9]{48}\b",
    ),
    Detector {
        needs: |text, window, at| preceded(text, window, at, 8, u8::is_ascii_digit),
        ..inner(
            11,
            "telegram-token",
            "a Telegram bot token",
            &[":aa"],
            r"\b\d{8,10}:AA[A-Za-z0-9_-]{32,33}(?:[^A-Za-z0-9_-]|$)",
        )
    },
    inner(
        4,
        "discord-webhook",
        "a Discord webhook address",
        &["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"],
        r"discord(?:app)?\.com/api/webhooks/\d{15,20}/[A-Za-z0-9_-]{50,80}",
    ),
    inner(
        4,
        "teams-webhook",
        "a Microsoft Teams webhook address",
        &["webhook.office.com/webhookb2/"],
        r"webhook\.office\.com/webhookb2/[a-z0-9@-]{36,80}/IncomingWebhook/[a-z0-9]{32}",
    ),
    token(
        "heroku-key",
        "a Heroku key",
        &["hrku-aa"],
        r"\bHRKU-AA[A-Za-z0-9_-]{58}",
    ),
    token(
        "doppler-token",
        "a Doppler token",
        &[
            "dp.pt.",
            "dp.st.",
            "dp.ct.",
            "dp.sa.",
            "dp.scim.",
            "dp.audit.",
        ],
        r"\bdp\.(?:pt|ct|sa|scim|audit|st(?:\.[a-z0-9_-]{2,35})?)\.[A-Za-z0-9]{40,44}\b",
    ),
    token(
        "planetscale-token",
        "a PlanetScale token",
        &["pscale_"],
        r"\bpscale_(?:tkn|pw|oauth)_[A-Za-z0-9_=.-]{32,64}",
    ),
    token(
        "pulumi-token",
        "a Pulumi token",
        &["pul-"],
        r"\bpul-[a-f0-9]{40}\b",
    ),
    token(
        "easypost-key",
        "an EasyPost key",
        &["ezak", "eztk"],
        r"\bEZ[AT]K[A-Za-z0-9]{54}\b",
    ),
    token(
        "fly-token",
        "a Fly.io token",
        &["fo1_", "fm1a_", "fm1r_", "fm2_"],
        r"\b(?:fo1_[A-Za-z0-9_-]{43}|fm1[ar]_[A-Za-z0-9+/]{100,400}={0,3}|fm2_[A-Za-z0-9+/]{100,400}={0,3})",
    ),
    token(
        "atlassian-token",
        "an Atlassian token",
        &["atatt3", "atctt3", "atbb"],
        r"\b(?:AT[AC]TT3[A-Za-z0-9_=-]{50,250}|ATBB[A-Za-z0-9]{32}\b)",
    ),
    token(
        "dynatrace-token",
        "a Dynatrace token",
        &["dt0c01.", "dt0s01."],
        r"\bdt0[cs]01\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{64}\b",
    ),
    token(
        "onepassword-token",
        "a 1Password service account token or secret key",
        &["ops_eyj", "a3-"],
        r"\b(?:ops_eyJ[A-Za-z0-9+/]{250,450}={0,3}|A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}\b)",
    ),
    token(
        "sentry-token",
        "a Sentry token",
        &["sntrys_", "sntryu_"],
        r"\b(?:sntryu_[a-f0-9]{64}\b|sntrys_eyJ[A-Za-z0-9+/=_-]{60,400})",
    ),
    token(
        "salesforce-token",
        "a Salesforce session",
        &["00d"],
        r"\b00D[A-Za-z0-9]{12,15}![A-Za-z0-9._]{80,200}",
    ),
    token(
        "facebook-token",
        "a Facebook page token",
        &["eaac", "eaam"],
        r"\bEAA[MC][A-Za-z0-9]{100,300}\b",
    ),
    token(
        "cloudflare-origin-key",
        "a Cloudflare origin CA key",
        &["v1.0-"],
        r"\bv1\.0-[a-f0-9]{24}-[a-f0-9]{146}\b",
    ),
    token(
        "alibaba-key-id",
        "an Alibaba Cloud access key id",
        &["ltai"],
        r"\bLTAI[A-Za-z0-9]{17,21}\b",
    ),
    token(
        "adobe-secret",
        "an Adobe client secret",
        &["p8e-"],
        r"\bp8e-[A-Za-z0-9]{32}\b",
    ),
    token(
        "supabase-token",
        "a Supabase token",
        &["sbp_", "sb_secret_"],
        r"\b(?:sbp_[a-f0-9]{40}|sb_secret_[A-Za-z0-9_-]{31})\b",
    ),
    Detector {
        broken: Broken::Leave,
        ..token(
            "airtable-token",
            "an Airtable personal token",
            &["pat"],
            r"\bpat[A-Za-z0-9]{14}\.[a-f0-9]{64}\b",
        )
    },
    token(
        "buildkite-token",
        "a Buildkite token",
        &["bkua_"],
        r"\bbkua_[a-f0-9]{40}\b",
    ),
    token(
        "clojars-token",
        "a Clojars token",
        &["clojars_"],
        r"(?i)\bCLOJARS_[a-z0-9]{60}\b",
    ),
    token(
        "duffel-token",
        "a Duffel token",
        &["duffel_"],
        r"\bduffel_(?:test|live)_[A-Za-z0-9_=-]{43}",
    ),
    token(
        "flutterwave-key",
        "a Flutterwave key",
        &["flwseck"],
        r"(?i)\bFLWSECK(?:_TEST)?-[0-9a-z]{12,32}(?:-X)?\b",
    ),
    token(
        "frameio-token",
        "a Frame.io token",
        &["fio-u-"],
        r"(?i)\bfio-u-[A-Za-z0-9_=-]{64}",
    ),
    token(
        "infracost-key",
        "an Infracost key",
        &["ico-"],
        r"\bico-[A-Za-z0-9]{32}\b",
    ),
    token(
        "prefect-key",
        "a Prefect key",
        &["pnu_"],
        r"\bpnu_[A-Za-z0-9]{36}\b",
    ),
    token(
        "readme-key",
        "a ReadMe key",
        &["rdme_"],
        r"\brdme_[a-z0-9]{70}\b",
    ),
    token(
        "scalingo-token",
        "a Scalingo token",
        &["tk-us-"],
        r"\btk-us-[A-Za-z0-9_-]{48}",
    ),
    token(
        "brevo-key",
        "a Brevo key",
        &["xkeysib-", "xsmtpsib-"],
        r"\bx(?:key|smtp)sib-[a-f0-9]{64}-[A-Za-z0-9]{16}\b",
    ),
    token(
        "shippo-token",
        "a Shippo token",
        &["shippo_"],
        r"\bshippo_(?:live|test)_[A-Fa-f0-9]{40}\b",
    ),
    token(
        "typeform-token",
        "a Typeform token",
        &["tfp_"],
        r"\btfp_[A-Za-z0-9_.=-]{40,64}",
    ),
    token(
        "openshift-token",
        "an OpenShift token",
        &["sha256~"],
        r"\bsha256~[A-Za-z0-9_-]{43}",
    ),
    token(
        "artifactory-token",
        "an Artifactory token or key",
        &["akcp", "cmvmd"],
        r"\b(?:AKCp[A-Za-z0-9]{10,73}|cmVmd[A-Za-z0-9]{59})\b",
    ),
    token(
        "yandex-token",
        "a Yandex Cloud token",
        &["aqv", "t1."],
        r"\b(?:AQVN?[A-Za-z0-9_-]{35,38}|t1\.[A-Z0-9a-z_-]{1,400}={0,2}\.[A-Z0-9a-z_-]{86}={0,2})",
    ),
    token(
        "tailscale-key",
        "a Tailscale key",
        &["tskey-"],
        r"\btskey-[a-z]{2,12}-[A-Za-z0-9_]{6,20}-[A-Za-z0-9_]{16,40}",
    ),
    token(
        "cratesio-token",
        "a crates.io token",
        &["cio"],
        r"\bcio[A-Za-z0-9]{32}\b",
    ),
    token(
        "mapbox-secret",
        "a Mapbox secret token",
        &["sk.eyj"],
        r"\bsk\.eyJ[A-Za-z0-9_-]{40,200}\.[A-Za-z0-9_-]{20,40}",
    ),
    token(
        "nats-seed",
        "a NATS account or user seed",
        &["sua", "saa", "soa"],
        r"\bS[UAO]A[A-Z2-7]{55}\b",
    ),
    token(
        "sourcegraph-token",
        "a Sourcegraph token",
        &["sgp_"],
        r"\bsgp_(?:local_|[a-f0-9]{16}_)?[a-f0-9]{40}\b",
    ),
    token(
        "sonarqube-token",
        "a SonarQube token",
        &["squ_", "sqp_", "sqa_"],
        r"\bsq[upa]_[a-f0-9]{40}\b",
    ),
    token(
        "circleci-token",
        "a CircleCI token",
        &["ccipat_", "cciprj_"],
        r"\bCCI(?:PAT|PRJ)_[A-Za-z0-9]{16,24}_[a-z0-9]{40,50}\b",
    ),
    inner(
        36,
        "new-relic-license",
        "a New Relic licence key",
        &["nral"],
        r"\b[a-z0-9]{36}NRAL\b",
    ),
    token(
        "vendor-id-token",
        "a key whose form is a vendor's prefix before an identifier",
        &[
            "sdk-",
            "mob-",
            "access-sandbox-",
            "access-development-",
            "access-production-",
        ],
        r"\b(?:(?:sdk|mob)-[a-f0-9]{8}-[a-f0-9]{4}-4[a-f0-9]{3}-[89ab][a-f0-9]{3}-[a-f0-9]{12}|access-(?:sandbox|development|production)-[a-f0-9]{8}-(?:[a-f0-9]{4}-){3}[a-f0-9]{12})\b",
    ),
    token(
        "paypal-token",
        "a Braintree or PayPal access token",
        &["access_token$"],
        r"\baccess_token\$(?:production|sandbox)\$[a-z0-9]{16}\$[a-f0-9]{32}\b",
    ),
    Detector {
        // of the forms the shortest before its literal
        needs: |text, window, at| {
            let key = |b: &u8| b.is_ascii_alphanumeric() || b"+/_-".contains(b);
            preceded(text, window, at, 33, key)
        },
        ..inner(
            80,
            "azure-identifiable-key",
            "a key of an Azure service, which says itself whose it is",
            &[
                "azfu", "azse", "acdb", "+ast", "+aeh", "+asb", "+aba", "+acr", "azdo",
            ],
            concat!(
                r"\b(?:[A-Za-z0-9_-]{44}AzFu[A-Za-z0-9_-]{5}[AQgw]==|[A-Za-z0-9]{42}AzSe[A-D][A-Za-z0-9]{5}|[A-Za-z0-9+/]{76}(?:\+ASt|ACDb|\+ABa)[A-Za-z0-9+/]{5}[AQgw]==",
                r"|[A-Za-z0-9+/]{33}(?:\+AEh|\+ASb)[A-Za-z0-9+/]{5}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/]{42}\+ACR[A-D][A-Za-z0-9+/]{5}|[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4})"
            ),
        )
    },
    token(
        "vendor-token",
        "a token with a vendor's prefix",
        &[
            "aio_",
            "figd_",
            "phx_",
            "rnd_",
            "nfp_",
            "lsv2_",
            "tvly-",
            "sk-or-",
            "cfpat-",
            "nvapi-",
            "secret_",
            "pat-na1-",
            "pat-eu1-",
            "amzn.mws.",
            "absk",
            "sl.",
            "pmat-",
            "api-",
            "waka_",
            "tgp_v1_",
            "csk-",
            "pcsk_",
            "jina_",
            "rpa_",
            "akid",
            "1//0",
            "fc-",
            "sgamp_",
            "apify_api_",
            "mlsn.",
            "re_",
            "ntn_",
            "napi_",
            "eaac",
            "eaam",
        ],
        concat!(
            r"\b(?:aio_[A-Za-z0-9]{28}|figd_[A-Za-z0-9_-]{38,45}|phx_[A-Za-z0-9]{40,50}|rnd_[A-Za-z0-9]{32}|nfp_[A-Za-z0-9]{36,40}",
            r"|lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}|tvly-[A-Za-z0-9-]{32,48}|sk-or-v1-[a-f0-9]{64}|CFPAT-[A-Za-z0-9_-]{43}",
            r"|nvapi-[A-Za-z0-9_-]{60,70}|secret_[A-Za-z0-9]{43}|pat-(?:na|eu)1-[a-f0-9]{8}-(?:[a-f0-9]{4}-){3}[a-f0-9]{12}",
            r"|amzn\.mws\.[a-f0-9]{8}-(?:[a-f0-9]{4}-){3}[a-f0-9]{12}|ABSK[A-Za-z0-9+/]{100,140}|sl\.[A-Za-z0-9_-]{130,1100}",
            r"|PMAT-[A-Z0-9]{26}|API-[A-Z0-9]{26}|waka_[a-f0-9-]{36}|tgp_v1_[A-Za-z0-9_-]{43}|csk-[a-z0-9]{48}|pcsk_[A-Za-z0-9_]{60,80}",
            r"|jina_[A-Za-z0-9]{60}|rpa_[A-Z0-9]{40,50}|AKID[A-Za-z0-9]{32}|1//0[A-Za-z0-9_-]{40,120}|fc-[a-f0-9]{32}|sgamp_[A-Za-z0-9]{32,70}",
            r"|apify_api_[A-Za-z0-9]{36}|mlsn\.[a-f0-9]{64}|re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}|ntn_[A-Za-z0-9]{40,50}|napi_[a-z0-9]{64}|EAA[CM][A-Za-z0-9]{100,240})(?:[^A-Za-z0-9_-]|$)"
        ),
    ),
];
