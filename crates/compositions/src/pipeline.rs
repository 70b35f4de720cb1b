//! A composition as a pure function: the composite and what is observed go in, what should be there comes out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::function::{self, DefaultReadiness};

/// What a pipeline reads.
pub(crate) struct Observed<'a> {
    pub(crate) composite: &'a Value,
    /// Composed resources that exist, by the name they have in the composition.
    pub(crate) composed: &'a BTreeMap<String, Value>,
}

/// One composed resource that should be there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Desired {
    /// The fields that matter; everything else is left to others.
    pub(crate) object: Value,
    /// What the functions say; none: they said nothing, which counts as not ready.
    pub(crate) ready: Option<bool>,
}

/// What the functions have said so far, and at the end.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Fields of the composite, of which only `status` is written.
    pub(crate) composite: Value,
    pub(crate) desired: BTreeMap<String, Desired>,
    /// Resources that a required field holds back; those that exist are kept as they are.
    pub(crate) blocked: BTreeSet<String>,
    pub(crate) environment: Value,
    pub(crate) connection: BTreeMap<String, String>,
    pub(crate) warnings: Vec<String>,
}

impl State {
    pub(crate) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }
}

/// Runs a composition's spec, of either form. An error stops everything: nothing is applied.
pub(crate) fn run(spec: &Value, observed: &Observed<'_>) -> Result<State, String> {
    let mut state = State { composite: json!({}), environment: json!({}), ..State::default() };
    if !spec["pipeline"].is_array() {
        let outcome = function::patch_and_transform(spec, observed, &mut state, DefaultReadiness::Health);
        outcome.map_err(|fatal| fatal.to_string())?;
        return Ok(state);
    }
    for step in spec["pipeline"].as_array().into_iter().flatten() {
        let (name, called) = (&step["step"], step["functionRef"]["name"].as_str().unwrap_or_default());
        let outcome = match implementation(called) {
            Some("function-patch-and-transform") => function::patch_and_transform(
                &step["input"],
                observed,
                &mut state,
                DefaultReadiness::ReadyCondition,
            ),
            Some(_) => {
                function::auto_ready(observed, &mut state);
                Ok(())
            }
            None => {
                return Err(format!(
                    "cannot run pipeline step {name}: function {called:?} is not available in process"
                ));
            }
        };
        outcome.map_err(|fatal| format!("pipeline step {name} returned a fatal result: {fatal}"))?;
    }
    if let Some((name, object)) = function::connection_secret(observed.composite, &state.connection) {
        state.desired.insert(name, Desired { object, ready: Some(true) });
    }
    Ok(state)
}

/// Functions are installed under names such as `crossplane-contrib-function-auto-ready`.
pub(crate) fn implementation(function: &str) -> Option<&'static str> {
    ["function-patch-and-transform", "function-auto-ready"].into_iter().find(|known| {
        function == *known || function.strip_suffix(known).is_some_and(|prefix| prefix.ends_with('-'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment_base() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1}})
    }

    fn healthy() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "shop-1", "namespace": "n", "generation": 1}, "spec": {"replicas": 1},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}})
    }

    fn composite() -> Value {
        json!({"metadata": {"name": "shop"}, "spec": {"replicas": 3, "crossplane": {}}})
    }

    fn pipeline(resources: Value, more: &[&str]) -> Value {
        let mut steps = vec![
            json!({"step": "resources", "functionRef": {"name": "function-patch-and-transform"}, "input": {
            "apiVersion": "pt.fn.crossplane.io/v1beta1", "kind": "Resources", "resources": resources}}),
        ];
        steps.extend(more.iter().map(|name| json!({"step": name, "functionRef": {"name": name}})));
        json!({"mode": "Pipeline", "pipeline": steps})
    }

    fn run_with(spec: &Value, composed: &[(&str, Value)]) -> Result<State, String> {
        let composed = composed.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
        run(spec, &Observed { composite: &composite(), composed: &composed })
    }

    #[test]
    fn resources_are_patched_and_keep_their_identity() {
        let patches = json!([{"type": "FromCompositeFieldPath", "fromFieldPath": "spec.replicas"}]);
        let spec = pipeline(json!([{"name": "web", "base": deployment_base(), "patches": patches}]), &[]);
        let state = run_with(&spec, &[("web", healthy())]).unwrap();
        let web = &state.desired["web"].object;
        assert_eq!(web["spec"], json!({"replicas": 3}));
        assert_eq!(web["metadata"], json!({"namespace": "n", "name": "shop-1"}));
    }

    #[test]
    fn native_kinds_need_auto_ready_in_a_pipeline_but_not_in_the_first_form() {
        let resources = json!([{"name": "web", "base": deployment_base()}]);
        let check = |spec: Value, expected: Option<bool>| {
            assert_eq!(run_with(&spec, &[("web", healthy())]).unwrap().desired["web"].ready, expected);
            assert_eq!(
                run_with(&spec, &[]).unwrap().desired["web"].ready,
                None,
                "not observed is never ready"
            );
        };
        check(pipeline(resources.clone(), &[]), None);
        check(pipeline(resources.clone(), &["crossplane-contrib-function-auto-ready"]), Some(true));
        check(json!({"resources": resources}), Some(true));
    }

    #[test]
    fn problems_are_named() {
        let check = |spec: Value, expected: &str| assert_eq!(run_with(&spec, &[]).unwrap_err(), expected);
        check(
            pipeline(json!([]), &["function-go-templating"]),
            "cannot run pipeline step \"function-go-templating\": function \"function-go-templating\" is not available in process",
        );
        check(
            pipeline(json!([{"name": "a"}]), &[]),
            "pipeline step \"resources\" returned a fatal result: composed resource \"a\" has no base template, and was \
             not produced by a previous Function in the pipeline",
        );
    }

    #[test]
    fn a_required_field_holds_a_resource_back() {
        let patches = json!([{"fromFieldPath": "spec.nothing", "policy": {"fromFieldPath": "Required"}}]);
        let spec = pipeline(json!([{"name": "web", "base": deployment_base(), "patches": patches}]), &[]);
        let state = run_with(&spec, &[]).unwrap();
        assert!(state.desired.is_empty() && state.blocked.contains("web"));
        assert_eq!(
            state.warnings,
            [
                "cannot render FromComposite patches for composed resource \"web\": spec.nothing: no such field"
            ]
        );
    }

    #[test]
    fn connection_details_become_a_secret() {
        let details = json!([{"name": "port", "type": "FromValue", "value": "5432"},
            {"name": "replicas", "type": "FromFieldPath", "fromFieldPath": "spec.replicas"}]);
        let spec =
            pipeline(json!([{"name": "web", "base": deployment_base(), "connectionDetails": details}]), &[]);
        let state = run_with(&spec, &[("web", healthy())]).unwrap();
        let secret = &state.desired["shop-connection-secret"].object;
        assert_eq!(secret["metadata"]["name"], "shop-connection");
        assert_eq!(secret["stringData"], json!({"port": "5432", "replicas": "1"}));
    }
}
