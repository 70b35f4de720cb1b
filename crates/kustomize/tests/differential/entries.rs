//! What a kustomization says beside its resources, as templates.

use crate::dice::{Dice, NAMES};
use crate::patches;
use crate::plan::{Files, Known};
use crate::template::{Places, expand, indented};

/// How entries of one field go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The whole field; the first one wins.
    Whole,
    /// Items of a list.
    Items,
    /// Fields of a map.
    Pairs,
}

pub(crate) struct Entry {
    pub(crate) field: &'static str,
    pub(crate) shape: Shape,
    pub(crate) text: String,
}

/// Where a layer is written.
pub(crate) struct Layout<'a> {
    pub(crate) known: &'a [Known],
    pub(crate) dir: &'a str,
    pub(crate) files: &'a mut Files,
    /// Whether there are stateful sets in the tree.
    pub(crate) stateful: bool,
    /// Files that entries made so far.
    pub(crate) count: usize,
}

impl Layout<'_> {
    /// Adds a file beside the kustomization; gives its name.
    pub(crate) fn file(&mut self, stem: &str, ending: &str, text: &str) -> String {
        self.count += 1;
        let name = format!("{stem}-{}.{ending}", self.count);
        self.files.insert(format!("{}/{name}", self.dir), text.to_owned());
        name
    }

    fn one_of(&self, templates: &[&str], dice: &mut Dice) -> Option<String> {
        Some(self.expand(dice.pick(templates), dice))
    }

    pub(crate) fn expand(&self, template: &str, dice: &mut Dice) -> String {
        expand(template, dice, &Places { subject: None, known: self.known })
    }
}

/// None where the tree has nothing that the entry could be about.
type Make = fn(&mut Dice, &mut Layout<'_>) -> Option<String>;

struct Rule {
    field: &'static str,
    shape: Shape,
    weight: usize,
    make: Make,
}

const fn rule(weight: usize, field: &'static str, shape: Shape, make: Make) -> Rule {
    Rule { field, shape, weight, make }
}

const RULES: &[Rule] = &[
    rule(4, "namePrefix", Shape::Whole, |dice, _| {
        Some(format!("namePrefix: {}\n", dice.pick(&["p-", "dev-"])))
    }),
    rule(3, "nameSuffix", Shape::Whole, |_, _| Some("nameSuffix: -s\n".to_owned())),
    rule(4, "namespace", Shape::Whole, |dice, l| l.one_of(&["namespace: @anyns"], dice)),
    rule(4, "commonLabels", Shape::Pairs, |dice, l| l.one_of(&["@labelkey: @label"], dice)),
    rule(3, "commonAnnotations", Shape::Pairs, |dice, l| l.one_of(ANNOTATIONS, dice)),
    rule(5, "labels", Shape::Items, labels),
    rule(5, "images", Shape::Items, |dice, l| l.one_of(&[IMAGES], dice)),
    rule(3, "replicas", Shape::Items, replicas),
    rule(8, "configMapGenerator", Shape::Items, |dice, l| generator("ConfigMap", dice, l)),
    rule(5, "secretGenerator", Shape::Items, |dice, l| generator("Secret", dice, l)),
    rule(2, "generatorOptions", Shape::Whole, |dice, l| l.one_of(&[GENERATOR_OPTIONS], dice)),
    rule(16, "patches", Shape::Items, patches::patch),
    rule(4, "patchesStrategicMerge", Shape::Items, patches::strategic),
    rule(3, "patchesJson6902", Shape::Items, patches::json6902),
    rule(10, "replacements", Shape::Items, replacement),
    rule(4, "vars", Shape::Items, var),
    rule(3, "configurations", Shape::Items, configuration),
    rule(1, "buildMetadata", Shape::Whole, |dice, l| l.one_of(METADATA, dice)),
    rule(2, "sortOptions", Shape::Whole, |dice, l| l.one_of(SORT, dice)),
    rule(4, "transformers", Shape::Items, |dice, l| plugin(TRANSFORMERS, dice, l)),
    rule(2, "generators", Shape::Items, |dice, l| plugin(GENERATORS, dice, l)),
    rule(2, "openapi", Shape::Whole, openapi),
    rule(1, "crds", Shape::Items, |_, l| Some(format!("- {}\n", l.file("crd", "json", CRD)))),
    rule(1, "validators", Shape::Items, |_, _| Some(VALIDATOR.to_owned())),
];

/// One entry, whatever the seed says.
pub(crate) fn entry(dice: &mut Dice, layout: &mut Layout<'_>) -> Entry {
    let total: usize = RULES.iter().map(|rule| rule.weight).sum();
    loop {
        let mut at = dice.below(total);
        let chosen = RULES.iter().find(|rule| {
            let found = at < rule.weight;
            at = at.saturating_sub(rule.weight);
            found
        });
        let rule = chosen.unwrap();
        if let Some(text) = (rule.make)(dice, layout) {
            return Entry { field: rule.field, shape: rule.shape, text };
        }
    }
}

const ANNOTATIONS: &[&str] = &["note: @string", "b: @string", "c: @block"];

/// The label of `managedByLabel` has the program's own version in it.
const METADATA: &[&str] = &[
    "buildMetadata: [originAnnotations]",
    "buildMetadata: [transformerAnnotations]",
    "buildMetadata: [originAnnotations, transformerAnnotations]",
];

const VALIDATOR: &str = "\
- |-
  apiVersion: builtin
  kind: LabelTransformer
  metadata: {name: v}
  labels: {}
";

/// Releases do not agree on whether templates of a stateful set's claims count as templates.
fn labels(dice: &mut Dice, layout: &mut Layout<'_>) -> Option<String> {
    let mut template = LABELS.to_owned();
    if layout.stateful {
        template = template.replace("  includeTemplates: @bool #?\n", "");
    }
    Some(layout.expand(&template, dice))
}

fn replicas(dice: &mut Dice, layout: &mut Layout<'_>) -> Option<String> {
    let scaled = ["Deployment", "StatefulSet", "ReplicaSet"];
    let known: Vec<&Known> = layout.known.iter().filter(|known| scaled.contains(&&*known.kind)).collect();
    let name = &dice.item(&known)?.name;
    Some(format!("- name: {name}\n  count: {}\n", dice.below(9)))
}

fn var(dice: &mut Dice, layout: &mut Layout<'_>) -> Option<String> {
    let template = dice.pick(VARS);
    let has = |kind: &str| {
        layout.known.iter().any(|known| template.contains(&format!("@{kind},")) && known.kind == kind)
    };
    (has("Service") || has("ConfigMap") || has("Deployment")).then(|| layout.expand(template, dice))
}

fn openapi(dice: &mut Dice, layout: &mut Layout<'_>) -> Option<String> {
    let text = layout.expand(SCHEMA, dice);
    Some(format!("openapi:\n  path: {}\n", layout.file("schema", "yaml", &text)))
}

const LABELS: &str = "\
- pairs:
    @labelkey: @label
    z: @label #?
  includeSelectors: @bool #?
  includeTemplates: @bool #?
  fields: #?4
  - path: spec/labels
    kind: Widget
    create: @bool
";

const IMAGES: &str = "\
- name: @imagename
  newName: registry.example.com/new #?
  newTag: v2 #?
  newTag: \"1.0\" #?20
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef #?4
  tagSuffix: -fips #?5
";

const GENERATOR_OPTIONS: &str = "\
generatorOptions:
  disableNameSuffixHash: @bool #?
  immutable: @bool #?
  labels: #?
    @labelkey: @label
  annotations: #?
    note: @string
";

const GENERATED: &str = "\
- name: @any
  namespace: @anyns #?3
  behavior: create #?5
  literals:
  - LEVEL=high
  - MODE=a=b #?
  - \"QUOTED='x y'\" #?
  - 'key=\"quoted\"' #?
  - EMPTY= #?
  - \"number=8080\" #?
  - \"uni=é 漢字\" #?
  - \"multi=a\\nb\\n\" #?
  options: #?3
    disableNameSuffixHash: @bool #?
    immutable: @bool #?
    labels: {a: @label} #?
    annotations: #?
      note: @string
";

const CHANGED: &str = "\
- name: @KIND
  namespace: @anyns #?4
  behavior: merge
  literals:
  - LEVEL=low
  - ADDED=1 #?
  options: #?4
    labels: {a: @label} #?
";

const ENV_FILE: &str = "\
# a comment
A=1
B=two words #?
C='quoted' #?
D=\"double\" #?
 E=leading space #?
F= #?
G=a=b #?
H=# not a comment #?

I=é #?
";

fn generator(kind: &str, dice: &mut Dice, layout: &mut Layout<'_>) -> Option<String> {
    let template = if dice.once_in(4) {
        let behavior = dice.pick(&["merge", "replace", "merge"]);
        CHANGED.replace("KIND", kind).replace("behavior: merge", &format!("behavior: {behavior}"))
    } else {
        GENERATED.to_owned()
    };
    let mut out = layout.expand(&template, dice);
    if dice.once_in(3) {
        let text = layout
            .expand(dice.pick(&["@block", "line\n", "no newline", "é\r\nx\n", "\n\nx \n", "\ta: 1\n"]), dice);
        let text = if dice.once_in(3) { text.trim_end().to_owned() } else { text };
        let name = layout.file("data", "txt", &text);
        let key = if dice.once_in(2) { "renamed.txt=" } else { "" };
        out.push_str(&format!("  files:\n  - {key}{name}\n"));
    }
    if dice.once_in(4) {
        let text = layout.expand(ENV_FILE, dice);
        let name = layout.file("some", "env", &text);
        let field =
            if dice.once_in(5) { format!("  env: {name}\n") } else { format!("  envs:\n  - {name}\n") };
        out.push_str(&field);
    }
    if kind == "Secret" && dice.once_in(3) {
        out.push_str("  type: kubernetes.io/tls\n");
    }
    Some(out)
}

/// Fields that any object may have, or may be given.
const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.annotations.note",
    "metadata.annotations.[example.com/new]",
    "metadata.labels.tier",
    "metadata.namespace",
    "spec.nested.a",
    "spec.list.*.value",
    "spec.template.metadata.labels.app",
    "spec.template.spec.containers.[image=nginx].name",
    "spec.template.spec.containers",
    "spec.template.spec.containers.0",
    "spec.ports",
    "data",
    "common",
];

/// Fields that objects of a kind have most of the time.
fn fields_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => &[
            "metadata.name",
            "spec.template.spec.containers.0.image",
            "spec.template.spec.containers.[name=main].image",
            "spec.template.spec.containers.*.image",
            "spec.template.spec.containers.[name=main].name",
        ],
        "ConfigMap" => &["metadata.name", "data.LEVEL"],
        "Secret" => &["metadata.name"],
        "Service" => &["metadata.name", "spec.ports.0.port", "spec.ports.[port=80].port"],
        "Ingress" => &["metadata.name", "spec.rules.0.host", "spec.rules.0.http.paths.*.path"],
        "Widget" => &["metadata.name", "spec.size"],
        "Gadget" => &["metadata.name", "first.x", "common.y.1"],
        "RoleBinding" | "ClusterRoleBinding" => &["subjects.0.name", "subjects.[kind=ServiceAccount].name"],
        _ => &["metadata.name"],
    }
}

fn field(dice: &mut Dice, kind: &str) -> &'static str {
    if dice.once_in(9) { dice.pick(FIELDS) } else { dice.pick(fields_of(kind)) }
}

fn replacement(dice: &mut Dice, layout: &mut Layout<'_>) -> Option<String> {
    let source = dice.item(layout.known)?;
    let mut out = format!("source:\n{}", indented(&identity(dice, source), 2));
    if !dice.once_in(3) {
        let path = field(dice, &source.kind);
        let path = if dice.once_in(20) { path.to_owned() } else { path.replace('*', "0") };
        out.push_str(&format!("  fieldPath: {path}\n"));
    }
    if dice.once_in(6) {
        let (delimiter, index) = (dice.pick(&[":", "/", "-"]), dice.below(4) / 3);
        out.push_str(&format!("  options: {{delimiter: \"{delimiter}\", index: {index}}}\n"));
    }
    out.push_str("targets:\n");
    for _ in 0..=dice.below(2) {
        out.push_str(&replacement_target(dice, layout)?);
    }
    if dice.once_in(5) {
        let name = layout.file("replacement", "yaml", &out);
        return Some(format!("- path: {name}\n"));
    }
    let moved = indented(&out, 2);
    Some(format!("- {}", &moved[2..]))
}

fn replacement_target(dice: &mut Dice, layout: &Layout<'_>) -> Option<String> {
    let target = dice.item(layout.known)?;
    let mut out = format!("- select:\n{}", indented(&identity(dice, target), 4));
    if dice.once_in(6) {
        out.push_str(&format!("  reject:\n  - name: {}\n", dice.pick(NAMES)));
    }
    out.push_str("  fieldPaths:\n");
    let count = 1 + dice.below(2);
    let fields: Vec<&str> = (0..count).map(|_| field(dice, &target.kind)).collect();
    fields.iter().for_each(|field| out.push_str(&format!("  - {field}\n")));
    let create = fields.iter().any(|field| FIELDS[1..].contains(field)) != dice.once_in(10);
    if create && dice.once_in(2) {
        out.push_str("  options: {create: true}\n");
    } else if create || dice.once_in(6) {
        let delimiter = dice.pick(&[":", "/", "-", "."]);
        let template = format!(
            "  options:\n    create: {create}\n    delimiter: \"{delimiter}\" #?4\n    index: @int #?4\n"
        );
        out.push_str(&layout.expand(&template, dice));
    }
    Some(out)
}

/// What a selector says to find an object.
fn identity(dice: &mut Dice, known: &Known) -> String {
    let (group, version) = known.api_version.split_once('/').unwrap_or(("", &known.api_version));
    let mut out = match dice.below(8) {
        0 => format!("name: {}\n", known.name),
        1 => format!("version: {version}\nkind: {}\nname: {}\n", known.kind, known.name),
        2 => format!("kind: {}\n", known.kind),
        _ => format!("kind: {}\nname: {}\n", known.kind, known.name),
    };
    if dice.once_in(6) && !group.is_empty() {
        out.push_str(&format!("group: {group}\n"));
    }
    // Releases do not agree on whether what has no namespace is selected by this one.
    if dice.once_in(6) && !known.namespace.is_empty() && known.namespace != "default" {
        out.push_str(&format!("namespace: {}\n", known.namespace));
    }
    out
}

const VARS: &[&str] = &[
    "- name: HOST\n  objref: {kind: Service, name: @Service, apiVersion: v1}\n  fieldref: {fieldpath: metadata.name} #?\n",
    "- name: PORT\n  objref: {kind: Service, name: @Service, apiVersion: v1}\n  fieldref:\n    fieldpath: spec.ports[0].port\n",
    "- name: MODE\n  objref: {kind: ConfigMap, name: @ConfigMap, apiVersion: v1}\n  fieldref: {fieldpath: data.LEVEL}\n",
    "- name: HOST\n  objref: {kind: Deployment, name: @Deployment, apiVersion: apps/v1}\n  fieldref: {fieldpath: 'spec.template.spec.containers[0].image'}\n",
];

const SORT: &[&str] = &[
    "sortOptions: {order: legacy}",
    "sortOptions: {order: fifo}",
    "sortOptions:\n  order: legacy\n  legacySortOptions:\n    orderFirst: [Namespace, Widget]\n    orderLast: [Deployment]\n",
];

const CONFIGURATIONS: &[&str] = &[
    "images:\n- path: spec/image\n  kind: Widget\n",
    "namePrefix:\n- path: spec/size\n  kind: Widget\n",
    "commonLabels:\n- path: spec/labels\n  create: true\n  kind: Widget\n",
    "commonAnnotations:\n- path: spec/notes\n  create: @bool\n  kind: Widget\n",
    "nameReference:\n- kind: ConfigMap\n  version: v1 #?\n  fieldSpecs:\n  - path: spec/configRef/name\n    kind: Widget\n",
    "nameReference:\n- kind: Secret\n  fieldSpecs:\n  - path: spec/list/name\n    kind: Widget\n  - path: spec/items\n    kind: Widget\n",
    "varReference:\n- path: spec/size\n  kind: Widget\n- path: spec/nested\n  kind: Widget\n- path: data\n  kind: ConfigMap\n",
    "replicas:\n- path: spec/replicas\n  kind: Widget\n  create: @bool\n",
    "namespace:\n- path: spec/namespace\n  kind: Widget\n  create: @bool\n",
    "nameSuffix:\n- path: metadata/name\n  kind: Widget\n",
    "templateLabels:\n- path: spec/template/metadata/labels\n  kind: Gadget\n  create: true\n",
];

fn configuration(dice: &mut Dice, layout: &mut Layout<'_>) -> Option<String> {
    let text = layout.expand(dice.pick(CONFIGURATIONS), dice);
    Some(format!("- {}\n", layout.file("configuration", "yaml", &text)))
}

const TRANSFORMERS: &[&str] = &[
    "kind: PrefixSuffixTransformer\nmetadata: {name: t}\nprefix: t-\nsuffix: -u #?\nfieldSpecs:\n- path: metadata/name\n- path: spec/size #?\n",
    "kind: PrefixTransformer\nmetadata: {name: t}\nprefix: t-\nfieldSpecs:\n- path: metadata/name\n  kind: ConfigMap #?\n",
    "kind: LabelTransformer\nmetadata: {name: t}\nlabels:\n  @labelkey: @label\nfieldSpecs:\n- path: metadata/labels\n  create: @bool\n- path: spec/template/metadata/labels #?\n  create: true\n  kind: Deployment\n",
    "kind: AnnotationsTransformer\nmetadata: {name: t}\nannotations:\n  @labelkey: @string\nfieldSpecs:\n- path: metadata/annotations\n  create: true\n",
    "kind: NamespaceTransformer\nmetadata:\n  name: t\n  namespace: @anyns\nunsetOnly: @bool #?3\nsetRoleBindingSubjects: @subjects #?3\nfieldSpecs: #?\n- path: metadata/namespace\n  create: true\n",
    "kind: ImageTagTransformer\nmetadata: {name: t}\nimageTag:\n  name: @imagename\n  newTag: v3\nfieldSpecs: #?\n- path: spec/image\n",
    "kind: ReplicaCountTransformer\nmetadata: {name: t}\nreplica: {name: @Deployment, count: 4}\nfieldSpecs:\n- path: spec/replicas\n  create: @bool\n  kind: Deployment #?\n",
    "kind: PatchTransformer\nmetadata: {name: t}\npatch: |-\n  - {op: add, path: /metadata/annotations, value: {n: \"1\"}}\ntarget: {kind: Deployment}\n",
    "kind: HashTransformer\nmetadata: {name: t}\n",
    "kind: ValueAddTransformer\nmetadata: {name: t}\nvalue: @any\ntargets:\n- fieldPath: metadata/annotations/added\n",
    "kind: PatchStrategicMergeTransformer\nmetadata: {name: t}\npatches: |-\n  apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: @ConfigMap}\n  data: {LEVEL: @string}\n",
];

const GENERATORS: &[&str] = &[
    "kind: ConfigMapGenerator\nmetadata: {name: @any}\nliterals: [a=b]\n",
    "kind: SecretGenerator\nmetadata:\n  name: @any\n  namespace: @anyns #?\nbehavior: create #?\nliterals:\n- a=b\ntype: Opaque #?\n",
];

fn plugin(templates: &[&str], dice: &mut Dice, layout: &mut Layout<'_>) -> Option<String> {
    let template =
        dice.pick(templates).replace("@subjects", dice.pick(&["none", "defaultOnly", "allServiceAccounts"]));
    let text = format!("apiVersion: builtin\n{}", layout.expand(&template, dice));
    if dice.once_in(2) {
        return Some(format!("- {}\n", layout.file("plugin", "yaml", &text)));
    }
    Some(format!("- |-\n{}", indented(&text, 2)))
}

const SCHEMA: &str = "\
definitions:
  com.example.v1.Widget:
    type: object
    properties:
      apiVersion: {type: string}
      kind: {type: string}
      metadata: {$ref: \"#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta\"}
      spec:
        type: object
        properties:
          size: {type: string} #?
          list:
            type: array
            items:
              type: object
              properties:
                name: {type: string}
                value: {type: string}
            x-kubernetes-patch-merge-key: name
            x-kubernetes-patch-strategy: merge
    x-kubernetes-group-version-kind:
    - {group: example.com, kind: Widget, version: v1}
";

const CRD: &str = r##"{
  "example.com/v1.Widget": {
    "Schema": {
      "type": "object",
      "properties": {
        "spec": {"$ref": "example.com/v1.WidgetSpec"}
      }
    }
  },
  "example.com/v1.WidgetSpec": {
    "Schema": {
      "type": "object",
      "properties": {
        "configRef": {
          "type": "object",
          "x-kubernetes-object-ref-api-version": "v1",
          "x-kubernetes-object-ref-kind": "ConfigMap"
        },
        "size": {"type": "string", "x-kubernetes-annotation": ""}
      }
    }
  }
}
"##;
