//! Services and their endpoints.

use std::collections::HashMap;

use object::{Key, meta};
use serde_json::Value;

use super::{Address, Backend, Input, Targets};

/// Label on an EndpointSlice with the name of its service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The backends that rules refer to, each once.
#[derive(Default)]
pub(super) struct Backends<'a> {
    pub(super) list: Vec<Backend>,
    known: HashMap<(usize, Key, String, &'static str), usize>,
    clusters: Vec<Objects<'a>>,
}

#[derive(Default)]
struct Objects<'a> {
    services: HashMap<Key, &'a Value>,
    slices: HashMap<Key, Vec<&'a Value>>,
}

/// A cluster whose services have been read.
#[derive(Clone, Copy)]
pub(super) struct Services(usize);

impl<'a> Backends<'a> {
    pub(super) fn of_cluster(&mut self, cluster: usize, input: &'a Input) -> Services {
        let mut objects = Objects::default();
        objects.services.extend(input.services.iter().map(|service| (meta::key(service), service.as_ref())));
        for slice in &input.endpoint_slices {
            if let Some(name) = meta::label(slice, SERVICE_LABEL) {
                objects.slices.entry(Key::new(meta::namespace(slice), name)).or_default().push(slice);
            }
        }
        debug_assert_eq!(cluster, self.clusters.len());
        self.clusters.push(objects);
        Services(cluster)
    }

    /// `backend.service.name` and `.port.{number,name}` of an Ingress.
    pub(super) fn of_ingress(
        &mut self,
        services: Services,
        namespace: &str,
        backend: &Value,
    ) -> Option<usize> {
        let service = &backend["service"];
        let name = service["name"].as_str()?;
        let port = match (service["port"]["number"].as_u64(), service["port"]["name"].as_str()) {
            (Some(number), _) => number.to_string(),
            (None, name) => name?.to_string(),
        };
        Some(self.index(services, Key::new(namespace, name), port, "kubernetes"))
    }

    /// A `backendRef` of an HTTPRoute; only services of its own namespace, as no ReferenceGrant is looked at.
    pub(super) fn of_route(&mut self, services: Services, namespace: &str, backend: &Value) -> Option<usize> {
        let name = backend["name"].as_str()?;
        if !matches!(backend["kind"].as_str(), None | Some("Service")) {
            return None;
        }
        if backend["namespace"].as_str().is_some_and(|other| other != namespace) {
            return None;
        }
        let port = backend["port"].as_u64()?.to_string();
        Some(self.index(services, Key::new(namespace, name), port, "kubernetesgateway"))
    }

    fn index(&mut self, services: Services, service: Key, port: String, provider: &'static str) -> usize {
        let cluster = services.0;
        let identity = (cluster, service.clone(), port.clone(), provider);
        if let Some(index) = self.known.get(&identity) {
            return *index;
        }
        let targets = self.clusters[cluster].targets(cluster, &service, &port);
        let label = format!("{}-{}-{port}@{provider}", service.namespace, service.name);
        self.list.push(Backend { cluster, service, label, targets });
        self.known.insert(identity, self.list.len() - 1);
        self.list.len() - 1
    }
}

impl Objects<'_> {
    /// The endpoints of a service's port, given by number or name.
    fn targets(&self, cluster: usize, service: &Key, port: &str) -> Targets {
        let Some(object) = self.services.get(service) else {
            return Targets::None(format!("service {service} does not exist"));
        };
        if object["spec"]["type"].as_str() == Some("ExternalName") {
            return Targets::None(format!("service {service} is an ExternalName, which is not routed"));
        }
        let ports = object["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        let wanted = ports.iter().find(|candidate| {
            candidate["port"].as_u64().is_some_and(|number| number.to_string() == port)
                || candidate["name"].as_str() == Some(port)
        });
        let Some(wanted) = wanted else {
            return Targets::None(format!("service {service} has no port {port}"));
        };
        // Slices know a service's port by its name only.
        let name = wanted["name"].as_str().unwrap_or_default();
        let mut ready = Vec::new();
        let mut leaving = Vec::new();
        for slice in self.slices.get(service).into_iter().flatten() {
            let ports = slice["ports"].as_array().into_iter().flatten();
            let number = ports.filter(|port| port["name"].as_str().unwrap_or_default() == name);
            let number =
                number.filter_map(|port| port["port"].as_u64()).find_map(|port| u16::try_from(port).ok());
            let Some(port) = number else { continue };
            for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
                let Some(ip) = endpoint["addresses"][0].as_str().and_then(|text| text.parse().ok()) else {
                    continue;
                };
                let address = Address { cluster, ip, port };
                let condition = |name: &str| endpoint["conditions"][name].as_bool();
                if condition("ready").unwrap_or(true) {
                    ready.push(address);
                } else if condition("terminating") == Some(true) && condition("serving").unwrap_or(false) {
                    leaving.push(address);
                }
            }
        }
        let mut chosen = if ready.is_empty() { leaving } else { ready };
        chosen.sort();
        chosen.dedup();
        if chosen.is_empty() {
            return Targets::None(format!("service {service} has no ready endpoint"));
        }
        Targets::Ready(chosen)
    }
}
