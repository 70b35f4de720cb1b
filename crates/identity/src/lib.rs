//! People and robots: who a request speaks for, proved by a signed token.
//!
//! A token is `pt_` + base64url(claims JSON) + `.` + base64url(HMAC-SHA256 of the first part). It carries everything
//! that a check needs, so that the only state is the key file. What a token may do is a list of scopes, each
//! `area:subject:verb` with `*` as a wild card in any place: `repo:platform/dashboard-deploy:write`,
//! `registry:platform/*:push`, `*`.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Longest token that is looked at, in bytes: a person in 50 groups needs about 4 KiB.
const TOKEN_LIMIT: usize = 16 * 1024;
const PREFIX: &str = "pt_";

/// Whom a token speaks for and what it may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Login name, for example `sasha`, or `system:pipelines` for a robot.
    pub subject: String,
    /// Full name as commits show it.
    pub name: String,
    /// Address as commits show it.
    pub email: String,
    /// Names of the groups, for example `platform-team`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What the token may do; see the module's text.
    pub scopes: Vec<String>,
    /// Seconds since the epoch after which the token is refused; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_s: Option<i64>,
}

impl Claims {
    /// Whether one of the scopes covers `wanted` (`area:subject:verb`). `write` covers `read`, `push` covers `pull`,
    /// `admin` covers every verb of its subject.
    pub fn allows(&self, wanted: &str) -> bool {
        self.scopes.iter().any(|scope| covers(scope, wanted))
    }

    /// Whether this is a robot, not a person.
    pub fn is_robot(&self) -> bool {
        self.subject.starts_with("system:")
    }
}

/// Why a token was not accepted. Deliberately without the token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not one of ours, or cut, or changed.
    #[error("the token is not valid: get a new one with `portolan token PERSON`")]
    Invalid,
    /// Past its time.
    #[error("the token has expired: get a new one with `portolan token PERSON`")]
    Expired,
}

/// Why the key file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Reading or writing failed.
    #[error("cannot use the key file {path}")]
    File {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not 32 bytes.
    #[error("the key file {path} is not 32 bytes long: restore it, or remove it to sign everyone out")]
    Length {
        /// The key file.
        path: PathBuf,
    },
    /// The system gave no randomness.
    #[error("the system gave no random bytes")]
    Random,
}

/// The key that signs and checks tokens.
#[derive(Clone)]
pub struct Keyring {
    key: hmac::Key,
}

impl Keyring {
    /// Reads the 32-byte key at `path`, or makes one, readable by its owner only.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let file = |source| KeyError::File { path: path.to_owned(), source };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let mut fresh = [0; 32];
                rand::fill(&mut fresh).map_err(|_| KeyError::Random)?;
                write_private(path, &fresh).map_err(file)?;
                fresh.to_vec()
            }
            Err(e) => return Err(file(e)),
        };
        if bytes.len() != 32 {
            return Err(KeyError::Length { path: path.to_owned() });
        }
        Ok(Self::from_bytes(&bytes))
    }

    /// From raw key bytes; for tests and derived keys.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, bytes) }
    }

    /// A token for these claims.
    pub fn sign(&self, claims: &Claims) -> String {
        // Claims are strings and numbers only, which always serialise.
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).unwrap_or_default());
        let tag = hmac::sign(&self.key, payload.as_bytes());
        format!("{PREFIX}{payload}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }

    /// The claims of a token that this key signed and that has not expired. The comparison takes the same time
    /// wherever the tags differ.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_LIMIT {
            return Err(TokenError::Invalid);
        }
        let (payload, tag) =
            token.strip_prefix(PREFIX).and_then(|t| t.split_once('.')).ok_or(TokenError::Invalid)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| TokenError::Invalid)?;
        hmac::verify(&self.key, payload.as_bytes(), &tag).map_err(|_| TokenError::Invalid)?;
        let claims = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Invalid)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| TokenError::Invalid)?;
        match claims.expires_at_s {
            Some(at) if at <= jiff::Timestamp::now().as_second() => Err(TokenError::Expired),
            _ => Ok(claims),
        }
    }

    /// A tag over any bytes, for webhook signatures and form protection; 32 bytes.
    pub fn tag(&self, purpose: &str, message: &[u8]) -> Vec<u8> {
        let mut input = purpose.as_bytes().to_vec();
        input.push(0);
        input.extend_from_slice(message);
        hmac::sign(&self.key, &input).as_ref().to_vec()
    }

    /// Whether `tag` is what [`Keyring::tag`] gives; constant time.
    pub fn tag_matches(&self, purpose: &str, message: &[u8], tag: &[u8]) -> bool {
        let mut input = purpose.as_bytes().to_vec();
        input.push(0);
        input.extend_from_slice(message);
        hmac::verify(&self.key, &input, tag).is_ok()
    }
}

/// The token in an `Authorization` header: `Bearer T`, `token T`, or the password of `Basic`.
pub fn token_of(authorization: &str) -> Option<String> {
    let (scheme, rest) = authorization.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    // Some clients put the token in the user name and leave the password empty.
    Some(if password.is_empty() || password == "x-oauth-basic" { user } else { password }.to_owned())
}

fn covers(scope: &str, wanted: &str) -> bool {
    if scope == "*" {
        return true;
    }
    let mut want = wanted.splitn(3, ':');
    let mut have = scope.splitn(3, ':');
    let part = |have: Option<&str>, want: Option<&str>| match (have, want) {
        (Some("*"), _) => true,
        (Some(h), Some(w)) => h == w || h.strip_suffix('*').is_some_and(|stem| w.starts_with(stem)),
        (None, None) => true,
        _ => false,
    };
    let area = part(have.next(), want.next());
    let subject = part(have.next(), want.next());
    let (have, want) = (have.next(), want.next());
    area && subject && (part(have, want) || verb_covers(have, want))
}

fn verb_covers(have: Option<&str>, want: Option<&str>) -> bool {
    matches!((have, want), (Some("admin"), _) | (Some("write"), Some("read")) | (Some("push"), Some("pull")))
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sasha(scopes: &[&str], expires_at_s: Option<i64>) -> Claims {
        Claims {
            subject: "sasha".into(),
            name: "Sasha".into(),
            email: "sasha@example.com".into(),
            groups: vec!["platform-team".into()],
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
            expires_at_s,
        }
    }

    #[test]
    fn a_token_comes_back_as_its_claims_and_nothing_else_does() {
        let keyring = Keyring::from_bytes(&[7; 32]);
        let claims = sasha(&["*"], None);
        let token = keyring.sign(&claims);
        assert_eq!(keyring.verify(&token), Ok(claims));
        assert_eq!(Keyring::from_bytes(&[8; 32]).verify(&token), Err(TokenError::Invalid));
        for broken in ["", "pt_", "pt_x.y", &token[..token.len() - 2], &token.replacen("pt_", "pt_A", 1)] {
            assert_eq!(keyring.verify(broken), Err(TokenError::Invalid), "{broken}");
        }
        assert_eq!(keyring.verify(&keyring.sign(&sasha(&[], Some(1)))), Err(TokenError::Expired));
    }

    #[test]
    fn scopes_cover_by_part() {
        let check = |scope: &str, wanted: &str, expected: bool| {
            assert_eq!(sasha(&[scope], None).allows(wanted), expected, "{scope} for {wanted}");
        };
        check("*", "repo:platform/x:write", true);
        check("repo:*:read", "repo:platform/x:read", true);
        check("repo:*:read", "repo:platform/x:write", false);
        check("repo:platform/x:write", "repo:platform/x:read", true);
        check("repo:platform/x:write", "repo:platform/xy:read", false);
        check("repo:platform/*:admin", "repo:platform/x:write", true);
        check("registry:platform/x:push", "registry:platform/x:pull", true);
        check("registry:platform/x:pull", "registry:platform/x:push", false);
        check("registry:platform/x:push", "repo:platform/x:push", false);
    }

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/identity.key");
        let token = Keyring::open(&path).unwrap().sign(&sasha(&[], None));
        assert!(Keyring::open(&path).unwrap().verify(&token).is_ok());
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(Keyring::open(&path), Err(KeyError::Length { .. })));
    }

    #[test]
    fn tokens_come_in_three_schemes() {
        assert_eq!(token_of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token_of("token abc").as_deref(), Some("abc"));
        assert_eq!(token_of("Basic eC1hY2Nlc3MtdG9rZW46YWJj").as_deref(), Some("abc"));
        assert_eq!(token_of("Digest x"), None);
    }
}
