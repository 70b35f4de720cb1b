//! Service account tokens: JSON Web Tokens signed with an Ed25519 key that lies in the server's directory.
//! Claims after Kubernetes' `pkg/serviceaccount/claims.go`. A token is valid only while its account (and pod) exists.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use object::kinds;
use serde_json::{Value, json};

use crate::api::Api;
use crate::catalog::collection;
use crate::store::OpenError;
use crate::{User, convert, uid};

/// Longest token that is looked at, in bytes.
const TOKEN_LIMIT: usize = 16 * 1024;
/// A kubelet asks for this many seconds for a projected token, and gets a year: old clients do not read the file again.
const PROJECTED_S: i64 = 3607;
const YEAR_S: i64 = 365 * 24 * 3600;

/// The key pair.
pub(crate) struct Signer {
    pair: Ed25519KeyPair,
    /// Names the key in a token's header.
    id: String,
}

/// What a token is made for.
pub(crate) struct Grant<'a> {
    pub(crate) namespace: &'a str,
    /// The ServiceAccount.
    pub(crate) account: &'a Value,
    pub(crate) audiences: Value,
    pub(crate) seconds: i64,
    /// The pod or secret that the token dies with: kind in lower case, name, uid.
    pub(crate) bound: Option<(&'a str, &'a str, &'a str)>,
}

impl Signer {
    /// Reads the key, or makes one.
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join("service-account.key");
        let io = |source| OpenError::Io { path: path.clone(), source };
        let damaged =
            |_| OpenError::Damaged { path: path.clone(), detail: "it is not an Ed25519 key".into() };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pair = Ed25519KeyPair::generate().map_err(damaged)?;
                let document = pair.to_pkcs8().map_err(damaged)?;
                let beside = dir.join("service-account.key.tmp");
                let mut file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(&beside)
                    .map_err(io)?;
                file.write_all(document.as_ref()).and_then(|()| file.sync_all()).map_err(io)?;
                fs::rename(&beside, &path).map_err(io)?;
                document.as_ref().to_vec()
            }
            Err(error) => return Err(io(error)),
        };
        let pair = Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| OpenError::Damaged {
            path: path.clone(),
            detail: "it is not an Ed25519 key".into(),
        })?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, pair.public_key().as_ref());
        let id = BASE64.encode(digest);
        Ok(Self { pair, id })
    }

    /// The public key for those who check tokens themselves.
    pub(crate) fn key_set(&self) -> Value {
        let key = BASE64.encode(self.pair.public_key().as_ref());
        json!({"keys": [{"use": "sig", "kty": "OKP", "kid": self.id, "crv": "Ed25519", "alg": "EdDSA", "x": key}]})
    }

    /// A token and when it expires (RFC 3339).
    pub(crate) fn sign(&self, issuer: &str, grant: &Grant<'_>) -> (String, String) {
        let now = jiff::Timestamp::now().as_second();
        let lifetime = if grant.seconds == PROJECTED_S { YEAR_S } else { grant.seconds };
        let (name, account_uid) = (&grant.account["metadata"]["name"], &grant.account["metadata"]["uid"]);
        let mut private = json!({
            "namespace": grant.namespace, "serviceaccount": {"name": name, "uid": account_uid},
        });
        if let Some((kind, name, uid)) = grant.bound {
            private[kind] = json!({"name": name, "uid": uid});
        }
        if grant.seconds == PROJECTED_S {
            private["warnafter"] = (now + PROJECTED_S).into();
        }
        let audiences = if grant.audiences.is_array() { grant.audiences.clone() } else { json!([issuer]) };
        let claims = json!({
            "aud": audiences, "exp": now + lifetime, "iat": now, "iss": issuer, "jti": uid::new(),
            "kubernetes.io": private, "nbf": now,
            "sub": format!("system:serviceaccount:{}:{}", grant.namespace, name.as_str().unwrap_or_default()),
        });
        let header = json!({"alg": "EdDSA", "kid": self.id, "typ": "JWT"});
        let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let signature = BASE64.encode(self.pair.sign(signed.as_bytes()));
        let expires =
            jiff::Timestamp::from_second(now + grant.seconds).map(|t| t.to_string()).unwrap_or_default();
        (format!("{signed}.{signature}"), expires)
    }

    /// The service account of a token, if the token is ours, current, and its account and pod still exist.
    pub(crate) fn verify(&self, api: &Api, token: &str) -> Option<User> {
        let claims = self.claims(token)?;
        let now = jiff::Timestamp::now().as_second();
        if claims["exp"].as_i64()? < now || claims["nbf"].as_i64()? > now + 60 {
            return None;
        }
        let private = &claims["kubernetes.io"];
        let namespace = private["namespace"].as_str()?;
        let account = &private["serviceaccount"];
        let name = account["name"].as_str()?;
        let alive = |kind: &object::Resource, reference: &Value| {
            let key = format!("{namespace}/{}", reference["name"].as_str().unwrap_or_default());
            let entry = api.store.get(&collection(kind), &key);
            entry.is_some_and(|e| convert::parse(&e.value)["metadata"]["uid"] == reference["uid"])
        };
        if !alive(&kinds::SERVICE_ACCOUNT, account) {
            return None;
        }
        for (field, kind) in [("pod", &kinds::POD), ("secret", &kinds::SECRET)] {
            if !private[field].is_null() && !alive(kind, &private[field]) {
                return None;
            }
        }
        Some(User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: account["uid"].as_str().unwrap_or_default().to_owned(),
            groups: account_groups(namespace),
        })
    }

    fn claims(&self, token: &str) -> Option<Value> {
        if token.len() > TOKEN_LIMIT {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let key = UnparsedPublicKey::new(&ED25519, self.pair.public_key().as_ref());
        key.verify(signed.as_bytes(), &BASE64.decode(signature).ok()?).ok()?;
        let (_, claims) = signed.split_once('.')?;
        serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()
    }
}

/// The groups of every service account of a namespace.
pub(crate) fn account_groups(namespace: &str) -> Vec<String> {
    vec![
        "system:serviceaccounts".into(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".into(),
    ]
}
