//! What generators make, by way of their configuration.

#![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

use super::*;
use crate::MemoryTree;
use crate::node::to_yaml;
use crate::reader::Reader;
use crate::schema::Schema;

fn run<G: Generate + serde::de::DeserializeOwned>(config: &str) -> Result<Resource, String> {
    let generator: G = serde_json::from_value(yaml::parse(config, yaml::Resolver::Kyaml).unwrap()).unwrap();
    let mut tree = MemoryTree::default();
    tree.insert("d/text", "hello\n");
    tree.insert("d/binary", &b"x\xff"[..]);
    tree.insert("d/long", vec![b'a'; 53]);
    tree.insert("d/x.env", "A=1\n");
    let reader = Reader::new(&tree, false, None);
    let schema = Schema::default();
    let context = Context { reader: &reader, dir: "d", file: "d/kustomization.yaml", schema: &schema };
    let mut made = generator.generate(&context).map_err(|error| error.to_string())?;
    Ok(made.remove(0))
}

#[test]
fn config_maps_have_text_and_binary_data() {
    let made = run::<ConfigMapGenerator>(
        "{name: a, namespace: n, behavior: merge, files: [text, b=binary], literals: [t=true], envs: [x.env]}",
    )
    .unwrap();
    let expected = "apiVersion: v1\nbinaryData:\n  b: eP8=\ndata:\n  A: \"1\"\n  t: \"true\"\n  text: |\n    hello\n\
                    kind: ConfigMap\nmetadata:\n  name: a\n  namespace: \"n\"\n";
    assert_eq!(to_yaml(&made.node).unwrap(), expected);
    assert_eq!((made.behavior, made.needs_hash), (Behavior::Merge, true));
}

#[test]
fn secrets_are_base64_in_lines() {
    let made = run::<SecretGenerator>(
        "{metadata: {name: a}, files: [long, text], options: {immutable: true, disableNameSuffixHash: true, \
         labels: {l: '1'}}}",
    )
    .unwrap();
    let long = format!("{}YW\n    E=\n", "YWFh".repeat(17));
    let expected = format!(
        "apiVersion: v1\ndata:\n  long: |\n    {long}  text: aGVsbG8K\nimmutable: true\nkind: Secret\nmetadata:\n  \
         labels:\n    l: \"1\"\n  name: a\ntype: Opaque\n"
    );
    assert_eq!(to_yaml(&made.node).unwrap(), expected);
    assert!(!made.needs_hash);
    let empty = run::<SecretGenerator>("{name: a, type: t}").unwrap();
    assert_eq!(
        to_yaml(&empty.node).unwrap(),
        "apiVersion: v1\ndata: {}\nkind: Secret\nmetadata:\n  name: a\ntype: t\n"
    );
}

#[test]
fn bad_sources_name_file_and_generator() {
    let check = |config: &str, parts: &[&str]| {
        let message = run::<ConfigMapGenerator>(config).unwrap_err();
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
    };
    check("{literals: [a=b]}", &["d/kustomization.yaml", "must have a name"]);
    check("{name: m, literals: [a]}", &["'m'", "invalid literal source a, expected key=value"]);
    check("{name: m, literals: [a=1, a=2]}", &["configmap m illegally repeats the key `a`"]);
    check("{name: m, files: [nope]}", &["nope"]);
    check("{name: m, files: [a=b=c]}", &["'m'", "contains '='"]);
}

#[test]
fn options_of_a_generator_win() {
    let options = |text: &str| {
        let value = yaml::parse(text, yaml::Resolver::Kyaml).unwrap();
        serde_json::from_value::<GeneratorOptions>(value).unwrap()
    };
    let merged = GeneratorOptions::merged(
        Some(options("{labels: {a: own}, immutable: true}")),
        Some(&options("{labels: {a: all, b: all}, disableNameSuffixHash: true}")),
    );
    let expected = options("{labels: {a: own, b: all}, immutable: true, disableNameSuffixHash: true}");
    assert_eq!(merged, Some(expected));
    assert_eq!(GeneratorOptions::merged(None, None), None);
}

#[test]
fn service_accounts_for_gke() {
    let made = run::<IamPolicyGenerator>(
        "{cloud: gke, kubernetesService: {name: k, namespace: n1}, serviceAccount: {name: s, projectId: p}}",
    )
    .unwrap();
    let expected = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  annotations:\n    \
                    iam.gke.io/gcp-service-account: s@p.iam.gserviceaccount.com\n  name: k\n  namespace: n1\n";
    assert_eq!(to_yaml(&made.node).unwrap(), expected);
    assert!(
        run::<IamPolicyGenerator>("{cloud: x}").unwrap_err().contains("cloud provider x not supported yet")
    );
}
