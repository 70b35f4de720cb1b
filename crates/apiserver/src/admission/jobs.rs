//! What a new Job gets so that its pods can be found: a selector by its own uid, and the labels for it. After Kubernetes' `registry/batch/job`.

use object::meta;
use serde_json::{Value, json};

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// Sets selector and template labels, unless the user keeps both by hand (`manualSelector`).
pub(super) fn select_own_pods(job: &mut Value) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let (uid, name) = (meta::uid(job).to_owned(), meta::name(job).to_owned());
    let template = &mut job["spec"]["template"];
    for (label, value) in
        [(CONTROLLER_UID, &uid), ("controller-uid", &uid), (JOB_NAME, &name), ("job-name", &name)]
    {
        meta::set_label(template, label, value);
    }
    let labels = template["metadata"]["labels"].clone();
    job["spec"]["selector"] = json!({"matchLabels": {CONTROLLER_UID: uid}});
    if meta_has_no_labels(job) {
        job["metadata"]["labels"] = labels;
    }
}

fn meta_has_no_labels(object: &Value) -> bool {
    object["metadata"]["labels"].as_object().is_none_or(serde_json::Map::is_empty)
}
