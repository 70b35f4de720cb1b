//! Whether a pod fits a node, and which of the fitting nodes it gets: pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use object::meta;
use object::quantity::Quantity;
use serde_json::{Value, json};

/// A node and what its pods ask for.
pub(crate) struct Node {
    object: Arc<Value>,
    used: BTreeMap<String, i64>,
    pods: i64,
    host_ports: Vec<(i64, String)>,
}

/// Where a pod goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// To this node.
    Node(String),
    /// Nowhere, for this reason, in the scheduler's words.
    Nowhere(String),
}

/// Names of the PersistentVolumeClaims that a pod mounts.
pub(super) fn claims(pod: &Value) -> impl Iterator<Item = &str> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.filter_map(|v| v["persistentVolumeClaim"]["claimName"].as_str())
}

/// Picks the node with the most room among those where the pod may run.
pub(super) fn choose(pod: &Value, nodes: &[Node], known_claims: &[Arc<Value>]) -> Verdict {
    if nodes.is_empty() {
        return Verdict::Nowhere("no nodes available to schedule pods".to_owned());
    }
    let total = nodes.len();
    for name in claims(pod) {
        let claim = known_claims.iter().find(|claim| meta::name(claim) == name);
        let problem = match claim {
            None => "not found",
            Some(claim) if meta::is_being_deleted(claim) => "is being deleted",
            Some(_) => continue,
        };
        return Verdict::Nowhere(format!(
            "0/{total} nodes are available: persistentvolumeclaim {name:?} {problem}."
        ));
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<(i64, &Node)> = None;
    for node in nodes {
        let problems = node.problems(pod);
        if problems.is_empty() {
            let score = node.room(pod);
            if best.is_none_or(|(top, _)| score > top) {
                best = Some((score, node));
            }
        }
        for problem in problems {
            *reasons.entry(problem).or_default() += 1;
        }
    }
    if let Some((_, node)) = best {
        return Verdict::Node(node.name().to_owned());
    }
    let mut texts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    texts.sort();
    Verdict::Nowhere(format!("0/{total} nodes are available: {}.", texts.join(", ")))
}

impl Node {
    pub(super) fn new(object: Arc<Value>) -> Self {
        Self { object, used: BTreeMap::new(), pods: 0, host_ports: vec![] }
    }

    pub(crate) fn name(&self) -> &str {
        meta::name(&self.object)
    }

    /// Counts a pod that runs here.
    pub(super) fn carry(&mut self, pod: &Value) {
        self.pods += 1;
        for (resource, amount) in requests(pod) {
            *self.used.entry(resource).or_default() += amount;
        }
        self.host_ports.extend(host_ports(pod));
    }

    /// Why the pod cannot run here: the first failing filter's reasons.
    fn problems(&self, pod: &Value) -> Vec<String> {
        let one = |text: &str| vec![text.to_owned()];
        if let Some(problem) = placement_problem(pod, &self.object) {
            return one(problem);
        }
        if host_ports(pod).iter().any(|port| self.host_ports.contains(port)) {
            return one("node(s) didn't have free ports for the requested pod ports");
        }
        let mut problems = vec![];
        if self.allocatable("pods").is_some_and(|limit| self.pods + 1 > limit) {
            problems.push("Too many pods".to_owned());
        }
        for (resource, amount) in requests(pod) {
            let used = self.used.get(&resource).copied().unwrap_or(0);
            if amount > 0 && self.allocatable(&resource).unwrap_or(0) < used + amount {
                problems.push(format!("Insufficient {resource}"));
            }
        }
        problems
    }

    /// Per cent of CPU and memory left with the pod on it (LeastAllocated).
    fn room(&self, pod: &Value) -> i64 {
        let asked = requests(pod);
        let left = ["cpu", "memory"].map(|resource| {
            let capacity = self.allocatable(resource).unwrap_or(0).max(1);
            let used =
                self.used.get(resource).copied().unwrap_or(0) + asked.get(resource).copied().unwrap_or(0);
            ((capacity - used).max(0) * 100).checked_div(capacity).unwrap_or(0)
        });
        left.iter().sum()
    }

    fn allocatable(&self, resource: &str) -> Option<i64> {
        let status = &self.object["status"];
        let amounts =
            if status["allocatable"].is_object() { &status["allocatable"] } else { &status["capacity"] };
        Some(amount(resource, amounts.get(resource)?))
    }
}

/// Why the pod may not be on the node whatever room there is: cordon, name, taints, affinity.
pub(crate) fn placement_problem(pod: &Value, node: &Value) -> Option<&'static str> {
    let cordon = json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    if node["spec"]["unschedulable"] == true && !tolerates(pod, &cordon) {
        return Some("node(s) were unschedulable");
    }
    if untolerated(pod, node, &["NoSchedule", "NoExecute"]) {
        return Some("node(s) had untolerated taint(s)");
    }
    if !matches_affinity(pod, node) {
        return Some("node(s) didn't match Pod's node affinity/selector");
    }
    None
}

/// Whether the node has a taint of one of these effects that the pod does not tolerate.
pub(crate) fn untolerated(pod: &Value, node: &Value, effects: &[&str]) -> bool {
    let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
    taints.any(|t| t["effect"].as_str().is_some_and(|e| effects.contains(&e)) && !tolerates(pod, t))
}

fn tolerates(pod: &Value, taint: &Value) -> bool {
    pod["spec"]["tolerations"].as_array().into_iter().flatten().any(|toleration| {
        let text = |field: &str| toleration[field].as_str().unwrap_or_default();
        let taint_text = |field: &str| taint[field].as_str().unwrap_or_default();
        let effect = text("effect").is_empty() || text("effect") == taint_text("effect");
        let key = text("key").is_empty() || text("key") == taint_text("key");
        let value =
            text("operator") == "Exists" || (!text("key").is_empty() && text("value") == taint_text("value"));
        effect && key && value
    })
}

/// `nodeSelector` and the required node affinity.
pub(crate) fn matches_affinity(pod: &Value, node: &Value) -> bool {
    let labels = &node["metadata"]["labels"];
    let selector = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let selected = selector.into_iter().all(|(key, value)| labels.get(key) == Some(value));
    let terms = required["nodeSelectorTerms"].as_array();
    selected && terms.is_none_or(|terms| terms.iter().any(|term| term_matches(term, node)))
}

fn term_matches(term: &Value, node: &Value) -> bool {
    let list = |field: &str| term[field].as_array().cloned().unwrap_or_default();
    let (expressions, fields) = (list("matchExpressions"), list("matchFields"));
    let label = |key: &str| node["metadata"]["labels"].get(key).and_then(Value::as_str);
    let field = |key: &str| (key == "metadata.name").then(|| meta::name(node));
    let any = !(expressions.is_empty() && fields.is_empty());
    any && expressions.iter().all(|r| requirement(r, &label)) && fields.iter().all(|r| requirement(r, &field))
}

fn requirement<'a>(requirement: &Value, lookup: &dyn Fn(&str) -> Option<&'a str>) -> bool {
    let actual = lookup(requirement["key"].as_str().unwrap_or_default());
    let values: Vec<&str> =
        requirement["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let compare = |test: fn(i64, i64) -> bool| {
        let actual: Option<i64> = actual.and_then(|a| a.parse().ok());
        let bound: Option<i64> = values.first().and_then(|v| v.parse().ok());
        actual.zip(bound).is_some_and(|(a, b)| test(a, b))
    };
    match requirement["operator"].as_str() {
        Some("In") => actual.is_some_and(|a| values.contains(&a)),
        Some("NotIn") => actual.is_none_or(|a| !values.contains(&a)),
        Some("Exists") => actual.is_some(),
        Some("DoesNotExist") => actual.is_none(),
        Some("Gt") => compare(|a, b| a > b),
        Some("Lt") => compare(|a, b| a < b),
        _ => false,
    }
}

/// What a pod needs at once: the sum of its containers and sidecars, or the largest init container with the sidecars
/// before it, whichever is more, plus the overhead. CPU in thousandths, the rest in whole units.
fn requests(pod: &Value) -> BTreeMap<String, i64> {
    let mut running = BTreeMap::new();
    for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
        add(&mut running, &container["resources"]["requests"]);
    }
    let (mut sidecars, mut peak) = (BTreeMap::new(), BTreeMap::new());
    for init in pod["spec"]["initContainers"].as_array().into_iter().flatten() {
        let mut now: BTreeMap<String, i64> = sidecars.clone();
        add(&mut now, &init["resources"]["requests"]);
        if init["restartPolicy"] == "Always" {
            sidecars = now.clone();
        }
        raise(&mut peak, &now);
    }
    for (resource, amount) in sidecars {
        *running.entry(resource).or_default() += amount;
    }
    raise(&mut running, &peak);
    add(&mut running, &pod["spec"]["overhead"]);
    running
}

fn add(total: &mut BTreeMap<String, i64>, amounts: &Value) {
    for (resource, value) in amounts.as_object().into_iter().flatten() {
        *total.entry(resource.clone()).or_default() += amount(resource, value);
    }
}

fn raise(total: &mut BTreeMap<String, i64>, other: &BTreeMap<String, i64>) {
    for (resource, amount) in other {
        let entry = total.entry(resource.clone()).or_default();
        *entry = (*entry).max(*amount);
    }
}

fn amount(resource: &str, value: &Value) -> i64 {
    let quantity = Quantity::from_value(value).unwrap_or(Quantity::ZERO);
    if resource == "cpu" { quantity.milli_value() } else { quantity.value() }
}

fn host_ports(pod: &Value) -> Vec<(i64, String)> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let ports = containers.flat_map(|c| c["ports"].as_array().into_iter().flatten());
    let taken = ports.filter_map(|port| {
        let number = port["hostPort"].as_i64().filter(|p| *p > 0)?;
        Some((number, port["protocol"].as_str().unwrap_or("TCP").to_owned()))
    });
    taken.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(change: Value) -> Node {
        let node = json!({
            "metadata": {"name": "n1", "labels": {"disk": "ssd", "cores": "8"}},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "2"}},
        });
        Node::new(Arc::new(object::patch::merge::apply(&node, &change)))
    }

    fn asking(requests: Value) -> Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}})
    }

    #[test]
    fn each_filter_gives_its_reason() {
        let check = |node: Node, pod: Value, expected: &str| {
            let verdict = choose(&pod, &[node], &[]);
            let expected = if expected.is_empty() {
                Verdict::Node("n1".into())
            } else {
                Verdict::Nowhere(format!("0/1 nodes are available: {expected}."))
            };
            assert_eq!(verdict, expected, "{pod}");
        };
        let taint = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
        let plain = || node(json!({}));
        check(plain(), asking(json!({"cpu": "2", "memory": "512Mi"})), "");
        check(
            plain(),
            asking(json!({"cpu": "2100m", "memory": "2Gi"})),
            "1 Insufficient cpu, 1 Insufficient memory",
        );
        check(plain(), asking(json!({"example.com/gpu": 1})), "1 Insufficient example.com/gpu");
        check(
            node(json!({"spec": {"unschedulable": true}})),
            asking(json!({})),
            "1 node(s) were unschedulable",
        );
        check(node(taint.clone()), asking(json!({})), "1 node(s) had untolerated taint(s)");
        let tolerant = json!({"spec": {"tolerations": [{"key": "k", "operator": "Equal", "value": "v"}]}});
        check(node(taint.clone()), tolerant, "");
        check(node(taint), json!({"spec": {"tolerations": [{"operator": "Exists"}]}}), "");
        let mismatch = "1 node(s) didn't match Pod's node affinity/selector";
        check(plain(), json!({"spec": {"nodeSelector": {"disk": "hdd"}}}), mismatch);
        let affinity = |expression: Value| {
            json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}}})
        };
        check(plain(), affinity(json!({"key": "cores", "operator": "Gt", "values": ["4"]})), "");
        check(plain(), affinity(json!({"key": "disk", "operator": "NotIn", "values": ["ssd"]})), mismatch);
        let claim = json!({"spec": {"volumes": [{"persistentVolumeClaim": {"claimName": "x"}}]}});
        check(plain(), claim, "persistentvolumeclaim \"x\" not found");
        let mut full = plain();
        full.carry(&asking(json!({})));
        full.carry(&asking(json!({"cpu": "1500m"})));
        check(full, asking(json!({"cpu": "1"})), "1 Insufficient cpu, 1 Too many pods");
    }

    #[test]
    fn the_emptiest_node_wins() {
        let mut busy = node(json!({}));
        busy.carry(&asking(json!({"cpu": "1"})));
        let free = node(json!({"metadata": {"name": "n2"}}));
        assert_eq!(choose(&asking(json!({"cpu": "100m"})), &[busy, free], &[]), Verdict::Node("n2".into()));
    }

    #[test]
    fn init_containers_count_by_their_peak() {
        let pod = json!({"spec": {
            "containers": [{"resources": {"requests": {"cpu": "100m"}}}],
            "initContainers": [
                {"resources": {"requests": {"cpu": "50m"}}, "restartPolicy": "Always"},
                {"resources": {"requests": {"cpu": "500m"}}}],
            "overhead": {"cpu": "10m"},
        }});
        assert_eq!(requests(&pod)["cpu"], 560);
    }
}
