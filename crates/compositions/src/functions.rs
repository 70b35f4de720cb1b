//! Functions: packages that run elsewhere in Crossplane; here those with an implementation in process are healthy at
//! once, and others say that they are not available.

use std::sync::Arc;

use controller::{Cache, Cluster, Controller, Next, ReconcileError, Reconciler, now};
use object::{Key, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::api::FUNCTION;
use crate::pipeline::implementation;

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let functions = cluster.watch(&FUNCTION);
    let controller = Controller::new("function", &cluster, &FUNCTION);
    controller.run(Arc::new(Functions { cluster, functions }), stop).await;
}

struct Functions {
    cluster: Cluster,
    functions: Cache,
}

impl Reconciler for Functions {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(function) = self.functions.get(key) else { return Ok(Next::Done) };
        self.cluster.write_status(&FUNCTION, &function, &status(&function, &now())).await?;
        Ok(Next::Done)
    }
}

fn status(function: &Value, now: &str) -> Value {
    let mut status = if function["status"].is_object() { function["status"].clone() } else { json!({}) };
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let (value, healthy, message) = match implementation(meta::name(function)) {
        Some(_) => ("True", "HealthyPackageRevision", "Runs in process".to_owned()),
        None => {
            let text = format!("Function {:?} has no implementation in process", meta::name(function));
            ("False", "UnhealthyPackageRevision", text)
        }
    };
    let installed = json!({"type": "Installed", "status": "True", "reason": "ActivePackageRevision"});
    meta::set_condition(&mut conditions, installed, now);
    let healthy = json!({"type": "Healthy", "status": value, "reason": healthy, "message": message});
    meta::set_condition(&mut conditions, healthy, now);
    status["conditions"] = conditions.into();
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_in_process_is_healthy() {
        let check = |name: &str, expected: bool| {
            let function = json!({"metadata": {"name": name}});
            let object = json!({"status": status(&function, "t")});
            assert_eq!(meta::condition_is_true(&object, "Healthy"), expected, "{name}");
        };
        check("function-patch-and-transform", true);
        check("crossplane-contrib-function-auto-ready", true);
        check("function-kcl", false);
        check("myfunction-auto-ready", false);
    }
}
