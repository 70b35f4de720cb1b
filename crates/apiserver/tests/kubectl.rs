//! The judge: real kubectl over TLS below a path prefix, as a user runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod support;

use serde_json::json;
use support::{Cluster, Listener, cluster, has_kubectl, kubectl, listen};

struct Shell {
    cluster: Cluster,
    listener: Listener,
}

impl Shell {
    async fn start() -> Option<Self> {
        if !has_kubectl() {
            return None;
        }
        let cluster = cluster().await;
        let listener = listen(&cluster).await;
        Some(Self { cluster, listener })
    }

    /// Runs a command that has to succeed; its output.
    async fn run(&self, line: &str) -> String {
        self.input(line, "").await
    }

    async fn input(&self, line: &str, stdin: &str) -> String {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let (ok, text) = kubectl(&self.listener, &arguments, stdin).await;
        assert!(ok, "kubectl {line}: {text}");
        text
    }

    /// Runs a command that has to fail; what it says.
    async fn fail(&self, line: &str) -> String {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let (ok, text) = kubectl(&self.listener, &arguments, "").await;
        assert!(!ok, "kubectl {line}: {text}");
        text
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: 'nginx:1', ports: [{containerPort: 80}]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_commands_send_protobuf_and_are_understood() {
    let Some(s) = Shell::start().await else { return };
    assert_eq!(s.run("create namespace shop").await, "namespace/shop created\n");
    assert_eq!(s.run("create configmap cm --from-literal=k=v").await, "configmap/cm created\n");
    assert_eq!(s.run("get configmap cm -o jsonpath={.data.k}").await, "v");
    assert_eq!(s.run("create secret generic sec --from-literal=p=geheim").await, "secret/sec created\n");
    assert_eq!(s.run("get secret sec -o jsonpath={.data.p}:{.type}").await, "Z2VoZWlt:Opaque");
    assert_eq!(
        s.run("create deployment web --image=nginx --replicas=0 --port=80").await,
        "deployment.apps/web created\n"
    );
    let fields =
        "{.spec.replicas} {.spec.template.spec.containers[0].ports[0].containerPort} {.metadata.generation}";
    let (_, text) =
        kubectl(&s.listener, &["get", "deployment", "web", "-o", &format!("jsonpath={fields}")], "").await;
    assert_eq!(text, "0 80 1");
    assert_eq!(s.run("create serviceaccount robot").await, "serviceaccount/robot created\n");
    assert_eq!(
        s.run("create role r --verb=get --resource=pods").await,
        "role.rbac.authorization.k8s.io/r created\n"
    );
    assert_eq!(
        s.run("create rolebinding rb --role=r --user=bob").await,
        "rolebinding.rbac.authorization.k8s.io/rb created\n"
    );
    assert_eq!(s.run("create job j --image=busybox").await, "job.batch/j created\n");
    let cron = ["create", "cronjob", "cj", "--image=busybox", "--schedule=*/5 * * * *", "--", "true"];
    assert_eq!(kubectl(&s.listener, &cron, "").await, (true, "cronjob.batch/cj created\n".to_owned()));
    assert_eq!(s.run("create quota q --hard=pods=3").await, "resourcequota/q created\n");
    assert_eq!(
        s.run("create ingress i --rule=a.example.com/x=web:80").await,
        "ingress.networking.k8s.io/i created\n"
    );
    assert_eq!(s.run("create service clusterip svc --tcp=80:8080").await, "service/svc created\n");
    assert!(s.run("get service svc -o jsonpath={.spec.clusterIP}").await.starts_with("10.96."));
    assert_eq!(
        s.run("create priorityclass high --value=1000").await,
        "priorityclass.scheduling.k8s.io/high created\n"
    );
    let token = s.run("create token robot").await;
    assert_eq!(token.trim().split('.').count(), 3);
    assert_eq!(
        s.run("create pdb b --selector=app=web --min-available=1").await,
        "poddisruptionbudget.policy/b created\n"
    );
    assert!(s.run("autoscale deployment web --min=1 --max=3").await.contains("autoscaled"));
    assert!(s.run("expose deployment web --port=80").await.contains("exposed"));
    assert!(s.run("run pod1 --image=busybox").await.contains("created"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_change_diff_and_delete() {
    let Some(s) = Shell::start().await else { return };
    assert_eq!(s.input("apply -f -", DEPLOYMENT).await, "deployment.apps/web created\n");
    assert_eq!(s.input("apply -f -", DEPLOYMENT).await, "deployment.apps/web unchanged\n");
    let changed = DEPLOYMENT.replace("nginx:1", "nginx:2");
    assert_eq!(s.input("apply -f -", &changed).await, "deployment.apps/web configured\n");
    assert_eq!(
        s.run("get deploy web -o jsonpath={.spec.template.spec.containers[*].image}").await,
        "nginx:2"
    );
    assert_eq!(s.input("diff -f -", &changed).await, "");
    assert_eq!(s.run("scale deploy web --replicas=5").await, "deployment.apps/web scaled\n");
    assert_eq!(s.run("set image deploy/web web=nginx:3").await, "deployment.apps/web image updated\n");
    assert_eq!(s.run("label deploy web tier=front").await, "deployment.apps/web labeled\n");
    assert_eq!(s.run("annotate deploy web note=x").await, "deployment.apps/web annotated\n");
    assert_eq!(
        s.run("patch deploy web -p {\"spec\":{\"replicas\":3}}").await,
        "deployment.apps/web patched\n"
    );
    let table = s.run("get deploy").await;
    assert!(
        table.starts_with("NAME   READY   UP-TO-DATE   AVAILABLE   AGE\nweb    0/3     0            0"),
        "{table}"
    );
    let wide = s.run("get deploy -o wide --show-labels").await;
    assert!(wide.contains("nginx:3") && wide.contains("tier=front"), "{wide}");
    assert!(
        s.run("describe deploy web")
            .await
            .contains("RollingUpdateStrategy:  25% max unavailable, 25% max surge")
    );
    assert!(s.run("get all").await.contains("deployment.apps/web"));
    assert_eq!(s.run("delete deploy web").await, "deployment.apps \"web\" deleted\n");
    let typo = DEPLOYMENT.replace("replicas:", "replica:");
    let (ok, text) = kubectl(&s.listener, &["apply", "-f", "-"], &typo).await;
    assert!(!ok && text.contains("strict decoding error: unknown field \"spec.replica\""), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_side_apply_and_its_conflicts() {
    let Some(s) = Shell::start().await else { return };
    assert_eq!(
        s.input("apply --server-side -f -", DEPLOYMENT).await,
        "deployment.apps/web serverside-applied\n"
    );
    let version = s.run("get deploy web -o jsonpath={.metadata.resourceVersion}").await;
    assert_eq!(
        s.input("apply --server-side -f -", DEPLOYMENT).await,
        "deployment.apps/web serverside-applied\n"
    );
    assert_eq!(
        s.run("get deploy web -o jsonpath={.metadata.resourceVersion}").await,
        version,
        "nothing changed"
    );
    let other = DEPLOYMENT.replace("replicas: 2", "replicas: 4");
    let (ok, text) =
        kubectl(&s.listener, &["apply", "--server-side", "--field-manager=other", "-f", "-"], &other).await;
    assert!(
        !ok && text.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .spec.replicas"),
        "{text}"
    );
    s.input("apply --server-side --field-manager=other --force-conflicts -f -", &other).await;
    assert_eq!(s.run("get deploy web -o jsonpath={.spec.replicas}").await, "4");
    assert_eq!(s.input("diff --server-side --field-manager=other -f -", &other).await, "");
}

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: xnodeapps.platform.io}
spec:
  group: platform.io
  scope: Namespaced
  names: {plural: xnodeapps, kind: XNodeApp, shortNames: [xna], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    additionalPrinterColumns:
    - {name: Team, type: string, jsonPath: .spec.team}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [team]
            properties:
              team: {type: string, description: Who owns it., maxLength: 10}
              replicas: {type: integer, default: 1}
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources_are_served_as_soon_as_their_definition_is() {
    let Some(s) = Shell::start().await else { return };
    let created = s.input("apply -f -", DEFINITION).await;
    assert_eq!(created, "customresourcedefinition.apiextensions.k8s.io/xnodeapps.platform.io created\n");
    s.run("wait --for=condition=Established crd/xnodeapps.platform.io --timeout=5s").await;
    let app =
        "{apiVersion: platform.io/v1, kind: XNodeApp, metadata: {name: dashboard}, spec: {team: platform}}";
    assert_eq!(s.input("apply -f -", app).await, "xnodeapp.platform.io/dashboard created\n");
    assert_eq!(s.run("get xna dashboard -o jsonpath={.spec.replicas}:{.metadata.generation}").await, "1:1");
    let status = r#"patch xna dashboard --subresource=status --type=merge -p {"status":{"conditions":[{"type":"Ready","status":"True"}]},"spec":{"team":"no"}}"#;
    s.run(status).await;
    let table = s.run("get xnodeapps").await;
    assert!(table.starts_with("NAME        TEAM       READY   AGE\ndashboard   platform   True "), "{table}");
    s.run("scale xna dashboard --replicas=3").await;
    assert_eq!(s.run("get xna dashboard -o jsonpath={.spec.replicas}:{.metadata.generation}").await, "3:2");
    let explained = s.run("explain xnodeapp.spec").await;
    assert!(explained.contains("Who owns it.") && explained.contains("-required-"), "{explained}");
    let wrong = "{apiVersion: platform.io/v1, kind: XNodeApp, metadata: {name: bad}, spec: {team: much-too-long-name}}";
    let (ok, text) = kubectl(&s.listener, &["apply", "-f", "-"], wrong).await;
    assert!(!ok && text.contains("spec.team: Too long"), "{text}");
    let unknown =
        "{apiVersion: platform.io/v1, kind: XNodeApp, metadata: {name: bad}, spec: {team: a, tema: b}}";
    let (ok, text) = kubectl(&s.listener, &["apply", "-f", "-"], unknown).await;
    assert!(!ok && text.contains("unknown field \"spec.tema\""), "{text}");
    assert!(s.run("api-resources --api-group=platform.io").await.contains("xna"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_do_what() {
    let Some(s) = Shell::start().await else { return };
    assert!(s.fail("--context=bob get pods").await.contains(
        "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    ));
    assert!(s.fail("--context=bad get pods").await.contains("You must be logged in to the server"));
    assert_eq!(s.fail("--context=bob auth can-i list pods").await, "no\n");
    s.run("create rolebinding v --clusterrole=view --user=bob").await;
    assert_eq!(s.run("--context=bob auth can-i list pods").await, "yes\n");
    assert_eq!(s.fail("--context=bob auth can-i list secrets").await, "no\n");
    assert_eq!(s.run("auth can-i * *").await, "yes\n");
    assert_eq!(s.run("--context=bob get pods").await, "No resources found in default namespace.\n");
    let whoami = s.run("--context=bob auth whoami -o jsonpath={.status.userInfo.username}").await;
    assert_eq!(whoami, "bob");
    assert_eq!(s.run("--as=carol auth whoami -o jsonpath={.status.userInfo.username}").await, "carol");
    assert!(
        s.fail("--context=bob --as=carol get pods").await.contains("cannot impersonate resource \"users\"")
    );
    assert!(s.run("--context=bob auth can-i --list").await.contains("configmaps"));
    let _ = &s.cluster;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_explain_and_versions() {
    let Some(s) = Shell::start().await else { return };
    assert!(s.run("version").await.contains("Server Version: v1.33.1+portolan"));
    let resources = s.run("api-resources").await;
    for words in
        [["pods", "po", "v1", "true", "Pod"], ["deployments", "deploy", "apps/v1", "true", "Deployment"]]
    {
        assert!(resources.lines().any(|l| l.split_whitespace().eq(words)), "{resources}");
    }
    assert!(s.run("api-versions").await.contains("apps/v1\n"));
    assert!(s.run("explain deployment.spec.template.spec.containers").await.contains("livenessProbe"));
    assert!(s.run("cluster-info").await.contains("is running at"));
    assert_eq!(s.run("get --raw /clusters/dev/readyz").await, "ok");
    let raw = s.run("get --raw /clusters/dev/openapi/v3").await;
    let index: serde_json::Value = serde_json::from_str(&raw).unwrap();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(url.starts_with("/clusters/dev/openapi/v3/apis/apps/v1?hash="), "{url}");
    let namespaces = s.run("get ns").await;
    assert!(namespaces.contains("kube-node-lease   Active"), "{namespaces}");
    assert!(s.run("get svc kubernetes").await.contains("10.96.0.1"));
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    s.input("create -f -", &pod.to_string()).await;
    assert!(s.run("get pods").await.contains("p      0/1     Pending   0"));
    assert_eq!(s.run("delete pod p --wait=false").await, "pod \"p\" deleted\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_watching_draining_and_replacing() {
    let Some(s) = Shell::start().await else { return };
    s.input("apply -f -", DEPLOYMENT).await;
    let status = r#"patch deploy web --subresource=status -p {"status":{"observedGeneration":1,"replicas":2,"updatedReplicas":2,"availableReplicas":2,"readyReplicas":2,"conditions":[{"type":"Available","status":"True"}]}}"#;
    s.run(status).await;
    assert!(s.run("rollout status deploy/web --timeout=5s").await.contains("successfully rolled out"));
    assert!(s.run("wait --for=condition=Available deploy/web --timeout=5s").await.contains("condition met"));
    assert_eq!(s.run("rollout restart deploy/web").await, "deployment.apps/web restarted\n");
    let yaml = s.run("get deploy web -o yaml").await;
    assert_eq!(s.input("replace -f -", &yaml).await, "deployment.apps/web replaced\n");
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"capacity": {"cpu": "4"}}});
    s.input("create -f -", &node.to_string()).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]}});
    s.input("create -f -", &pod.to_string()).await;
    assert!(s.run("cordon n1").await.contains("cordoned"));
    s.run("taint node n1 k=v:NoSchedule").await;
    assert!(s.run("describe node n1").await.contains("k=v:NoSchedule"));
    assert!(s.run("describe pod p").await.contains("Node:             n1"));
    let drained = s.run("drain n1 --force --grace-period=0 --timeout=10s").await;
    assert!(drained.contains("node/n1 drained"), "{drained}");
    assert_eq!(s.run("get events").await, "No resources found in default namespace.\n");
    assert_eq!(
        s.run("delete ns kube-node-lease --wait=false").await,
        "namespace \"kube-node-lease\" deleted\n"
    );
    assert!(s.run("get ns kube-node-lease").await.contains("Terminating"));
    let (ok, text) = kubectl(&s.listener, &["create", "cm", "x", "-n", "kube-node-lease"], "").await;
    assert!(!ok && text.contains("because it is being terminated"), "{text}");
    assert_eq!(s.run("delete deploy,svc -l app=web").await, "deployment.apps \"web\" deleted\n");
    assert_eq!(s.run("delete cm --all").await, "configmap \"kube-root-ca.crt\" deleted\n");
    let applyset = "apply --prune -l app=web -f -";
    s.input(applyset, DEPLOYMENT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_are_applied_changed_and_deleted() {
    let Some(s) = Shell::start().await else { return };
    let applied = "customresourcedefinition.apiextensions.k8s.io/xnodeapps.platform.io serverside-applied\n";
    assert_eq!(s.input("apply --server-side -f -", DEFINITION).await, applied);
    let version = "get crd xnodeapps.platform.io -o jsonpath={.metadata.resourceVersion}";
    let before = s.run(version).await;
    assert_eq!(s.input("apply --server-side -f -", DEFINITION).await, applied);
    assert_eq!(s.run(version).await, before, "nothing changed");
    let more = DEFINITION.replace("default: 1}", "default: 1}\n              port: {type: integer}");
    s.input("apply --server-side -f -", &more).await;
    let app = "{apiVersion: platform.io/v1, kind: XNodeApp, metadata: {name: a}, spec: {team: t, port: 80}}";
    assert_eq!(s.input("apply -f -", app).await, "xnodeapp.platform.io/a created\n");
    assert!(s.run("get all").await.contains("xnodeapp.platform.io/a"), "the category all");
    assert!(s.run("get crd").await.contains("xnodeapps.platform.io"));
    s.run("delete crd xnodeapps.platform.io --timeout=10s").await;
    // kubectl still has the kind in its cache of discovery, the server does not serve it any more.
    let gone = s.fail("get xnodeapps").await;
    assert!(gone.contains("the server could not find the requested resource"), "{gone}");
}
