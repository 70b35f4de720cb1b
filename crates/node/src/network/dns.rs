//! The cluster's DNS server: A, SRV and PTR records of services, after kubernetes/dns' specification.
//!
//! Pods have no way out of their network, so every other name does not exist.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

const A: u16 = 1;
const PTR: u16 = 12;
const SRV: u16 = 33;
const ANY: u16 = 255;
const INTERNET: u16 = 1;
/// How long a client may keep an answer, in seconds; endpoints come and go.
const TTL_S: u32 = 5;
/// Answers over UDP without EDNS end here (RFC 1035, 4.2.1).
const UDP_LIMIT: usize = 512;

/// What names there are, lower case, without the dot at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Zone {
    pub(crate) hosts: HashMap<String, Vec<Ipv4Addr>>,
    /// Port and target.
    pub(crate) services: HashMap<String, Vec<(u16, String)>>,
    pub(crate) pointers: HashMap<Ipv4Addr, String>,
}

pub(crate) type SharedZone = Arc<RwLock<Zone>>;

/// Starts answering on port 53 of `address`, over UDP and TCP.
pub(crate) async fn serve(address: Ipv4Addr, zone: SharedZone, stop: CancellationToken) -> io::Result<()> {
    let udp = UdpSocket::bind((address, 53)).await?;
    let tcp = TcpListener::bind((address, 53)).await?;
    let (zone_udp, stop_udp) = (zone.clone(), stop.clone());
    tokio::spawn(async move { stop_udp.run_until_cancelled(serve_udp(udp, zone_udp)).await });
    tokio::spawn(async move { stop.run_until_cancelled(serve_tcp(tcp, zone)).await });
    Ok(())
}

async fn serve_udp(socket: UdpSocket, zone: SharedZone) {
    let mut buffer = [0u8; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let answer = {
            let zone = zone.read().unwrap_or_else(PoisonError::into_inner);
            answer(&buffer[..length], &zone, UDP_LIMIT)
        };
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: SharedZone) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let zone = zone.clone();
        tokio::spawn(async move {
            let _ = converse(stream, &zone).await;
        });
    }
}

async fn converse(mut stream: TcpStream, zone: &SharedZone) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut query = vec![0u8; usize::from(length)];
        stream.read_exact(&mut query).await?;
        let answer = {
            let zone = zone.read().unwrap_or_else(PoisonError::into_inner);
            answer(&query, &zone, usize::from(u16::MAX))
        };
        let Some(answer) = answer else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&answer).await?;
    }
}

/// The answer to one query; none if it is no query at all. Longer than `limit` is cut and marked as such.
pub(crate) fn answer(query: &[u8], zone: &Zone, limit: usize) -> Option<Vec<u8>> {
    let header = query.get(..12)?;
    let is_query = header[2] & 0x80 == 0;
    let questions = u16::from_be_bytes([header[4], header[5]]);
    if !is_query || questions != 1 {
        return None;
    }
    let (name, end) = read_name(query, 12)?;
    let fields = query.get(end..end + 4)?;
    let (kind, class) =
        (u16::from_be_bytes([fields[0], fields[1]]), u16::from_be_bytes([fields[2], fields[3]]));
    let (known, records) = if class == INTERNET { find(zone, &name, kind) } else { (false, Vec::new()) };
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(&header[..2]);
    // Response, authoritative, recursion desired as asked, recursion available.
    out.extend_from_slice(&[0x84 | (header[2] & 0x01), if known { 0x80 } else { 0x83 }]);
    out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&query[12..end + 4]);
    let mut count: u16 = 0;
    for (kind, data) in records {
        if out.len() + 12 + data.len() > limit {
            out[2] |= 0x02;
            break;
        }
        // The name is a pointer to the question.
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&INTERNET.to_be_bytes());
        out.extend_from_slice(&TTL_S.to_be_bytes());
        out.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&data);
        count += 1;
    }
    out[6..8].copy_from_slice(&count.to_be_bytes());
    Some(out)
}

/// Whether the name exists, and its records of that kind.
fn find(zone: &Zone, name: &str, kind: u16) -> (bool, Vec<(u16, Vec<u8>)>) {
    if let Some(ip) = pointer_address(name) {
        let target = zone.pointers.get(&ip);
        let records = target.filter(|_| kind == PTR || kind == ANY).map(|name| (PTR, wire_name(name)));
        return (target.is_some(), records.into_iter().collect());
    }
    let mut records = Vec::new();
    let hosts = zone.hosts.get(name);
    if kind == A || kind == ANY {
        records.extend(hosts.into_iter().flatten().map(|ip| (A, ip.octets().to_vec())));
    }
    let services = zone.services.get(name);
    if kind == SRV || kind == ANY {
        records.extend(services.into_iter().flatten().map(|(port, target)| {
            let mut data = vec![0, 0, 0, 100];
            data.extend_from_slice(&port.to_be_bytes());
            data.extend_from_slice(&wire_name(target));
            (SRV, data)
        }));
    }
    let above = |all: &str| all.strip_suffix(name).is_some_and(|head| head.ends_with('.'));
    let exists = hosts.is_some() || services.is_some() || zone.hosts.keys().any(|all| above(all));
    (exists, records)
}

/// `4.3.2.1.in-addr.arpa` to `1.2.3.4`.
fn pointer_address(name: &str) -> Option<Ipv4Addr> {
    let reversed: Ipv4Addr = name.strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [a, b, c, d] = reversed.octets();
    Some(Ipv4Addr::new(d, c, b, a))
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        // Kubernetes names have labels of 63 letters at most.
        let label = &label.as_bytes()[..label.len().min(63)];
        out.extend(u8::try_from(label.len()));
        out.extend_from_slice(label);
    }
    out.push(0);
    out
}

/// Reads an uncompressed name in lower case, and where it ends.
fn read_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        if length > 63 {
            return None;
        }
        let label = std::str::from_utf8(message.get(at..at + length)?).ok()?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&label.to_ascii_lowercase());
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut out = vec![0xab, 0xcd, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        out.extend(wire_name(name));
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&INTERNET.to_be_bytes());
        out
    }

    fn zone() -> Zone {
        let web = "web.shop.svc.cluster.local".to_owned();
        Zone {
            hosts: HashMap::from([
                (web.clone(), vec![Ipv4Addr::new(10, 96, 0, 20)]),
                (
                    "many.shop.svc.cluster.local".into(),
                    (0..60).map(|n| Ipv4Addr::new(10, 244, 1, n)).collect(),
                ),
            ]),
            services: HashMap::from([(
                "_http._tcp.web.shop.svc.cluster.local".into(),
                vec![(80, web.clone())],
            )]),
            pointers: HashMap::from([(Ipv4Addr::new(10, 96, 0, 20), web)]),
        }
    }

    #[test]
    fn answers_have_the_right_code_and_records() {
        // Name, kind → response code, number of answers, last bytes.
        let check = |name: &str, kind: u16, code: u8, count: u8, tail: &[u8]| {
            let out = answer(&query(name, kind), &zone(), UDP_LIMIT).unwrap();
            assert_eq!((out[0], out[1], out[2] & 0x80), (0xab, 0xcd, 0x80), "{name}");
            assert_eq!((out[3] & 0x0f, out[7]), (code, count), "{name} {kind}");
            assert!(out.ends_with(tail), "{name} {kind}: {out:?}");
        };
        check("web.shop.svc.cluster.local", A, 0, 1, &[10, 96, 0, 20]);
        check("WEB.Shop.svc.cluster.LOCAL", A, 0, 1, &[10, 96, 0, 20]);
        check("web.shop.svc.cluster.local", 28, 0, 0, &[]);
        check("shop.svc.cluster.local", A, 0, 0, &[]);
        check("web.shop.svc.cluster.local.shop.svc.cluster.local", A, 3, 0, &[]);
        check("example.com", A, 3, 0, &[]);
        check("_http._tcp.web.shop.svc.cluster.local", SRV, 0, 1, &wire_name("web.shop.svc.cluster.local"));
        check("20.0.96.10.in-addr.arpa", PTR, 0, 1, &wire_name("web.shop.svc.cluster.local"));
        check("21.0.96.10.in-addr.arpa", PTR, 3, 0, &[]);
    }

    #[test]
    fn long_answers_are_cut_over_udp_only() {
        let asked = query("many.shop.svc.cluster.local", A);
        let cut = answer(&asked, &zone(), UDP_LIMIT).unwrap();
        assert!(cut.len() <= UDP_LIMIT && cut[2] & 0x02 != 0);
        let whole = answer(&asked, &zone(), 65535).unwrap();
        assert_eq!((whole[7], whole[2] & 0x02), (60, 0));
    }

    #[test]
    fn nonsense_is_not_answered() {
        for bytes in [&[][..], &[0; 11], &[0; 12], &query("a", A)[..14], &[0xff; 40]] {
            assert_eq!(answer(bytes, &zone(), UDP_LIMIT), None);
        }
    }
}
