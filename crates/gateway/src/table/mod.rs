//! The routing table: from the clusters' objects to hosts, paths and endpoints. A pure function of its input.
//!
//! Semantics: Ingress v1 (`networking.k8s.io/v1` types: exact hosts before wildcards before none, the longest path first,
//! `Exact` before `Prefix`, prefixes by path element; `ImplementationSpecific` means `Prefix`), HTTPRoute v1 for matches and
//! weights, kube-proxy for endpoints (ready ones; if there are none, terminating ones that still serve).

mod backends;
mod httproute;
mod ingress;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, Method};
use object::Key;
use serde_json::Value;

use backends::Backends;
pub(crate) use ingress::is_ours;

/// Most rules in one table: what exceeds it is left out and logged. Far beyond the three clusters of a platform.
pub const MAX_RULES: usize = 50_000;

/// The objects of one cluster.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The cluster's name.
    pub name: String,
    pub ingresses: Vec<Arc<Value>>,
    pub ingress_classes: Vec<Arc<Value>>,
    pub http_routes: Vec<Arc<Value>>,
    pub services: Vec<Arc<Value>>,
    pub endpoint_slices: Vec<Arc<Value>>,
}

/// Where requests go.
#[derive(Debug, Default)]
pub struct Table {
    hosts: HashMap<String, Vec<Rule>>,
    /// By what follows the star: `.example.com`.
    wildcards: BTreeMap<String, Vec<Rule>>,
    any: Vec<Rule>,
    default: Option<Rule>,
    /// Each service and port once; rules name them by index.
    pub backends: Vec<Backend>,
    /// Hosts that an object claims although another cluster has them.
    pub conflicts: Vec<Conflict>,
}

/// One path (and headers) of a host.
#[derive(Debug)]
pub struct Rule {
    pub path: PathMatch,
    pub method: Option<Method>,
    /// Lower-case names and exact values.
    pub headers: Vec<(String, String)>,
    pub action: Action,
    /// For ties: older objects first.
    origin: (String, usize, Key),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    Exact(String),
    /// Without a slash at the end; empty for `/`.
    Prefix(String),
}

#[derive(Debug)]
pub enum Action {
    /// Backends by index, with weights.
    Forward(Weighted),
    /// A route that asks for what is not there, in words for an administrator.
    Refuse(String),
}

/// Backends that share requests exactly by their weights.
#[derive(Debug, Default)]
pub struct Weighted {
    entries: Vec<(usize, u64)>,
    turn: AtomicU64,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Index of the cluster.
    pub cluster: usize,
    pub service: Key,
    /// As Traefik names it: `<namespace>-<service>-<port>@kubernetes`.
    pub label: String,
    pub targets: Targets,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    Ready(Vec<Address>),
    /// Why there is no endpoint: a sentence for the error page.
    None(String),
}

/// A pod's port in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Index of the cluster.
    pub cluster: usize,
    pub ip: IpAddr,
    pub port: u16,
}

/// A host claimed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Index of the cluster whose claim does not count.
    pub cluster: usize,
    /// Its Ingress.
    pub ingress: Key,
    /// Empty for "every host".
    pub host: String,
    /// Name of the cluster that has the host.
    pub owner: String,
}

impl Table {
    /// Builds the table. The order of `inputs` is the order of the clusters.
    pub fn build(inputs: &[Input]) -> Table {
        let mut table = Table::default();
        let mut owners: HashMap<String, usize> = HashMap::new();
        let mut backends = Backends::default();
        for (cluster, input) in inputs.iter().enumerate() {
            let services = backends.of_cluster(cluster, input);
            let mut claims = Vec::new();
            ingress::read(input, cluster, services, &mut backends, &mut claims);
            httproute::read(input, cluster, services, &mut backends, &mut claims);
            for claim in claims {
                let owner = *owners.entry(claim.host.clone()).or_insert(cluster);
                if owner == cluster {
                    table.add(claim);
                } else {
                    table.conflict(cluster, claim, &inputs[owner].name);
                }
            }
        }
        table.backends = backends.list;
        let lists = table.hosts.values_mut().chain(table.wildcards.values_mut()).chain([&mut table.any]);
        lists.for_each(|rules| rules.sort_by(precedence));
        table
    }

    fn add(&mut self, claim: Claim) {
        let count: usize = self.hosts.values().chain(self.wildcards.values()).map(Vec::len).sum();
        if count + self.any.len() >= MAX_RULES {
            tracing::warn!(host = claim.host, "more than {MAX_RULES} routes: this one is left out");
            return;
        }
        if claim.default {
            self.default.get_or_insert(claim.rule);
        } else if claim.host.is_empty() {
            self.any.push(claim.rule);
        } else if let Some(suffix) = claim.host.strip_prefix('*') {
            self.wildcards.entry(suffix.to_string()).or_default().push(claim.rule);
        } else {
            self.hosts.entry(claim.host).or_default().push(claim.rule);
        }
    }

    fn conflict(&mut self, cluster: usize, claim: Claim, owner: &str) {
        let conflict =
            Conflict { cluster, ingress: claim.rule.origin.2, host: claim.host, owner: owner.to_string() };
        if claim.is_ingress && !self.conflicts.contains(&conflict) {
            self.conflicts.push(conflict);
        }
    }

    /// The rule for a request. `host` is in lower case and without port.
    pub fn route(&self, host: &str, path: &str, method: &Method, headers: &HeaderMap) -> Option<&Rule> {
        let of_host = self.hosts.get(host).or_else(|| {
            // One label under the star.
            let suffix = host.find('.').map(|dot| &host[dot..])?;
            self.wildcards.get(suffix)
        });
        let rules = of_host.unwrap_or(&self.any);
        rules.iter().find(|rule| rule.matches(path, method, headers)).or(self.default.as_ref())
    }
}

impl Rule {
    fn matches(&self, path: &str, method: &Method, headers: &HeaderMap) -> bool {
        let header = |(name, value): &(String, String)| {
            headers.get_all(name).iter().any(|found| found.as_bytes() == value.as_bytes())
        };
        self.path.matches(path)
            && self.method.as_ref().is_none_or(|wanted| wanted == method)
            && self.headers.iter().all(header)
    }
}

impl PathMatch {
    fn prefix(path: &str) -> PathMatch {
        PathMatch::Prefix(path.trim_end_matches('/').to_string())
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            PathMatch::Exact(wanted) => wanted == path,
            PathMatch::Prefix(wanted) => path
                .strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }

    fn length(&self) -> usize {
        match self {
            PathMatch::Exact(path) | PathMatch::Prefix(path) => path.len(),
        }
    }
}

impl Weighted {
    fn new(entries: Vec<(usize, u64)>) -> Weighted {
        Weighted {
            entries: entries.into_iter().filter(|(_, weight)| *weight > 0).collect(),
            turn: AtomicU64::new(0),
        }
    }

    /// The index of the next backend; none if all weights are zero.
    pub fn pick(&self) -> Option<usize> {
        let total: u64 = self.entries.iter().map(|(_, weight)| weight).sum();
        let mut at = match total {
            0 => return None,
            // Every residue once in `total` turns, spread rather than in blocks.
            total => self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(stride(total)) % total,
        };
        for (backend, weight) in &self.entries {
            if at < *weight {
                return Some(*backend);
            }
            at -= weight;
        }
        None
    }
}

/// A number near the golden section of `total` that shares no factor with it.
fn stride(total: u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let golden = total.saturating_mul(618) / 1000;
    (golden.max(1)..=total.max(1)).find(|candidate| gcd(*candidate, total) == 1).unwrap_or(1)
}

/// A rule on its way into the table.
struct Claim {
    /// Lower case; empty for every host.
    host: String,
    rule: Rule,
    /// An Ingress' default backend.
    default: bool,
    is_ingress: bool,
}

/// Exact before prefix for the same length, longer before shorter, more conditions before fewer, then age.
fn precedence(a: &Rule, b: &Rule) -> std::cmp::Ordering {
    let exact = |rule: &Rule| matches!(rule.path, PathMatch::Exact(_));
    let key = |rule: &Rule| (exact(rule), rule.path.length(), rule.method.is_some(), rule.headers.len());
    key(b).cmp(&key(a)).then_with(|| a.origin.cmp(&b.origin))
}

#[cfg(test)]
mod tests;
