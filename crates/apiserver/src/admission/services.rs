//! Addresses and node ports of services. The caller holds the services' lock until the service is stored.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use object::{Cause, kinds, meta};
use rand::Rng as _;
use serde_json::{Value, json};

use crate::convert;
use crate::error::ApiError;
use crate::http::Context;

const NODE_PORTS: std::ops::RangeInclusive<i64> = 30000..=32767;

/// A range of addresses, for example `10.96.0.0/16`.
struct Range {
    base: u32,
    size: u32,
}

/// Gives a service what its type needs and it does not have; checks what it asks for.
pub(super) fn allocate(cx: &Context, service: &mut Value, old: Option<&Value>) -> Result<(), ApiError> {
    let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
    if kind == "ExternalName" {
        for field in ["clusterIP", "clusterIPs"] {
            crate::http::write::remove(&mut service["spec"], field);
        }
        return Ok(());
    }
    keep_old(service, old);
    let others = others(cx, service);
    cluster_ip(cx, service, &others)?;
    if service["spec"]["ipFamilies"].is_null() {
        service["spec"]["ipFamilies"] = json!(["IPv4"]);
    }
    if service["spec"]["ipFamilyPolicy"].is_null() {
        service["spec"]["ipFamilyPolicy"] = "SingleStack".into();
    }
    let wants_ports = kind == "NodePort"
        || (kind == "LoadBalancer" && service["spec"]["allocateLoadBalancerNodePorts"] != false);
    if wants_ports {
        node_ports(service, &others)?;
    }
    Ok(())
}

/// An update that leaves out what was allocated keeps it.
fn keep_old(service: &mut Value, old: Option<&Value>) {
    let Some(old) = old.filter(|o| o["spec"]["type"] == service["spec"]["type"]) else { return };
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"] {
        let missing = matches!(&service["spec"][field], Value::Null) || service["spec"][field] == "";
        if missing && !old["spec"][field].is_null() {
            service["spec"][field] = old["spec"][field].clone();
        }
    }
    let old_ports = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    for port in service["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let same = |p: &&Value| p["port"] == port["port"] && p["protocol"] == port["protocol"];
        if port["nodePort"].as_i64().unwrap_or(0) == 0
            && let Some(number) = old_ports.iter().find(same).and_then(|p| p["nodePort"].as_i64())
        {
            port["nodePort"] = number.into();
        }
    }
}

fn others(cx: &Context, service: &Value) -> Vec<Value> {
    let all = cx.api.store.list("/services", "");
    all.items
        .iter()
        .map(|(_, e)| convert::parse(&e.value))
        .filter(|s| meta::key(s) != meta::key(service))
        .collect()
}

fn cluster_ip(cx: &Context, service: &mut Value, others: &[Value]) -> Result<(), ApiError> {
    let given = service["spec"]["clusterIP"].as_str().or_else(|| service["spec"]["clusterIPs"][0].as_str());
    let given = given.unwrap_or_default().to_owned();
    let range = Range::parse(&cx.api.options.service_cidr).ok_or_else(|| {
        ApiError::internal(format!("{:?} is not a range of IPv4 addresses", cx.api.options.service_cidr))
    })?;
    let used: HashSet<&str> = others.iter().filter_map(|s| s["spec"]["clusterIP"].as_str()).collect();
    let invalid = |detail: &str| {
        let value = json!([given]);
        ApiError::invalid(
            &kinds::SERVICE,
            meta::name(service),
            &[Cause::invalid("spec.clusterIPs", &value, detail)],
        )
    };
    let address = match given.as_str() {
        "" => range
            .free(&used)
            .ok_or_else(|| ApiError::internal("failed to allocate a serviceIP: range is full"))?,
        "None" => given,
        _ => {
            let inside = given.parse::<Ipv4Addr>().is_ok_and(|ip| range.contains(ip));
            if !inside {
                let text =
                    format!("failed to allocate IP {given}: the provided IP is not in the valid range");
                return Err(invalid(&text));
            }
            if used.contains(given.as_str()) {
                return Err(invalid(&format!(
                    "failed to allocate IP {given}: provided IP is already allocated"
                )));
            }
            given
        }
    };
    service["spec"]["clusterIPs"] = json!([address]);
    service["spec"]["clusterIP"] = address.into();
    Ok(())
}

fn node_ports(service: &mut Value, others: &[Value]) -> Result<(), ApiError> {
    let ports = others.iter().flat_map(|s| s["spec"]["ports"].as_array().into_iter().flatten());
    let mut used: HashSet<i64> = ports.filter_map(|p| p["nodePort"].as_i64()).collect();
    let name = meta::name(service).to_owned();
    for (index, port) in
        service["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().enumerate()
    {
        let field = format!("spec.ports[{index}].nodePort");
        match port["nodePort"].as_i64().unwrap_or(0) {
            0 => {
                let free = NODE_PORTS.filter(|n| !used.contains(n)).count();
                let nth = (free > 0).then(|| rand::rng().random_range(0..free));
                let number = nth.and_then(|nth| NODE_PORTS.filter(|n| !used.contains(n)).nth(nth));
                let number = number
                    .ok_or_else(|| ApiError::internal("failed to allocate a nodePort: range is full"))?;
                port["nodePort"] = number.into();
                used.insert(number);
            }
            given if !NODE_PORTS.contains(&given) => {
                let detail =
                    "provided port is not in the valid range. The range of valid ports is 30000-32767";
                return Err(ApiError::invalid(
                    &kinds::SERVICE,
                    &name,
                    &[Cause::invalid(field, &given.into(), detail)],
                ));
            }
            given if !used.insert(given) => {
                let cause = Cause::invalid(field, &given.into(), "provided port is already allocated");
                return Err(ApiError::invalid(&kinds::SERVICE, &name, &[cause]));
            }
            _ => {}
        }
    }
    Ok(())
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text.split_once('/')?;
        let bits: u32 = bits.parse().ok().filter(|b| (8..=30).contains(b))?;
        Some(Self { base: base.parse::<Ipv4Addr>().ok()?.into(), size: 1 << (32 - bits) })
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(self.base);
        offset > 0 && offset < self.size - 1
    }

    /// A random free address of the upper band; the lower band (at most 256 addresses) is for those who choose theirs,
    /// and is used when the upper one is full.
    fn free(&self, used: &HashSet<&str>) -> Option<String> {
        let band = (self.size / 16).clamp(16, 256).min(self.size - 2);
        let start = rand::rng().random_range(0..self.size);
        let upper = (0..self.size).map(|i| (start + i) % self.size).filter(|offset| *offset > band);
        let lower = 1..=band;
        upper
            .chain(lower)
            .filter(|offset| *offset > 0 && *offset < self.size - 1)
            .map(|offset| Ipv4Addr::from(self.base + offset).to_string())
            .find(|address| !used.contains(address.as_str()))
    }
}

/// The first address of a range: that of the `kubernetes` service.
pub(crate) fn first_address(cidr: &str) -> Option<String> {
    Range::parse(cidr).map(|range| Ipv4Addr::from(range.base + 1).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_the_upper_band_while_it_lasts() {
        let range = Range::parse("10.96.0.0/28").unwrap();
        let all: Vec<String> = (1..15).map(|n| format!("10.96.0.{n}")).collect();
        let mut used = HashSet::new();
        for _ in 0..14 {
            let address = range.free(&used).unwrap();
            used.insert(all.iter().find(|a| **a == address).unwrap().as_str());
        }
        assert_eq!(range.free(&used), None);
        let wide = Range::parse("10.96.0.0/16").unwrap();
        let address: Ipv4Addr = wide.free(&HashSet::new()).unwrap().parse().unwrap();
        assert!(u32::from(address) - u32::from(Ipv4Addr::new(10, 96, 0, 0)) > 256);
        assert_eq!(first_address("10.96.0.0/16").as_deref(), Some("10.96.0.1"));
    }
}
