//! Credentials as operators write them: on command lines, in files of accounts, in signed addresses.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Broken, Detector, Hit, Severity, Verdict, Window,
    assignment::argument,
    at,
    secrets::{secret, varied},
    value::is_placeholder,
};
use crate::Confidence;

const fn written(
    id: &'static str,
    reason: &'static str,
    literals: &'static [&'static str],
    pattern: &'static str,
    check: fn(&Hit<'_>) -> Verdict,
) -> Detector {
    Detector {
        window: at(300),
        broken: Broken::Leave,
        ..secret(id, reason, literals, pattern, check)
    }
}

pub(super) const DETECTORS: &[Detector] = &[
    written(
        "database-client-password",
        "a password that a MySQL or MariaDB client is given",
        &["mysql", "mariadb"],
        r#"\b(?:mysql|mariadb)(?:dump|admin|import|show|check|-dump|-admin)?(?:\s[^\r\n|;&`]{0,120}?)?\s-p["']?([^\s"'`\\$<-][^\s"'`\\$<]{3,80})"#,
        argument,
    ),
    written(
        "login-password",
        "a password that a program logs in with",
        &[
            "sshpass",
            "docker login",
            "podman login",
            "registry login",
            "az login",
        ],
        r#"\b(?:sshpass|(?:docker|podman|registry|az) login)(?:\s[^\r\n|;&`]{0,120}?)?\s-p[= ]?["']?([^\s"'`\\$<-][^\s"'`\\$<]{3,200})"#,
        argument,
    ),
    written(
        "key-passphrase",
        "a passphrase that GnuPG or OpenSSL is given",
        &["--passphrase", "-passin", "-passout"],
        r#"(?:--passphrase[= ]|-pass(?:in|out) ["']?pass:)["']?([^\s"'`\\$<-][^\s"'`\\$<]{3,200})"#,
        argument,
    ),
    written(
        "literal-of-a-secret",
        "a value of a Kubernetes secret that is being made",
        &["--from-literal"],
        r#"--from-literal[= ]["']?[A-Za-z0-9._-]{0,60}?(?i:pass|secret|token|key|cred)[A-Za-z0-9._-]{0,60}=["']?([^\s"'`\\$<]{4,200})"#,
        argument,
    ),
    Detector {
        window: Window::Line {
            before: 200,
            reach: 200,
        },
        ..written(
            "pgpass-line",
            "a line of a PostgreSQL password file",
            &[":5432:"],
            r"[A-Za-z0-9._*-]{1,120}:5432:[^\s:]{1,63}:[^\s:]{1,63}:([^\s:]{4,100})(?:\s|$)",
            argument,
        )
    },
    written(
        "container-registry-login",
        "a login of a container registry, as Docker keeps it",
        &["\"auth\""],
        r#"\\?"auth\\?"\s{0,4}:\s{0,4}\\?"([A-Za-z0-9+/]{8,300}={0,2})\\?""#,
        registry_login,
    ),
    written(
        "artifactory-header",
        "an Artifactory key in its header",
        &["x-jfrog-art-api"],
        r#"(?i:x-jfrog-art-api)["']?\s{0,4}[:=]\s{0,4}["']?([A-Za-z0-9]{20,200})"#,
        varied,
    ),
    Detector {
        window: Window::Around {
            before: 1,
            reach: 160,
        },
        needs: signs_an_address,
        ..written(
            "azure-shared-access-signature",
            "a signed address of Azure's storage",
            &["sig="],
            r"[?&;]sig=([A-Za-z0-9/+%]{43,90}(?:=|%3[Dd]))",
            varied,
        )
    },
    Detector {
        severity: Severity::SecondHighest,
        ..written(
            "password-hash",
            "a password's hash, in the form of crypt(3)",
            &[
                "$2a$", "$2b$", "$2y$", "$apr1$", "$5$", "$6$", "$y$", "$argon2",
            ],
            concat!(
                r"\$(?:2[aby]\$\d\d\$[./A-Za-z0-9]{53}|apr1\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}",
                r"|5\$(?:rounds=\d{4,9}\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{43}|6\$(?:rounds=\d{4,9}\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}",
                r"|y\$[./A-Za-z0-9]{1,20}\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}",
                r"|argon2(?:id|i|d)\$v=\d{1,3}\$m=\d{1,10},t=\d{1,10},p=\d{1,3}\$[A-Za-z0-9+/]{11,64}\$[A-Za-z0-9+/]{16,86})"
            ),
            varied,
        )
    },
];

/// Whether the parameters beside the signature are those that a service's signed address has: its version, and until
/// when it holds.
fn signs_an_address(text: &[u8], _: std::ops::Range<usize>, at: usize) -> bool {
    const FAR: usize = 400;
    let around = text.get(at.saturating_sub(FAR)..text.len().min(at.saturating_add(FAR)));
    let around = around.unwrap_or_default();
    let has = |name: &[u8]| memchr::memmem::find(around, name).is_some();
    has(b"sv=") && has(b"se=")
}

/// Base64 of a name, a colon and a password.
fn registry_login(hit: &Hit<'_>) -> Verdict {
    let decoded = STANDARD.decode(hit.value()).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let login = text.as_deref().and_then(|text| text.split_once(':'));
    match login {
        Some((name, password))
            if !name.is_empty()
                && !is_placeholder(password)
                && !password.contains(char::is_control) =>
        {
            Verdict::Accept(Confidence::High)
        }
        _ => Verdict::Reject,
    }
}
