//! From Services and EndpointSlices to what the proxy listens on and what DNS answers.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError};

use controller::Cluster;
use object::{kinds, meta};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::proxy::Table;
use super::{DNS, Network, dns::Zone, link};

/// The zone's name; what real clusters are set up with.
pub(crate) const ZONE: &str = "cluster.local";

/// What the pod network offers for the services there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) addresses: BTreeSet<Ipv4Addr>,
    pub(crate) table: Table,
    pub(crate) zone: Zone,
}

/// Keeps the network in step with the cluster's services until `stop`.
pub(crate) async fn follow(cluster: Cluster, network: Network, stop: CancellationToken) {
    let (services, slices) = (cluster.watch(&kinds::SERVICE), cluster.watch(&kinds::ENDPOINT_SLICE));
    let (mut service_changes, mut slice_changes) = (services.subscribe(), slices.subscribe());
    let mut present = BTreeSet::from([DNS]);
    loop {
        let more = tokio::select! {
            () = stop.cancelled() => return,
            change = service_changes.recv() => change.is_some(),
            change = slice_changes.recv() => change.is_some(),
        };
        if !more {
            return;
        }
        // One pass for all that came at once.
        while service_changes.try_recv().is_ok() || slice_changes.try_recv().is_ok() {}
        let offer = plan(&services.list(), &slices.list());
        apply(&network, offer, &mut present).await;
    }
}

async fn apply(network: &Network, offer: Offer, present: &mut BTreeSet<Ipv4Addr>) {
    let inner = &network.inner;
    for ip in offer.addresses.difference(&present.clone()) {
        match link::add_address(&inner.netlink, inner.loopback, *ip, 32).await {
            Ok(()) => {
                present.insert(*ip);
            }
            Err(error) => tracing::warn!(address = %ip, %error, "cannot offer a service's address"),
        }
    }
    *inner.zone.write().unwrap_or_else(PoisonError::into_inner) = offer.zone;
    let proxy = inner.proxy.clone();
    // Sockets must be made in the pod network.
    let _ = inner.runtime.spawn(async move { proxy.apply(offer.table).await }).await;
    for ip in present.clone().difference(&offer.addresses) {
        if *ip != DNS && link::remove_address(&inner.netlink, inner.loopback, *ip).await.is_ok() {
            present.remove(ip);
        }
    }
}

/// Pure: what to offer for these objects.
pub(crate) fn plan(services: &[Arc<Value>], slices: &[Arc<Value>]) -> Offer {
    let mut by_service: HashMap<(&str, &str), Vec<&Value>> = HashMap::new();
    for slice in slices {
        if let Some(name) = meta::label(slice, "kubernetes.io/service-name") {
            by_service.entry((meta::namespace(slice), name)).or_default().push(slice);
        }
    }
    let mut offer = Offer::default();
    for service in services {
        let key = (meta::namespace(service), meta::name(service));
        let slices = by_service.get(&key).map(Vec::as_slice).unwrap_or_default();
        add_service(&mut offer, service, slices);
    }
    offer
}

fn add_service(offer: &mut Offer, service: &Value, slices: &[&Value]) {
    let host = format!("{}.{}.svc.{ZONE}", meta::name(service), meta::namespace(service));
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(ip) = service["spec"]["clusterIP"].as_str().and_then(|text| text.parse::<Ipv4Addr>().ok())
    else {
        if service["spec"]["clusterIP"] == "None" {
            add_headless(offer, &host, slices);
        }
        return;
    };
    offer.zone.hosts.insert(host.clone(), vec![ip]);
    offer.zone.pointers.insert(ip, host.clone());
    offer.addresses.insert(ip);
    for port in ports {
        let Some(number) = port["port"].as_u64().and_then(|n| u16::try_from(n).ok()) else { continue };
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        if let Some(name) = port["name"].as_str() {
            let name = format!("_{name}._{}.{host}", protocol.to_lowercase());
            offer.zone.services.insert(name, vec![(number, host.clone())]);
        }
        // UDP is offered by the cluster's DNS alone.
        if protocol != "TCP" || ip == DNS {
            continue;
        }
        let backends = backends(slices, port["name"].as_str().unwrap_or_default());
        if !backends.is_empty() {
            offer.table.insert((ip, number), backends);
        }
    }
}

/// Ready endpoints of a port; if there are none, those that still serve while they end.
fn backends(slices: &[&Value], port_name: &str) -> Vec<SocketAddr> {
    let find = |wanted: fn(&Value) -> bool| {
        let mut found = Vec::new();
        for slice in slices {
            let named = |port: &&Value| port["name"].as_str().unwrap_or_default() == port_name;
            let Some(number) =
                array(&slice["ports"]).iter().find(named).and_then(|port| port["port"].as_u64())
            else {
                continue;
            };
            let Ok(number) = u16::try_from(number) else { continue };
            for endpoint in array(&slice["endpoints"]).iter().filter(|one| wanted(&one["conditions"])) {
                found.extend(addresses(endpoint).map(|ip| SocketAddr::from((ip, number))));
            }
        }
        found
    };
    let ready = find(|conditions| conditions["ready"].as_bool().unwrap_or(true));
    if !ready.is_empty() {
        return ready;
    }
    find(|conditions| {
        let is = |name: &str| conditions[name].as_bool() == Some(true);
        is("serving") && is("terminating")
    })
}

fn add_headless(offer: &mut Offer, host: &str, slices: &[&Value]) {
    let zone = &mut offer.zone;
    for slice in slices {
        for endpoint in array(&slice["endpoints"]) {
            if !endpoint["conditions"]["ready"].as_bool().unwrap_or(true) {
                continue;
            }
            for ip in addresses(endpoint) {
                let dashed = ip.to_string().replace('.', "-");
                let own = format!("{}.{host}", endpoint["hostname"].as_str().unwrap_or(&dashed));
                zone.hosts.entry(host.to_owned()).or_default().push(ip);
                zone.hosts.entry(own.clone()).or_default().push(ip);
                zone.pointers.insert(ip, own.clone());
                for port in array(&slice["ports"]) {
                    let number = port["port"].as_u64().and_then(|n| u16::try_from(n).ok());
                    if let (Some(name), Some(number)) =
                        (port["name"].as_str().filter(|n| !n.is_empty()), number)
                    {
                        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_lowercase();
                        let name = format!("_{name}._{protocol}.{host}");
                        zone.services.entry(name).or_default().push((number, own.clone()));
                    }
                }
            }
        }
    }
}

fn addresses(endpoint: &Value) -> impl Iterator<Item = Ipv4Addr> + '_ {
    array(&endpoint["addresses"]).iter().filter_map(|text| text.as_str()?.parse().ok())
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str, ip: &str) -> Arc<Value> {
        Arc::new(json!({"metadata": {"name": name, "namespace": "shop"},
            "spec": {"clusterIP": ip, "ports": [{"name": "http", "port": 80}]}}))
    }

    fn slice(service: &str, endpoints: Value) -> Arc<Value> {
        Arc::new(json!({"metadata": {"name": format!("{service}-1"), "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service}},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints}))
    }

    fn endpoint(ip: &str, ready: bool, terminating: bool) -> Value {
        json!({"addresses": [ip], "conditions": {"ready": ready, "serving": ready || terminating, "terminating": terminating}})
    }

    #[test]
    fn connections_go_to_ready_endpoints_else_to_ending_ones() {
        let check = |endpoints: Value, expected: &[&str]| {
            let offer = plan(&[service("web", "10.96.0.20")], &[slice("web", endpoints.clone())]);
            let found = offer.table.get(&(Ipv4Addr::new(10, 96, 0, 20), 80)).cloned().unwrap_or_default();
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{endpoints}");
        };
        let (one, two) = (endpoint("10.244.0.2", true, false), endpoint("10.244.0.3", false, false));
        let ending = endpoint("10.244.0.4", false, true);
        check(json!([one, two, ending]), &["10.244.0.2:8080"]);
        check(json!([two, ending]), &["10.244.0.4:8080"]);
        check(json!([two]), &[]);
    }

    #[test]
    fn names_of_services_and_of_pods_of_headless_ones() {
        let mut named = endpoint("10.244.0.9", true, false);
        named["hostname"] = "db-0".into();
        let services = [service("web", "10.96.0.20"), service("db", "None"), service("none", "None")];
        let zone = plan(&services, &[slice("db", json!([named]))]).zone;
        let check = |name: &str, expected: Option<&str>| {
            let found = zone.hosts.get(name).map(|all| all[0].to_string());
            assert_eq!(found.as_deref(), expected, "{name}");
        };
        check("web.shop.svc.cluster.local", Some("10.96.0.20"));
        check("db.shop.svc.cluster.local", Some("10.244.0.9"));
        check("db-0.db.shop.svc.cluster.local", Some("10.244.0.9"));
        check("none.shop.svc.cluster.local", None);
        assert_eq!(
            zone.services["_http._tcp.db.shop.svc.cluster.local"],
            [(8080, "db-0.db.shop.svc.cluster.local".to_owned())]
        );
        assert_eq!(zone.services["_http._tcp.web.shop.svc.cluster.local"][0].0, 80);
    }
}
