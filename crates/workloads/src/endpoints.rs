//! EndpointSlices, and the older Endpoints, of Services with a selector
//! (`staging/src/k8s.io/endpointslice/reconciler.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use controller::{Cache, Cluster, Controller, Next, Patch, Propagation, ReconcileError, Reconciler};
use object::selector::LabelSelector;
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::Work;
use crate::hash::random_suffix;
use crate::pods::{is_finished, is_ready};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Endpoints in one slice (`--max-endpoints-per-slice`).
const SLICE_LIMIT: usize = 100;
/// Addresses in one Endpoints object; more are left out and the object says so.
const ENDPOINTS_LIMIT: usize = 1000;

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let (services, pods, slices, endpoints) = (
        cluster.watch(&kinds::SERVICE),
        cluster.watch(&kinds::POD),
        cluster.watch(&kinds::ENDPOINT_SLICE),
        cluster.watch(&kinds::ENDPOINTS),
    );
    let selecting = services.clone();
    let work = Work::new(&cluster, "endpoint-slice-controller");
    let reconciler = Endpoints { work, services, pods, slices, endpoints };
    let controller = Controller::new("endpoints", &cluster, &kinds::SERVICE)
        .owns(&kinds::ENDPOINT_SLICE, "Service")
        .watches(&kinds::ENDPOINTS, |endpoints| vec![meta::key(endpoints)])
        .watches(&kinds::POD, move |pod| services_of(&selecting, pod));
    controller.run(Arc::new(reconciler), stop).await;
}

fn services_of(services: &Cache, pod: &Value) -> Vec<Key> {
    let labels = &pod["metadata"]["labels"];
    let selects = |s: &Arc<Value>| LabelSelector::from_map(&s["spec"]["selector"]).matches(labels);
    services.list_in(meta::namespace(pod)).iter().filter(|s| selects(s)).map(|s| meta::key(s)).collect()
}

struct Endpoints {
    work: Work,
    services: Cache,
    pods: Cache,
    slices: Cache,
    endpoints: Cache,
}

impl Reconciler for Endpoints {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(service) = self.services.get(key) else {
            return self.remove(key).await;
        };
        let has_selector = service["spec"]["selector"].as_object().is_some_and(|s| !s.is_empty());
        if !has_selector || service["spec"]["type"] == "ExternalName" || meta::is_being_deleted(&service) {
            return Ok(Next::Done);
        }
        let selector = LabelSelector::from_map(&service["spec"]["selector"]);
        let mut pods = self.pods.list_in(&key.namespace);
        pods.retain(|pod| selector.matches(&pod["metadata"]["labels"]) && has_address(pod));
        self.write_slices(&service, &pods).await?;
        self.write_endpoints(&service, &pods).await?;
        Ok(Next::Done)
    }
}

impl Endpoints {
    /// The slices go by their owner reference; Endpoints have none and go here, if this controller made them.
    async fn remove(&self, key: &Key) -> Result<Next, ReconcileError> {
        let ours = |e: &Arc<Value>| meta::label(e, MANAGED_BY) == Some("endpoint-controller");
        if self.endpoints.get(key).as_ref().is_some_and(ours) {
            self.work.cluster.delete(&kinds::ENDPOINTS, key, None, Propagation::Background).await?;
        }
        Ok(Next::Done)
    }

    async fn write_slices(&self, service: &Value, pods: &[Arc<Value>]) -> Result<(), ReconcileError> {
        let cluster = &self.work.cluster;
        let ours = |slice: &Arc<Value>| {
            meta::label(slice, SERVICE_NAME) == Some(meta::name(service))
                && meta::label(slice, MANAGED_BY) == Some(MANAGER)
        };
        let existing: Vec<Arc<Value>> =
            self.slices.list_in(meta::namespace(service)).into_iter().filter(ours).collect();
        let mut free: Vec<Arc<Value>> = existing;
        let mut missing = vec![];
        for wanted in slices(service, pods) {
            // The slice with the same ports is kept, so that an unchanged one is not written.
            let same = free.iter().position(|slice| {
                slice["ports"] == wanted["ports"] && slice["endpoints"] == wanted["endpoints"]
            });
            match same.or_else(|| free.iter().position(|slice| slice["ports"] == wanted["ports"])) {
                Some(at) => self.update_slice(&free.swap_remove(at), &wanted).await?,
                None => missing.push(wanted),
            }
        }
        for mut wanted in missing {
            if let Some(slice) = free.pop() {
                self.update_slice(&slice, &wanted).await?;
                continue;
            }
            wanted["metadata"]["name"] = format!("{}-{}", meta::name(service), random_suffix()).into();
            cluster.create(&kinds::ENDPOINT_SLICE, &wanted).await?;
        }
        for slice in free {
            cluster
                .delete(
                    &kinds::ENDPOINT_SLICE,
                    &meta::key(&slice),
                    Some(meta::uid(&slice)),
                    Propagation::Background,
                )
                .await?;
        }
        Ok(())
    }

    async fn update_slice(&self, slice: &Value, wanted: &Value) -> Result<(), ReconcileError> {
        let labels = &wanted["metadata"]["labels"];
        let same = slice["endpoints"] == wanted["endpoints"]
            && slice["ports"] == wanted["ports"]
            && slice["metadata"]["labels"] == *labels;
        if same {
            return Ok(());
        }
        let patch = json!({
            "metadata": {"resourceVersion": meta::resource_version(slice), "labels": labels},
            "endpoints": wanted["endpoints"], "ports": wanted["ports"],
        });
        self.work.cluster.patch(&kinds::ENDPOINT_SLICE, &meta::key(slice), "", Patch::Merge(&patch)).await?;
        Ok(())
    }

    async fn write_endpoints(&self, service: &Value, pods: &[Arc<Value>]) -> Result<(), ReconcileError> {
        let wanted = endpoints(service, pods);
        let Some(existing) = self.endpoints.get(&meta::key(service)) else {
            return match self.work.cluster.create(&kinds::ENDPOINTS, &wanted).await {
                Err(error) if !error.is_already_exists() => Err(error.into()),
                _ => Ok(()),
            };
        };
        let subsets = |e: &Value| e["subsets"].as_array().cloned().unwrap_or_default();
        if subsets(&existing) != subsets(&wanted) {
            let patch =
                json!({"metadata": {"labels": wanted["metadata"]["labels"]}, "subsets": wanted["subsets"]});
            self.work.cluster.patch(&kinds::ENDPOINTS, &meta::key(service), "", Patch::Merge(&patch)).await?;
        }
        Ok(())
    }
}

fn has_address(pod: &Value) -> bool {
    pod["status"]["podIP"].as_str().is_some_and(|ip| !ip.is_empty()) && !is_finished(pod)
}

/// The slices a Service should have: one for each distinct set of resolved ports, at most 100 endpoints in each.
fn slices(service: &Value, pods: &[Arc<Value>]) -> Vec<Value> {
    let mut groups: BTreeMap<String, (Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for pod in pods {
        let ports = ports_for(service, pod);
        let group = groups.entry(Value::from(ports.clone()).to_string()).or_insert((ports, vec![]));
        group.1.push(endpoint(service, pod));
    }
    if groups.is_empty() {
        // A Service without pods still has a slice, with no endpoints.
        groups.insert(String::new(), (vec![], vec![]));
    }
    let mut out = vec![];
    for (ports, endpoints) in groups.into_values() {
        let mut chunks: Vec<&[Value]> = endpoints.chunks(SLICE_LIMIT).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        out.extend(chunks.into_iter().map(|chunk| slice(service, &ports, chunk)));
    }
    out
}

fn slice(service: &Value, ports: &[Value], endpoints: &[Value]) -> Value {
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), meta::name(service).into());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    if is_headless(service) {
        labels.insert(HEADLESS.into(), "".into());
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": meta::namespace(service),
            "labels": labels,
            "ownerReferences": [meta::controller_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    })
}

fn is_headless(service: &Value) -> bool {
    service["spec"]["clusterIP"] == "None"
}

/// The Service's ports as this pod has them: a named target port may differ from pod to pod, and is left out where
/// no container declares it.
fn ports_for(service: &Value, pod: &Value) -> Vec<Value> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    ports
        .filter_map(|port| {
            let number = target_port(port, pod)?;
            let mut out = json!({
                "name": port["name"].as_str().unwrap_or_default(),
                "protocol": port["protocol"].as_str().unwrap_or("TCP"),
                "port": number,
            });
            if let Some(protocol) = port.get("appProtocol").filter(|p| p.is_string()) {
                out["appProtocol"] = protocol.clone();
            }
            Some(out)
        })
        .collect()
}

fn target_port(port: &Value, pod: &Value) -> Option<i64> {
    match &port["targetPort"] {
        Value::Number(number) => number.as_i64(),
        Value::String(name) => named_port(pod, name, port["protocol"].as_str().unwrap_or("TCP")),
        _ => port["port"].as_i64(),
    }
}

fn named_port(pod: &Value, name: &str, protocol: &str) -> Option<i64> {
    let sidecars = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    let sidecars = sidecars.filter(|c| c["restartPolicy"] == "Always");
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten().chain(sidecars);
    let mut ports = containers.flat_map(|c| c["ports"].as_array().into_iter().flatten());
    let found = ports.find(|p| p["name"] == name && p["protocol"].as_str().unwrap_or("TCP") == protocol)?;
    found["containerPort"].as_i64()
}

fn endpoint(service: &Value, pod: &Value) -> Value {
    let (serving, terminating) = (is_ready(pod), meta::is_being_deleted(pod));
    let ready = service["spec"]["publishNotReadyAddresses"] == true || (serving && !terminating);
    let mut endpoint = json!({
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": target_ref(pod),
    });
    if let Some(hostname) = hostname(service, pod) {
        endpoint["hostname"] = hostname.into();
    }
    if let Some(node) = pod["spec"]["nodeName"].as_str() {
        endpoint["nodeName"] = node.into();
    }
    endpoint
}

fn target_ref(pod: &Value) -> Value {
    json!({"kind": "Pod", "namespace": meta::namespace(pod), "name": meta::name(pod), "uid": meta::uid(pod)})
}

fn hostname<'a>(service: &Value, pod: &'a Value) -> Option<&'a str> {
    let subdomain = pod["spec"]["subdomain"].as_str()?;
    pod["spec"]["hostname"].as_str().filter(|h| !h.is_empty() && subdomain == meta::name(service))
}

/// Ports, ready and unready addresses.
type Subset = (Vec<Value>, Vec<Value>, Vec<Value>);

/// The Endpoints object: one subset for each distinct set of ports.
fn endpoints(service: &Value, pods: &[Arc<Value>]) -> Value {
    let mut groups: BTreeMap<String, Subset> = BTreeMap::new();
    for pod in pods.iter().take(ENDPOINTS_LIMIT) {
        let mut ports = ports_for(service, pod);
        for port in &mut ports {
            if let Some(map) = port.as_object_mut().filter(|map| map["name"] == "") {
                map.shift_remove("name");
            }
        }
        if ports.is_empty() && !is_headless(service) {
            continue;
        }
        let mut address = json!({"ip": pod["status"]["podIP"], "targetRef": target_ref(pod)});
        if let Some(hostname) = hostname(service, pod) {
            address["hostname"] = hostname.into();
        }
        if let Some(node) = pod["spec"]["nodeName"].as_str() {
            address["nodeName"] = node.into();
        }
        let group = groups.entry(Value::from(ports.clone()).to_string()).or_insert((ports, vec![], vec![]));
        let tolerated = service["spec"]["publishNotReadyAddresses"] == true;
        if tolerated || (is_ready(pod) && !meta::is_being_deleted(pod)) {
            group.1.push(address);
        } else if !meta::is_being_deleted(pod) {
            group.2.push(address);
        }
    }
    let mut subsets = vec![];
    for (ports, ready, unready) in groups.into_values().filter(|(_, a, b)| !(a.is_empty() && b.is_empty())) {
        let mut subset = json!({});
        for (field, list) in [("addresses", ready), ("notReadyAddresses", unready), ("ports", ports)] {
            if !list.is_empty() {
                subset[field] = list.into();
            }
        }
        subsets.push(subset);
    }
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(MANAGED_BY.into(), "endpoint-controller".into());
    if is_headless(service) {
        labels.insert(HEADLESS.into(), "".into());
    }
    let mut out = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": meta::name(service), "namespace": meta::namespace(service), "labels": labels},
        "subsets": subsets,
    });
    if pods.len() > ENDPOINTS_LIMIT {
        meta::set_annotation(&mut out, "endpoints.kubernetes.io/over-capacity", "truncated");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(change: Value) -> Value {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "n", "uid": "s", "labels": {"team": "t"}},
            "spec": {"clusterIP": "10.96.0.5", "selector": {"app": "web"},
                     "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]},
        });
        object::patch::merge::apply(&service, &change)
    }

    fn pod(name: &str, ready: bool, change: Value) -> Arc<Value> {
        let pod = json!({
            "metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"nodeName": "node", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 3000}]}]},
            "status": {"phase": "Running", "podIP": "10.244.0.7", "conditions": [
                {"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        });
        Arc::new(object::patch::merge::apply(&pod, &change))
    }

    #[test]
    fn the_life_of_one_pod_in_a_slice() {
        let check = |ready: bool, change: Value, publish: bool, expected: Value| {
            let service = service(json!({"spec": {"publishNotReadyAddresses": publish}}));
            let slices = slices(&service, &[pod("a", ready, change)]);
            assert_eq!(slices[0]["endpoints"][0]["conditions"], expected);
        };
        let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        check(false, json!({}), false, json!({"ready": false, "serving": false, "terminating": false}));
        check(true, json!({}), false, json!({"ready": true, "serving": true, "terminating": false}));
        check(true, leaving.clone(), false, json!({"ready": false, "serving": true, "terminating": true}));
        check(false, leaving, true, json!({"ready": true, "serving": false, "terminating": true}));
    }

    #[test]
    fn named_ports_group_pods_by_their_number() {
        let other = json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]}});
        let pods = [pod("a", true, json!({})), pod("b", true, other), pod("c", true, json!({}))];
        let slices = slices(&service(json!({})), &pods);
        let shape: Vec<(i64, usize)> = slices
            .iter()
            .map(|s| (s["ports"][0]["port"].as_i64().unwrap(), s["endpoints"].as_array().unwrap().len()))
            .collect();
        assert_eq!(shape, [(3000, 2), (8080, 1)]);
        assert_eq!(
            slices[0]["metadata"]["labels"],
            json!({"team": "t", SERVICE_NAME: "web", MANAGED_BY: MANAGER})
        );
        let subsets = endpoints(&service(json!({})), &pods)["subsets"].clone();
        assert_eq!(subsets[0]["ports"], json!([{"name": "http", "protocol": "TCP", "port": 3000}]));
        assert_eq!(subsets[0]["addresses"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_hostname_needs_the_matching_subdomain() {
        let named =
            |subdomain: &str| pod("a", true, json!({"spec": {"hostname": "web-0", "subdomain": subdomain}}));
        let headless = service(json!({"spec": {"clusterIP": "None"}}));
        let hostname =
            |subdomain: &str| slices(&headless, &[named(subdomain)])[0]["endpoints"][0]["hostname"].clone();
        assert_eq!((hostname("web"), hostname("db")), (json!("web-0"), Value::Null));
        assert_eq!(slices(&headless, &[])[0]["metadata"]["labels"][HEADLESS], "");
    }
}
