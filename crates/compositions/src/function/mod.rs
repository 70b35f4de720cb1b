//! The functions that run in process: function-patch-and-transform and function-auto-ready. Both are pure: what is
//! observed and what earlier steps wanted goes in, what is wanted now comes out.

mod patches;
mod ready;
mod transforms;

use std::collections::BTreeMap;

use object::meta;
use serde_json::{Map, Value, json};

use crate::pipeline::{Desired, Observed, State};

/// A step cannot go on; the text is what the user sees.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fatal(pub(crate) String);

/// How a resource without readiness checks becomes ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultReadiness {
    /// By its condition Ready, as function-patch-and-transform says.
    ReadyCondition,
    /// By the health of its kind, as function-auto-ready does: for compositions of the first form, whose
    /// authors could not add a step.
    Health,
}

/// function-patch-and-transform: `input` is its `Resources`, or the `spec` of a Composition of the first form.
pub(crate) fn patch_and_transform(
    input: &Value,
    observed: &Observed<'_>,
    state: &mut State,
    default: DefaultReadiness,
) -> Result<(), Fatal> {
    let sets = patch_sets(input)?;
    let mut environment = std::mem::take(&mut state.environment);
    let env_patches = resolved(&input["environment"]["patches"], &sets)?;
    for patch in &env_patches {
        let applied =
            patches::apply_environment(patch, observed.composite, &mut state.composite, &mut environment);
        applied.map_err(|e| Fatal(format!("cannot render environment patches: {e}")))?;
    }
    let mut names = std::collections::BTreeSet::new();
    for (index, template) in input["resources"].as_array().into_iter().flatten().enumerate() {
        // Only the first form may leave the name out.
        let name = template["name"].as_str().map_or_else(|| format!("resource-{index}"), str::to_owned);
        if !names.insert(name.clone()) {
            return Err(Fatal(format!(
                "invalid Function input: resources[{index}].name: Duplicate value: {name:?}"
            )));
        }
        let patches = resolved(&template["patches"], &sets)?;
        let work = Template { name: &name, template, patches: &patches, default };
        render(&work, observed, state, &mut environment)?;
    }
    state.environment = environment;
    Ok(())
}

struct Template<'a> {
    name: &'a str,
    template: &'a Value,
    patches: &'a [Value],
    default: DefaultReadiness,
}

fn render(
    work: &Template<'_>,
    observed: &Observed<'_>,
    state: &mut State,
    environment: &mut Value,
) -> Result<(), Fatal> {
    let name = work.name;
    let base = work.template.get("base").filter(|base| !base.is_null());
    let mut desired = match (base, state.desired.get(name)) {
        (Some(base), _) => Desired { object: base.clone(), ready: None },
        (None, Some(earlier)) => earlier.clone(),
        (None, None) => {
            let text = "has no base template, and was not produced by a previous Function in the pipeline";
            return Err(Fatal(format!("composed resource {name:?} {text}")));
        }
    };
    if meta::kind(&desired.object).is_empty() || meta::api_version(&desired.object).is_empty() {
        let text = "its base needs apiVersion and kind";
        return Err(Fatal(format!("cannot parse base template of composed resource {name:?}: {text}")));
    }
    if let Some(existing) = observed.composed.get(name) {
        // Only the identity is taken over: the rest stays a partial overlay.
        for field in ["namespace", "name"] {
            if let Some(value) = existing["metadata"].get(field) {
                desired.object["metadata"][field] = value.clone();
            }
        }
        connection_details(work, existing, state);
        match ready::is_ready(existing, &work.template["readinessChecks"], work.default) {
            Ok(true) => desired.ready = Some(true),
            Ok(false) => {}
            Err(problem) => {
                state.warn(format!("cannot check readiness of composed resource {name:?}: {problem}"))
            }
        }
        for patch in work.patches {
            let applied = patches::from_composed(patch, existing, &mut state.composite, environment);
            if let Err(problem) = applied {
                state.warn(format!(
                    "cannot render ToComposite patches for composed resource {name:?}: {problem}"
                ));
                break;
            }
        }
    }
    for patch in work.patches {
        if let Err(problem) =
            patches::to_composed(patch, observed.composite, environment, &mut desired.object)
        {
            // Most likely a required field is missing: better no object than a wrong one.
            state.warn(format!(
                "cannot render FromComposite patches for composed resource {name:?}: {problem}"
            ));
            state.blocked.insert(name.to_owned());
            return Ok(());
        }
    }
    state.blocked.remove(name);
    state.desired.insert(name.to_owned(), desired);
    Ok(())
}

/// FromFieldPath and FromValue; keys of a Secret are not read here.
fn connection_details(work: &Template<'_>, existing: &Value, state: &mut State) {
    for detail in work.template["connectionDetails"].as_array().into_iter().flatten() {
        let Some(key) = detail["name"].as_str() else { continue };
        let value = match detail["type"].as_str() {
            Some("FromValue") => detail["value"].as_str().map(str::to_owned),
            Some("FromFieldPath") => {
                let path = detail["fromFieldPath"].as_str().unwrap_or_default();
                crate::fieldpath::get(existing, path).ok().map(crate::gofmt::plain)
            }
            Some("FromConnectionSecretKey") => {
                let text = "connection details of type FromConnectionSecretKey are not supported";
                state.warn(format!("{text}: composed resource {:?}, key {key:?}", work.name));
                None
            }
            _ => None,
        };
        if let Some(value) = value {
            state.connection.insert(key.to_owned(), value);
        }
    }
}

fn patch_sets(input: &Value) -> Result<BTreeMap<String, Vec<Value>>, Fatal> {
    let mut sets = BTreeMap::new();
    for set in input["patchSets"].as_array().into_iter().flatten() {
        let name = set["name"].as_str().unwrap_or_default();
        let patches = set["patches"].as_array().cloned().unwrap_or_default();
        if patches.iter().any(|p| p["type"] == "PatchSet") {
            return Err(Fatal(
                "cannot resolve PatchSets: a patch in a PatchSet cannot be of type PatchSet".to_owned(),
            ));
        }
        sets.insert(name.to_owned(), patches);
    }
    Ok(sets)
}

/// The patches with PatchSets put in place of their names.
fn resolved(patches: &Value, sets: &BTreeMap<String, Vec<Value>>) -> Result<Vec<Value>, Fatal> {
    let mut out = vec![];
    for patch in patches.as_array().into_iter().flatten() {
        if patch["type"] != "PatchSet" {
            out.push(patch.clone());
            continue;
        }
        let name = patch["patchSetName"].as_str().unwrap_or_default();
        let set = sets
            .get(name)
            .ok_or_else(|| Fatal(format!("cannot resolve PatchSets: cannot find PatchSet by name {name}")))?;
        out.extend(set.iter().cloned());
    }
    Ok(out)
}

/// function-auto-ready: a resource that no earlier step judged is ready when its kind says so.
pub(crate) fn auto_ready(observed: &Observed<'_>, state: &mut State) {
    for (name, desired) in &mut state.desired {
        if let (None, Some(existing)) = (desired.ready, observed.composed.get(name))
            && ready::by_health(existing)
        {
            desired.ready = Some(true);
        }
    }
}

/// The Secret that carries the connection details of a composite of the second form.
pub(crate) fn connection_secret(
    composite: &Value,
    details: &BTreeMap<String, String>,
) -> Option<(String, Value)> {
    if details.is_empty() || composite["spec"].get("crossplane").is_none() {
        return None;
    }
    let name = meta::name(composite);
    let data: Map<String, Value> = details.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "connection.crossplane.io/v1alpha1",
        "metadata": {"name": format!("{name}-connection")}, "stringData": data,
    });
    Some((format!("{name}-connection-secret"), secret))
}
