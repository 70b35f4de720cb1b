//! Whether what was applied is healthy, by kstatus: pure.

use object::health::kstatus::{self, Status};
use serde_json::Value;

use super::inventory::Entry;

/// The verdict on a set of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Healthy,
    /// Some are on their way; their names for the message.
    Waiting(Vec<String>),
    /// Some have failed, and waiting longer will not mend them.
    Failed(Vec<String>),
}

/// Judges objects; one that is not there is on its way.
pub(crate) fn judge<'a>(
    objects: impl IntoIterator<Item = (&'a Entry, Option<&'a Value>)>,
    now: jiff::Timestamp,
) -> Verdict {
    let (mut waiting, mut failed) = (vec![], vec![]);
    for (entry, live) in objects {
        let status = live.map(|live| kstatus::compute(live, now).status);
        let shown = |word: &str| format!("{} status: '{word}'", entry.subject());
        match status {
            Some(Status::Current) => {}
            Some(Status::Failed) => failed.push(shown("Failed")),
            Some(other) => waiting.push(shown(other.name())),
            None => waiting.push(shown("NotFound")),
        }
    }
    match (failed.is_empty(), waiting.is_empty()) {
        (false, _) => Verdict::Failed(failed),
        (true, false) => Verdict::Waiting(waiting),
        (true, true) => Verdict::Healthy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_failure_decides() {
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n"}});
        let bad = json!({
            "apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x", "namespace": "n", "generation": 1},
            "status": {"observedGeneration": 1, "conditions": [{"type": "Stalled", "status": "True", "reason": "R", "message": "m"}]},
        });
        let slow = json!({
            "apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "y", "namespace": "n", "generation": 2},
            "status": {"observedGeneration": 1},
        });
        let check = |objects: &[&Value], expected: Verdict| {
            let entries: Vec<(Entry, &Value)> =
                objects.iter().map(|object| (Entry::of(object), *object)).collect();
            let found =
                judge(entries.iter().map(|(entry, live)| (entry, Some(*live))), jiff::Timestamp::now());
            assert_eq!(found, expected);
        };
        check(&[&map], Verdict::Healthy);
        check(&[&map, &slow], Verdict::Waiting(vec!["X/n/y status: 'InProgress'".into()]));
        check(&[&slow, &bad], Verdict::Failed(vec!["X/n/x status: 'Failed'".into()]));
        let gone = Entry::of(&map);
        let found = judge([(&gone, None)], jiff::Timestamp::now());
        assert_eq!(found, Verdict::Waiting(vec!["ConfigMap/n/m status: 'NotFound'".into()]));
    }
}
