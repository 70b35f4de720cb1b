//! Patches that fit the objects of a tree, most of the time.

use crate::dice::{Dice, LABELS};
use crate::entries::Layout;
use crate::plan::Known;
use crate::template::{Places, expand, indented};

const POD: &str = "\
containers:
- name: main
  image: @image #?
  env: #?
  - name: HOST
    value: @string
  - name: LEVEL #?4
    $patch: delete
  - name: NEW #?
    value: @string
  ports: #?3
  - containerPort: 80
    protocol: @protocol #?
    name: patched #?
  - containerPort: 9090 #?
  args: [a, @string] #?4
  command: #?6
  - replaced
  resources: null #?5
  livenessProbe: #?6
    httpGet: null
    tcpSocket: {port: @port}
  volumeMounts: #?4
  - mountPath: /data
    name: other
  - mountPath: /new #?
    name: data
- name: extra #?4
  image: @image
- name: sidecar #?5
  $patch: delete
- $patch: replace #?12
volumes: #?4
- name: data
  emptyDir: {}
- name: config #?
  configMap: null
  $patch: delete #?
initContainers: #?6
- name: init
  image: @image
imagePullSecrets: #?6
- name: @any
tolerations: #?6
- key: b
  operator: Exists
affinity: null #?6
hostAliases: #?6
- ip: 10.0.0.1
  hostnames: [c]
topologySpreadConstraints: #?6
- maxSkew: 2
  topologyKey: zone
  whenUnsatisfiable: DoNotSchedule
serviceAccountName: patched #?5
";

const WORKLOAD_SPEC: &str = "\
replicas: @int #?
strategy: #?6
  $patch: replace
  type: Recreate
selector: #?6
  matchLabels: {app: @label}
";

const METADATA: &str = "  labels: #?
    @labelkey: @label
    gone: null #?4
  annotations: #?3
    note: @string
    text: null #?
";

fn body(kind: &str) -> &'static str {
    match kind {
        "ConfigMap" => {
            "data: #?2\n  LEVEL: @string\n  MODE: null #?\n  new: @block #?\nbinaryData: null #?6\nimmutable: true #?6\n"
        }
        "Secret" => "data: #?\n  key: null\nstringData: #?\n  MODE: @string\n",
        "Service" => {
            "spec:\n  type: LoadBalancer #?\n  selector: #?\n    app: @label\n  ports:\n  - port: 80\n    name: patched #?\n    protocol: @protocol #?\n    targetPort: @port #?\n  - port: 9 #?\n"
        }
        "Ingress" => {
            "spec:\n  rules: #?\n  - host: b.example.com\n    http: {paths: []}\n  tls: null #?\n  ingressClassName: null #?\n"
        }
        "Widget" => {
            "spec:\n  size: @scalar #?\n  nested: #?\n    a: @scalar\n    b: null #?\n    d: @value #?\n  list: #?\n  - name: one\n    value: @scalar\n  - name: three #?\n    value: x\n  items: [@scalar] #?\n  empty: null #?\n  none: #?\n  - a\n  $patch: replace #?8\n"
        }
        "Gadget" => {
            "first:\n  x: @scalar\n  z: null #?\nthird: [] #?\nsecond: #?4\n  $patch: delete\nspec: #?\n  template:\n    spec:\n      containers:\n      - name: main\n        image: @image\n"
        }
        "Role" | "ClusterRole" => "rules:\n- apiGroups: [apps]\n  resources: [deployments]\n  verbs: [get]\n",
        "RoleBinding" | "ClusterRoleBinding" => {
            "subjects: #?\n- kind: ServiceAccount\n  name: @ServiceAccount\nroleRef: #?4\n  name: @Role\n"
        }
        "ServiceAccount" => "secrets:\n- name: @Secret\nautomountServiceAccountToken: false #?\n",
        "HorizontalPodAutoscaler" => "spec:\n  maxReplicas: @int\n  minReplicas: null #?\n",
        "CustomResourceDefinition" => {
            "spec:\n  versions:\n  - name: v2\n    served: false\n    storage: false\n  preserveUnknownFields: false #?\n"
        }
        "PersistentVolumeClaim" => "spec:\n  accessModes: [ReadWriteMany]\n  selector: null #?\n",
        "NetworkPolicy" => "spec:\n  ingress:\n  - {} #?\n  policyTypes: [Ingress]\n",
        "ValidatingWebhookConfiguration" => {
            "webhooks:\n- name: a.example.com\n  failurePolicy: Ignore\n- name: b.example.com #?\n  sideEffects: None\n"
        }
        _ => "",
    }
}

/// What a strategic merge patch says after its `metadata`.
fn merge_body(kind: &str, dice: &mut Dice, places: &Places<'_>) -> String {
    let nest = |path: &[&str], inner: String| {
        path.iter().rev().fold(inner, |inner, field| format!("{field}:\n{}", indented(&inner, 2)))
    };
    match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => {
            let mut spec = expand(WORKLOAD_SPEC, dice, places);
            if spec.is_empty() || !dice.once_in(3) {
                spec.push_str(&nest(&["template", "spec"], expand(POD, dice, places)));
            }
            nest(&["spec"], spec)
        }
        "CronJob" => nest(&["spec", "jobTemplate", "spec", "template", "spec"], expand(POD, dice, places)),
        "Pod" => nest(&["spec"], expand(POD, dice, places)),
        _ => expand(body(kind), dice, places),
    }
}

fn merge(dice: &mut Dice, known: &Known, layout: &Layout<'_>) -> String {
    let places = Places { subject: Some(known), known: layout.known };
    let mut out = expand("apiVersion: @apiVersion\nkind: @kind\nmetadata:\n  name: @name\n", dice, &places);
    if !known.namespace.is_empty() && !dice.once_in(6) {
        out.push_str(&format!("  namespace: {}\n", known.namespace));
    }
    out.push_str(&expand(METADATA, dice, &places));
    if dice.once_in(25) {
        out.push_str("$patch: delete\n");
        return out;
    }
    out.push_str(&merge_body(&known.kind, dice, &places));
    out
}

/// For any object.
const OPERATIONS: &[&str] = &[
    "- op: add\n  path: /metadata/annotations\n  value: {a: @string}\n",
    "- op: replace\n  path: /metadata/name\n  value: renamed\n",
    "- op: add\n  path: /extra\n  value: @value\n",
    "- op: add\n  path: /extra\n  value: @scalar\n",
    "- op: add\n  path: /extra\n  value:\n    a: @scalar\n    b: [@value]\n",
    "- op: add\n  path: /metadata/labels\n  value:\n    tier: @label\n- op: add\n  path: /metadata/labels/new\n  value: @label\n",
    "- {op: copy, from: /metadata/name, path: /extra}\n",
];

/// For objects of a certain make: they often do not apply.
const RISKY: &[&str] = &[
    "- op: add\n  path: /metadata/labels/new\n  value: @label\n",
    "- {op: test, path: /kind, value: Deployment}\n- {op: remove, path: /metadata/annotations/note}\n",
    "- {op: copy, from: /metadata/name, path: /metadata/annotations/copied~1to}\n",
    "- op: replace\n  path: /spec/missing\n  value: @scalar\n",
    "- op: add\n  path: /spec/extra\n  value: @scalar\n",
    "- op: frobnicate\n  path: /spec\n",
    "- op: remove\n  path: /spec/replicas\n",
    "- op: add\n  path: spec\n  value: x\n",
];

fn operations_for(kind: &str) -> &'static [&'static str] {
    match kind {
        "Deployment" | "StatefulSet" => &[
            "- op: add\n  path: /spec/replicas\n  value: @int\n",
            "- op: replace\n  path: /spec/template/spec/containers/0/image\n  value: @image\n",
            "- op: add\n  path: /spec/template/spec/containers/-\n  value:\n    name: added\n    image: @image\n",
            "- op: add\n  path: /spec/template/spec/containers/0/env\n  value: [{name: A, value: @string}]\n",
            "- op: add\n  path: /spec/replicas\n  value: @scalar\n- {op: move, from: /spec/replicas, path: /spec/minReadySeconds}\n",
            "- {op: add, path: /spec/template/spec/containers/0/args, value: [@scalar, @value]}\n",
        ],
        "ConfigMap" => &[
            "- op: add\n  path: /data/new.txt\n  value: @block\n",
            "- op: replace\n  path: /data/LEVEL\n  value: @string\n",
            "- op: replace\n  path: /data/LEVEL\n  value: @scalar\n",
        ],
        "Service" => &[
            "- op: add\n  path: /spec/ports/-\n  value: {port: 9, name: nine}\n",
            "- op: replace\n  path: /spec/ports/0/port\n  value: @scalar\n",
            "- op: add\n  path: /spec/ports/0\n  value: {port: 1}\n",
        ],
        "Widget" => &[
            "- op: replace\n  path: /spec/size\n  value: @scalar\n",
            "- op: add\n  path: /spec/list\n  value: [@value, {name: x}]\n- op: add\n  path: /spec/list/1\n  value: @value\n- {op: remove, path: /spec/list/0}\n",
            "- op: add\n  path: /spec/nested\n  value: {x: @scalar, y: [@value]}\n",
            "- op: add\n  path: /spec/nested\n  value: @value\n- op: remove\n  path: /spec/nested\n",
        ],
        _ => OPERATIONS,
    }
}

fn operations(dice: &mut Dice, known: &Known, layout: &Layout<'_>) -> String {
    let places = Places { subject: Some(known), known: layout.known };
    let risky = dice.once_in(20);
    let one = |_| {
        let own = operations_for(&known.kind);
        let list = if risky {
            RISKY
        } else if dice.once_in(2) {
            OPERATIONS
        } else {
            own
        };
        let template = dice.pick(list);
        expand(template, dice, &places)
    };
    (0..=usize::from(known.name.len() > 3)).map(one).collect()
}

/// What the target of a patch says.
fn target(dice: &mut Dice, known: &Known) -> String {
    let group = known.api_version.split_once('/').map_or("", |(group, _)| group);
    let mut out = match dice.below(8) {
        0 => format!("kind: {}\n", known.kind),
        1 => format!("name: {}\n", known.name),
        2 => format!("kind: {}\nname: {}.*\n", known.kind, &known.name[..1]),
        3 => format!("labelSelector: tier={}\n", dice.pick(LABELS).trim_matches('"')),
        4 => format!("kind: {}|Service\n", known.kind),
        5 => format!("kind: {}\nannotationSelector: note\n", known.kind),
        _ => format!("kind: {}\nname: {}\n", known.kind, known.name),
    };
    if dice.once_in(5) && !group.is_empty() {
        out.push_str(&format!("group: {group}\n"));
    }
    if dice.once_in(5) && !known.namespace.is_empty() {
        out.push_str(&format!("namespace: {}\n", known.namespace));
    }
    out
}

/// A text as a field of an item, in the text itself or as a file.
fn placed(field: &str, text: &str, dice: &mut Dice, layout: &mut Layout<'_>) -> String {
    if dice.once_in(3) {
        return format!("- path: {}\n", layout.file("patch", "yaml", text));
    }
    format!("- {field}: |-\n{}", indented(text, 4))
}

fn chosen(dice: &mut Dice, layout: &Layout<'_>) -> Option<Known> {
    let mut known = dice.item(layout.known)?.clone();
    if dice.once_in(30) {
        known.name = format!("{}{}", dice.pick(&["p-", "dev-"]), known.name);
    }
    Some(known)
}

/// An item of `patches`.
pub(crate) fn patch(dice: &mut Dice, layout: &mut Layout<'_>) -> Option<String> {
    let known = chosen(dice, layout)?;
    let strategic = dice.once_in(2);
    let mut text = if strategic { merge(dice, &known, layout) } else { operations(dice, &known, layout) };
    let several = strategic && dice.once_in(10);
    if several {
        let other = chosen(dice, layout)?;
        text.push_str("---\n");
        text.push_str(&merge(dice, &other, layout));
    }
    let mut out = placed("patch", &text, dice, layout);
    if !strategic || dice.once_in(if several { 20 } else { 3 }) {
        out.push_str("  target:\n");
        out.push_str(&indented(&target(dice, &known), 4));
    }
    if dice.once_in(8) {
        out.push_str(&layout.expand("  options: {allowNameChange: @bool, allowKindChange: @bool}\n", dice));
    }
    Some(out)
}

/// An item of `patchesStrategicMerge`.
pub(crate) fn strategic(dice: &mut Dice, layout: &mut Layout<'_>) -> Option<String> {
    let known = chosen(dice, layout)?;
    let text = merge(dice, &known, layout);
    if dice.once_in(2) {
        return Some(format!("- {}\n", layout.file("strategic", "yaml", &text)));
    }
    Some(format!("- |-\n{}", indented(&text, 2)))
}

/// An item of `patchesJson6902`.
pub(crate) fn json6902(dice: &mut Dice, layout: &mut Layout<'_>) -> Option<String> {
    let known = chosen(dice, layout)?;
    let text = operations(dice, &known, layout);
    let mut out = placed("patch", &text, dice, layout);
    let (group, version) = known.api_version.split_once('/').unwrap_or(("", &known.api_version));
    let target = format!("    version: {version}\n    kind: {}\n    name: {}\n", known.kind, known.name);
    out.push_str(&format!("  target:\n{target}"));
    if !group.is_empty() {
        out.push_str(&format!("    group: {group}\n"));
    }
    Some(out)
}
