//! kubectl as people use it, against a running platform: what it prints is what they would see of any cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod platform;

use platform::{Platform, SOON, eventually, fail, succeed, web};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_with_kubectl() {
    let platform = Platform::start().await;
    if platform.kubectl("dev").is_none() {
        return;
    }
    platform.ready().await;
    let command = |line: &str| {
        let mut command = platform.kubectl("dev").unwrap();
        command.args(line.split_whitespace());
        command
    };
    let run = |line: &str| succeed(command(line));
    let manifest = platform.data.join("web.yaml");
    std::fs::write(&manifest, web::manifest("one")).unwrap();
    let file = manifest.to_string_lossy().into_owned();

    for done in ["created", "unchanged"] {
        let said = run(&format!("apply -f {file}"));
        let all = ["deployment.apps/web", "service/web", "ingress.networking.k8s.io/web"];
        assert_eq!(said, all.map(|one| format!("{one} {done}\n")).concat());
    }
    let said = run("rollout status deployment/web --timeout=60s");
    assert!(said.ends_with("deployment \"web\" successfully rolled out\n"), "{said}");

    let table = run("get deployments");
    assert_eq!(columns(&table), ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]);
    assert!(table.lines().nth(1).is_some_and(|row| row.split_whitespace().nth(1) == Some("2/2")), "{table}");
    let table = run("get pods -l app=web");
    assert_eq!(columns(&table), ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert_eq!(table.matches("1/1").count(), 2, "{table}");
    assert!(run("get nodes").contains("Ready"));
    assert!(run("get endpointslices").contains("10.244."));

    let pod = run("get pods -l app=web -o jsonpath={.items[0].metadata.name}");
    let mut fetch = command(&format!("exec {pod} -- node -e"));
    fetch.arg(
        "fetch('http://web.default.svc.cluster.local/inside').then(r => r.text()).then(t => console.log(t))",
    );
    let said = succeed(fetch);
    assert!(said.starts_with("one from web-"), "{said}");
    let mut failing = command(&format!("exec {pod} -- sh -c"));
    failing.arg("echo loud >&2; exit 3");
    let said = fail(failing);
    assert!(said.contains("loud") && said.contains("exit code 3"), "{said}");
    let logged = async || run("logs -l app=web --tail=-1").contains("asked for /inside").then_some(());
    eventually("the request is in the log", SOON, logged).await;

    assert!(run("explain deployment.spec.replicas").contains("replicas"));
    let resources = run("api-resources");
    for expected in ["deployments", "ingresses", "xnodeapps", "kustomizations", "gitrepositories", "clusters"]
    {
        let listed =
            async || (resources.contains(expected) || run("api-resources").contains(expected)).then_some(());
        eventually(&format!("the kind {expected} is served"), SOON, listed).await;
    }
    assert!(run("describe deployment web").contains("web:"), "describe prints the containers");
    assert_eq!(run("auth can-i delete pods").trim(), "yes");
    assert!(fail(command("get pod nobody")).contains("(NotFound): pods \"nobody\" not found"));
    assert!(fail(command("create configmap Bad_Name")).contains("RFC 1123"));

    assert_eq!(run("scale deployment web --replicas=1"), "deployment.apps/web scaled\n");
    run("rollout status deployment/web --timeout=60s");
    let said = run(&format!("delete -f {file} --wait=true --timeout=60s"));
    assert!(said.contains("deployment.apps \"web\" deleted"), "{said}");
    let gone = async || run("get pods -l app=web --no-headers --ignore-not-found").is_empty().then_some(());
    eventually("the pods are gone", SOON, gone).await;
}

fn columns(table: &str) -> Vec<&str> {
    table.lines().next().unwrap_or_default().split_whitespace().collect()
}
