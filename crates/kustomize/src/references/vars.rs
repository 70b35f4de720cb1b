//! `vars`: values of fields that stand as `$(NAME)` in fields of other resources.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::config::Config;
use crate::fieldspec::Leaf;
use crate::id::split_api_version;
use crate::node::{Node, Scalar, Style, Tag};
use crate::path;
use crate::resource::Resource;
use crate::resources::Resources;
use crate::schema::Schema;

/// The field when none is said.
const DEFAULT_FIELD: &str = "metadata.name";

/// One entry of `vars`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Var {
    pub(crate) name: String,
    #[serde(rename = "objref")]
    pub(crate) object: Object,
    #[serde(rename = "fieldref")]
    pub(crate) field: Field,
}

/// The object that a var takes its value from, by any name that it has had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Object {
    pub(crate) api_version: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
}

/// The field that a var takes its value from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Field {
    pub(crate) field_path: String,
}

/// The vars of a layer and of what it includes, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct VarSet {
    vars: BTreeMap<String, Var>,
}

impl VarSet {
    /// Adds the vars of a kustomization, and notes at each resource which vars are about it: later the name may stand
    /// for another one, too.
    pub(crate) fn merge(
        &mut self,
        vars: &[Var],
        resources: &mut Resources,
        schema: &Schema,
    ) -> Result<(), String> {
        for var in vars {
            let var = var.clone().with_defaults();
            let mut found = resources.iter_mut().filter(|resource| var.is_about(resource, schema));
            let (first, more) = (found.next(), found.count());
            if more > 0 {
                let count = more + 1;
                return Err(format!(
                    "found {count} resId matches for var {} (unable to disambiguate)",
                    var.shown()
                ));
            }
            if let Some(resource) = first {
                resource.vars.push(var.name.as_str().into());
            }
        }
        vars.iter().try_for_each(|var| self.add(var.clone().with_defaults()))
    }

    /// Adds the vars of a layer that is included.
    pub(crate) fn merge_set(&mut self, below: VarSet) -> Result<(), String> {
        below.vars.into_values().try_for_each(|var| self.add(var))
    }

    fn add(&mut self, var: Var) -> Result<(), String> {
        if self.vars.contains_key(&var.name) {
            return Err(format!("var '{}' already encountered", var.name));
        }
        self.vars.insert(var.name.clone(), var);
        Ok(())
    }

    /// Puts the values in wherever the configuration allows it. The names of the vars that stood nowhere are returned.
    pub(crate) fn resolve(&self, resources: &mut Resources, config: &Config) -> Result<Vec<String>, String> {
        if self.vars.is_empty() {
            return Ok(vec![]);
        }
        let mut values = BTreeMap::new();
        for var in self.vars.values() {
            values.insert(var.name.as_str(), var.value(resources)?);
        }
        let mut expander = Expander { values, used: BTreeSet::new() };
        for resource in resources.iter_mut() {
            for spec in &*config.var_reference {
                spec.apply(&mut resource.node, &Leaf::Nothing, &mut |node| expander.node(node))?;
            }
        }
        let unused = self.vars.keys().filter(|name| !expander.used.contains(name.as_str()));
        Ok(unused.cloned().collect())
    }
}

impl Var {
    fn with_defaults(mut self) -> Self {
        if self.field.field_path.is_empty() {
            self.field.field_path = DEFAULT_FIELD.to_owned();
        }
        let object = &mut self.object;
        match object.api_version.split('/').collect::<Vec<_>>().as_slice() {
            [""] => {}
            [version] => object.version = (*version).to_owned(),
            [group, version] => (object.group, object.version) = ((*group).to_owned(), (*version).to_owned()),
            _ => {}
        }
        self
    }

    /// Whether the resource has or had this kind and name, and this namespace if one is said.
    fn is_about(&self, resource: &Resource, schema: &Schema) -> bool {
        let object = &self.object;
        let (group, version) = split_api_version(resource.node.text_at(&["apiVersion"]));
        if (group, version) != (&object.group, &object.version) || resource.node.is_nil_or_empty() {
            return false;
        }
        let effective =
            |namespace: &str| (if namespace.is_empty() { "default" } else { namespace }).to_owned();
        let wanted = (!object.namespace.is_empty()).then(|| effective(&object.namespace));
        let had = resource.previous.iter().any(|previous| {
            *previous.kind == object.kind
                && *previous.name == object.name
                && wanted.as_ref().is_none_or(|wanted| *wanted == effective(&previous.namespace))
        });
        let has = || resource.kind() == object.kind && resource.name() == object.name;
        let is_in = |wanted: &String| resource.id(schema).effective_namespace() == wanted;
        had || (has() && wanted.as_ref().is_none_or(is_in))
    }

    /// What the var stands for.
    fn value(&self, resources: &Resources) -> Result<Value, String> {
        let about = |resource: &&Resource| resource.vars.iter().any(|name| **name == *self.name);
        let resource = resources.iter().find(about).ok_or_else(|| {
            format!("var '{}' cannot be mapped to a field in the set of known resources", self.shown())
        })?;
        let missing =
            || format!("field specified in var '{}' not found in corresponding resource", self.shown());
        let path = path::split_indices(path::split(&self.field.field_path));
        let node = path::get(&resource.node, &path).ok().flatten().ok_or_else(missing)?;
        Value::of(node).ok_or_else(missing)
    }

    /// Name, kind and field, as kustomize shows a var in errors.
    fn shown(&self) -> String {
        let or = |text: &str, other: &str| (if text.is_empty() { other } else { text }).to_owned();
        let Object { group, version, kind, .. } = &self.object;
        let (kind, version, group) = (or(kind, "[noKind]"), or(version, "[noVer]"), or(group, "[noGrp]"));
        format!("{{{} {kind}.{version}.{group} {{{}}}}}", self.name, self.field.field_path)
    }
}

/// The value of a var.
enum Value {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// A map or a list, which stands for nothing.
    Other,
}

impl Value {
    /// None if the text is not what Go's functions read as the type that it is tagged with.
    fn of(node: &Node) -> Option<Self> {
        let Node::Scalar(Scalar { text, tag, .. }) = node else { return Some(Self::Other) };
        Some(match tag {
            Tag::Int => Self::Int(text.parse().ok()?),
            Tag::Float if text.contains('_') => return None,
            Tag::Float => Self::Float(text.parse().ok().filter(|number: &f64| number.is_finite())?),
            Tag::Bool => Self::Bool(text.eq_ignore_ascii_case("true")),
            _ => Self::Text(text.to_string()),
        })
    }

    /// What it is when it is all of a field.
    fn node(&self) -> Option<Node> {
        Some(match self {
            Self::Text(text) => Node::string(text.as_str()),
            Self::Int(number) => Node::tagged(number.to_string(), Tag::Int),
            Self::Float(number) => Node::tagged(number.to_string(), Tag::Float),
            Self::Bool(flag) => Node::tagged(flag.to_string(), Tag::Bool),
            Self::Other => return None,
        })
    }

    /// What it is inside of a text.
    fn text(&self) -> Option<String> {
        Some(match self {
            Self::Text(text) => text.clone(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => short(*number),
            Self::Bool(flag) => flag.to_string(),
            Self::Other => return None,
        })
    }
}

/// A number as Go prints it: with an exponent of two digits or more where it is very large or very small.
fn short(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent @ (..-4 | 21..)) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => number.to_string(),
    }
}

struct Expander<'v> {
    values: BTreeMap<&'v str, Value>,
    used: BTreeSet<&'v str>,
}

impl Expander<'_> {
    /// A field: a string, the strings of a map, or a list of strings.
    fn node(&mut self, node: &Node) -> Result<Option<Node>, String> {
        match node {
            Node::Scalar(_) => Ok(self.scalar(node)),
            Node::Map(map) => {
                let mut changed: Option<Node> = None;
                for (name, field) in map.iter() {
                    if let Some(new) = self.scalar(field) {
                        changed.get_or_insert_with(|| node.clone()).set(name.clone(), new);
                    }
                }
                Ok(changed)
            }
            Node::List(items) => {
                let mut changed: Option<Node> = None;
                for (at, item) in items.iter().enumerate() {
                    if !is_string(item) {
                        return Err("invalid value type expect a string".to_owned());
                    }
                    let Some(new) = self.scalar(item) else { continue };
                    let list = changed.get_or_insert_with(|| node.clone()).as_list_mut();
                    if let Some(slot) = list.and_then(|list| list.get_mut(at)) {
                        *slot = new;
                    }
                }
                Ok(changed)
            }
        }
    }

    /// What a string becomes; none for what is no string or stays as it is.
    fn scalar(&mut self, node: &Node) -> Option<Node> {
        let Node::Scalar(Scalar { text, tag: tag @ (Tag::Str | Tag::Implicit), style, .. }) = node else {
            return None;
        };
        // It is a string from now on, whatever it looks like.
        let as_string = |text: &str| Node::string(text);
        if !text.contains('$') {
            let restyled = *style != Style::Block && text.contains('\n');
            return (*tag == Tag::Implicit || restyled).then(|| as_string(text));
        }
        if let Some(node) = self.whole(text) {
            return Some(node);
        }
        Some(as_string(&self.expand(text)))
    }

    /// A var that is all of the text keeps the type of its value.
    fn whole(&mut self, text: &str) -> Option<Node> {
        let name = text.strip_prefix("$(")?.strip_suffix(')').filter(|name| !name.contains(')'))?;
        let (name, value) = self.values.get_key_value(name)?;
        let node = value.node()?;
        self.used.insert(name);
        Some(node)
    }

    /// Every `$(NAME)` that is known is replaced, and `$$` becomes `$`.
    fn expand(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) else {
                out.push('$');
                continue;
            };
            rest = after;
            match self.values.get_key_value(name).and_then(|(name, value)| Some((name, value.text()?))) {
                Some((name, value)) => {
                    self.used.insert(name);
                    out.push_str(&value);
                }
                None => out.extend(["$(", name, ")"]),
            }
        }
        out + rest
    }
}

fn is_string(node: &Node) -> bool {
    matches!(node, Node::Scalar(Scalar { tag: Tag::Str | Tag::Implicit, .. }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

    use super::*;
    use crate::node::{read_documents, to_value};

    fn resources(text: &str) -> Resources {
        Resources::from_list(read_documents(text).unwrap().into_iter().map(Resource::new).collect())
    }

    fn var(name: &str, field: &str) -> Var {
        let object =
            Object { api_version: "v1".into(), kind: "A".into(), name: "a".into(), ..Object::default() };
        Var { name: name.to_owned(), object, field: Field { field_path: field.to_owned() } }
    }

    const OBJECT: &str =
        "apiVersion: v1\nkind: A\nmetadata: {name: a}\nspec: {port: 80, part: 0.5, on: true, map: {}}\n";

    fn expanded(annotations: &str) -> Result<(String, Vec<String>), String> {
        let other = "apiVersion: v1\nkind: B\nmetadata:\n  name: b\n  annotations: ";
        let mut all = resources(&format!("{OBJECT}---\n{other}{annotations}\n"));
        let fields = [
            ("NAME", ""),
            ("PORT", "spec.port"),
            ("PART", "spec.part"),
            ("ON", "spec.on"),
            ("MAP", "spec.map"),
        ];
        let vars: Vec<Var> = fields.map(|(name, field)| var(name, field)).to_vec();
        let mut set = VarSet::default();
        set.merge(&vars, &mut all, &Schema::default())?;
        let unused = set.resolve(&mut all, &Config::builtin())?;
        let node = all.get(1).unwrap().node.at(&["metadata", "annotations"]).unwrap();
        Ok((to_value(node).unwrap().to_string(), unused))
    }

    #[test]
    fn values_keep_their_type_when_they_stand_alone() {
        let (found, unused) =
            expanded("{a: $(PORT), b: x$(PORT)y$(NAME), c: $(PART), d: $(ON), e: 1}").unwrap();
        assert_eq!(found, r#"{"a":80,"b":"x80ya","c":0.5,"d":true,"e":1}"#);
        assert_eq!(unused, ["MAP"]);
    }

    #[test]
    fn what_is_left_alone() {
        let text = r#"{a: $(MAP), b: "$$(NAME) $", c: "$(NO) $(NAME", d: "$x$é"}"#;
        let expected = r#"{"a":"$(MAP)","b":"$(NAME) $","c":"$(NO) $(NAME","d":"$x$é"}"#;
        assert_eq!(expanded(text).unwrap().0, expected);
        assert!(expanded("[1]").unwrap_err().contains("invalid value type expect a string"));
    }

    #[test]
    fn which_object() {
        let schema = Schema::default();
        let twice = format!("{OBJECT}---\n{}", OBJECT.replace("name: a", "name: a, namespace: x"));
        let mut set = VarSet::default();
        let error = set.merge(&[var("V", "")], &mut resources(&twice), &schema).unwrap_err();
        assert_eq!(
            error,
            "found 2 resId matches for var {V A.v1.[noGrp] {metadata.name}} (unable to disambiguate)"
        );
        let mut one = var("V", "");
        one.object.namespace = "default".to_owned();
        let mut all = resources(&twice);
        set.merge(std::slice::from_ref(&one), &mut all, &schema).unwrap();
        assert_eq!(all.get(0).unwrap().vars.len(), 1);
        let error = set.merge(&[one], &mut all, &schema).unwrap_err();
        assert_eq!(error, "var 'V' already encountered");
        let error = set.merge_set(set.clone()).unwrap_err();
        assert_eq!(error, "var 'V' already encountered");
    }

    #[test]
    fn what_is_not_there() {
        let mut all = resources(OBJECT);
        for (var, expected) in [
            (var("V", "spec.no"), "field specified in var '{V A.v1.[noGrp] {spec.no}}' not found"),
            (Var { object: Object::default(), ..var("V", "") }, "cannot be mapped to a field"),
        ] {
            let mut set = VarSet::default();
            set.merge(&[var], &mut all, &Schema::default()).unwrap();
            let error = set.resolve(&mut all, &Config::builtin()).unwrap_err();
            assert!(error.contains(expected), "{error}");
            all.iter_mut().for_each(|resource| resource.vars.clear());
        }
    }

    #[test]
    fn numbers_as_go_prints_them() {
        for (number, expected) in [
            (0.5, "0.5"),
            (1e21, "1e+21"),
            (123_456.0, "123456"),
            (0.000_012_5, "1.25e-05"),
            (1e20, "100000000000000000000"),
        ] {
            assert_eq!(short(number), expected);
        }
    }
}
