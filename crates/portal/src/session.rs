//! Sign-in by choosing a person (local mode), the session cookie, form protection, security headers.
//!
//! The cookie is the person's token, not readable by scripts and not sent from other sites. Each form carries a tag over
//! the token, so that a page elsewhere cannot write in somebody's name even if the cookie came along.

use std::sync::Arc;

use axum::extract::{Form, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt as _;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::{Config, assets, layout};

/// The session cookie's name.
pub(crate) const COOKIE: &str = "portolan_session";
/// The form field that carries the form key.
pub(crate) const FORM_KEY: &str = "form_key";
/// A session lasts as long as its token: a working week.
const COOKIE_LIFE_S: u32 = 7 * 24 * 3600;
/// Largest form, in bytes: a long template form with text areas.
const FORM_LIMIT: usize = 1 << 20;

/// Sign-in, sign-out and health.
pub(crate) fn routes() -> Router<Arc<Config>> {
    Router::new()
        .route("/sign-in", get(choose).post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/healthz", get(async || "ok\n"))
}

/// Lets a request through with its [`Caller`], or sends the browser to the sign-in page.
pub(crate) async fn require(State(config): State<Arc<Config>>, request: Request, next: Next) -> Response {
    let Some(caller) = caller_of(&config, request.headers()) else {
        let wanted = request.uri().path_and_query().map_or("/", |p| p.as_str());
        return Redirect::to(&format!("/sign-in?to={}", layout::encode(wanted))).into_response();
    };
    let mut request = match check_form(&caller, request).await {
        Ok(request) => request,
        Err(failure) => return failure.into_response(),
    };
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Headers that every page carries: nothing from elsewhere, no framing, no guessing of types.
pub(crate) async fn security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
                  form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn caller_of(config: &Config, headers: &HeaderMap) -> Option<Caller> {
    let token = cookie(headers)?;
    let claims = config.keyring.verify(&token).ok()?;
    let form_key = URL_SAFE_NO_PAD.encode(config.keyring.tag("form", token.as_bytes()));
    Some(Caller { claims, token, form_key, services: config.services.clone() })
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned())
}

/// A write must carry the form key, in its form or (scripts) in a header.
async fn check_form(caller: &Caller, request: Request) -> Result<Request, Failure> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let body = http_body_util::Limited::new(body, FORM_LIMIT).collect().await;
    let bytes = body
        .map_err(|_| Failure::input(format!("a form may be {FORM_LIMIT} bytes long at most")))?
        .to_bytes();
    let sent = form_value(&bytes, FORM_KEY);
    let matches = sent.is_some_and(|sent| same(sent.as_bytes(), caller.form_key.as_bytes()));
    if !matches {
        let message = "this form was not made by this session of the portal: load the page again and send it from there";
        return Err(Failure::forbidden(message));
    }
    Ok(Request::from_parts(parts, axum::body::Body::from(bytes)))
}

/// The first value of a field in a URL-encoded form.
pub(crate) fn form_value(form: &[u8], field: &str) -> Option<String> {
    let form = std::str::from_utf8(form).ok()?;
    let (_, raw) =
        form.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == field)?;
    Some(layout::decode(raw))
}

/// Compares without telling by its time where two keys differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    to: String,
}

async fn choose(
    State(config): State<Arc<Config>>,
    axum::extract::Query(wanted): axum::extract::Query<Wanted>,
) -> Markup {
    let to = local(&wanted.to);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Sign in · Portolan" }
                link rel="icon" href=(assets::url("icon.svg"));
                link rel="stylesheet" href=(assets::url("portal.css"));
                script src=(assets::url("theme.js")) {}
            }
            body {
                main.gate {
                    h1 { "Who is at the helm?" }
                    p.muted { "This platform runs on this machine only, so signing in is a choice of person. Each of them sees and may do what their role allows." }
                    @if config.people.is_empty() {
                        p.notice { "Nobody can sign in here by choosing: this platform is set up for single sign-on." }
                    }
                    form method="post" action="/sign-in" {
                        input type="hidden" name="to" value=(to);
                        ul.people {
                            @for person in &config.people {
                                li { button name="person" value=(person.login) {
                                    span.avatar aria-hidden="true" { (layout::initial(&person.name)) }
                                    span { strong { (person.name) } span.muted { (person.role) } }
                                    span.faint { "Sign in" }
                                } }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Chosen {
    person: String,
    #[serde(default)]
    to: String,
}

async fn sign_in(
    State(config): State<Arc<Config>>,
    headers: HeaderMap,
    Form(chosen): Form<Chosen>,
) -> Result<Response, Failure> {
    if !same_site(&headers) {
        return Err(Failure::forbidden("sign in from the portal's own page"));
    }
    let person = config.people.iter().find(|p| p.login == chosen.person);
    let claims = person.and_then(|p| (p.claims)(&p.login));
    let claims =
        claims.ok_or_else(|| Failure::input(format!("there is nobody called {:?}", chosen.person)))?;
    let token = config.keyring.sign(&claims);
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_LIFE_S}");
    let mut response = Redirect::to(&local(&chosen.to)).into_response();
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    Ok(response)
}

async fn sign_out(headers: HeaderMap) -> Response {
    if !same_site(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let gone = HeaderValue::from_static("portolan_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    let mut response = Redirect::to("/sign-in").into_response();
    response.headers_mut().insert(header::SET_COOKIE, gone);
    response
}

/// Browsers say where a form came from; programs that are not browsers send neither header.
fn same_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|v| v.to_str().ok());
    site.is_none_or(|site| matches!(site, "same-origin" | "none"))
}

/// Only paths of this portal are gone to after sign-in.
fn local(to: &str) -> String {
    let safe =
        to.starts_with('/') && !to.starts_with("//") && !to.starts_with("/\\") && !to.contains(['\r', '\n']);
    if safe { to.to_owned() } else { "/".to_owned() }
}

/// Handlers take the caller as this.
pub(crate) type Signed = Extension<Caller>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_in_only_goes_on_to_this_portal() {
        for (to, expected) in [
            ("/catalog?kind=x", "/catalog?kind=x"),
            ("//evil.example", "/"),
            ("https://evil.example", "/"),
            ("", "/"),
            ("/\\e", "/"),
        ] {
            assert_eq!(local(to), expected, "{to}");
        }
    }

    #[test]
    fn form_values_are_decoded() {
        assert_eq!(form_value(b"a=1&b=x+y%21", "b").as_deref(), Some("x y!"));
        assert_eq!(form_value(b"a=1", "b"), None);
    }
}
