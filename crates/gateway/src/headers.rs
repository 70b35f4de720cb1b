//! Headers that a proxy changes: hop-by-hop ones go, `X-Forwarded-…` come. What a client claims in the latter is not believed.

use std::net::SocketAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const OTHERS: [&str; 3] = ["keep-alive", "proxy-connection", "te"];
const FORWARDED: [&str; 7] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
];

/// The protocol that a request wants to switch to.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asked =
        values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| asked).cloned()
}

/// Removes what concerns one connection only, including what `Connection` names.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<String> =
        values.flat_map(|value| value.split(',')).map(|name| name.trim().to_lowercase()).collect();
    for name in named.iter().filter(|name| *name != "close" && *name != "keep-alive") {
        headers.remove(name.as_str());
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    for name in OTHERS {
        headers.remove(name);
    }
}

/// Asks to switch protocols on the next connection.
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Says who asked, and for what.
pub(crate) fn set_forwarded(headers: &mut HeaderMap, peer: SocketAddr, port: u16, host: &str) {
    for name in FORWARDED {
        headers.remove(name);
    }
    let ip = peer.ip().to_canonical().to_string();
    let values = [
        ("x-forwarded-for", ip.clone()),
        ("x-real-ip", ip),
        ("x-forwarded-host", host.to_string()),
        ("x-forwarded-port", port.to_string()),
        ("x-forwarded-proto", "http".to_string()),
    ];
    for (name, value) in values {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair =
            |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn headers_of_one_hop_are_removed() {
        let mut headers = map(&[
            ("connection", "Keep-Alive, X-Private"),
            ("keep-alive", "5"),
            ("x-private", "1"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("accept", "*/*")]));
    }

    #[test]
    fn only_a_complete_upgrade_counts() {
        assert!(upgrade(&map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])).is_some());
        assert!(upgrade(&map(&[("upgrade", "websocket")])).is_none());
        assert!(upgrade(&map(&[("connection", "upgrade")])).is_none());
    }

    #[test]
    fn what_a_client_claims_is_replaced() {
        let mut headers =
            map(&[("x-forwarded-for", "1.2.3.4"), ("x-real-ip", "1.2.3.4"), ("forwarded", "for=x")]);
        set_forwarded(&mut headers, "[::ffff:10.0.0.9]:5000".parse().unwrap(), 8080, "a.test:8080");
        let expected = map(&[
            ("x-forwarded-for", "10.0.0.9"),
            ("x-real-ip", "10.0.0.9"),
            ("x-forwarded-host", "a.test:8080"),
            ("x-forwarded-port", "8080"),
            ("x-forwarded-proto", "http"),
        ]);
        assert_eq!(headers, expected);
    }
}
