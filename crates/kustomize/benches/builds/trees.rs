//! The trees that are built: what deploy repositories look like, in any number.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use kustomize::MemoryTree;

/// Files of a tree by path.
pub(crate) type Files = Vec<(String, String)>;

pub(crate) fn in_memory(files: &Files) -> MemoryTree {
    MemoryTree::new(files.iter().map(|(path, text)| (path.clone(), Bytes::from(text.clone()))))
}

pub(crate) fn write(files: &Files, root: &Path) {
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// Where overlay `n` lies.
pub(crate) fn overlay_dir(n: usize) -> String {
    format!("overlays/team-{n:04}")
}

/// Overlays spread over bases.
pub(crate) fn fleet(bases: usize, overlays: usize) -> Files {
    let mut files = vec![];
    (0..bases).for_each(|n| base(&mut files, n));
    (0..overlays).for_each(|n| overlay(&mut files, n, n % bases));
    files
}

/// A base: Deployment, Service, Ingress, HorizontalPodAutoscaler and a generated ConfigMap.
fn base(files: &mut Files, n: usize) {
    let mut add = |name: &str, text: String| files.push((format!("bases/app-{n:02}/{name}"), text));
    add("kustomization.yaml", BASE.replace("NN", &format!("{n:02}")));
    add("deployment.yaml", DEPLOYMENT.replace("NN", &format!("{n:02}")));
    add("service.yaml", SERVICE.to_owned());
    add("ingress.yaml", INGRESS.to_owned());
    add("autoscaler.yaml", AUTOSCALER.to_owned());
    add("app.properties", format!("pool.size={n}\nlog.level=info\ntimeout=30s\n"));
}

/// An overlay: namespace, prefix, labels, image, a merged ConfigMap, two patches and a replacement.
fn overlay(files: &mut Files, n: usize, base: usize) {
    let dir = overlay_dir(n);
    let mut add = |name: &str, text: &str| {
        let text = text.replace("NNNN", &format!("{n:04}")).replace("BB", &format!("{base:02}"));
        files.push((format!("{dir}/{name}"), text));
    };
    add("kustomization.yaml", OVERLAY);
    add("resources.yaml", PATCH);
}

/// One build of many objects: `per_file` documents a file, every Deployment with a reference to the ConfigMap beside it.
pub(crate) fn large(objects: usize) -> Files {
    const PER_FILE: usize = 250;
    let mut files = vec![];
    let mut kustomization =
        "namePrefix: big-\nnamespace: big\ncommonAnnotations: {owner: bench}\nlabels:\n- \
                             includeSelectors: true\n  pairs: {part-of: bench}\nresources:\n"
            .to_owned();
    for (file, chunk) in (0..objects).collect::<Vec<_>>().chunks(PER_FILE).enumerate() {
        let mut text = String::new();
        for n in chunk {
            let document = if n % 2 == 0 { SMALL_CONFIG } else { SMALL_DEPLOYMENT };
            text.push_str(&document.replace("NNNN", &(n / 2).to_string()));
        }
        let _ = writeln!(kustomization, "- part-{file}.yaml");
        files.push((format!("part-{file}.yaml"), text));
    }
    files.push(("kustomization.yaml".to_owned(), kustomization));
    files
}

/// Many objects, and patches whose targets are regular expressions.
pub(crate) fn patched(objects: usize, patches: usize) -> Files {
    let mut files = large(objects);
    let (_, kustomization) = files.last_mut().unwrap();
    kustomization.push_str("patches:\n");
    for n in 0..patches {
        let _ = write!(
            kustomization,
            "- target: {{kind: Deployment, name: \"app-.*{n:02}\"}}\n  patch: |-\n    - {{op: add, path: /metadata/labels, value: {{p: x{n}}}}}\n"
        );
    }
    files
}

/// Many objects, and for every second one a strategic merge patch that names it.
pub(crate) fn patched_each(objects: usize) -> Files {
    let mut files = large(objects);
    let (_, kustomization) = files.last_mut().unwrap();
    kustomization.push_str("patches:\n");
    for n in 0..objects / 2 {
        let _ = writeln!(
            kustomization,
            "- patch: '{{apiVersion: v1, kind: ConfigMap, metadata: {{name: settings-{n}}}, data: {{more: x}}}}'"
        );
    }
    files
}

/// Many objects, each in a file of its own.
pub(crate) fn scattered(objects: usize) -> Files {
    let mut kustomization = "namePrefix: big-\nresources:\n".to_owned();
    let mut files = vec![];
    for n in 0..objects {
        let _ = writeln!(kustomization, "- {n}.yaml");
        files.push((format!("{n}.yaml"), SMALL_CONFIG.replace("NNNN", &n.to_string())));
    }
    files.push(("kustomization.yaml".to_owned(), kustomization));
    files
}

/// Many generated ConfigMaps.
pub(crate) fn generated(maps: usize) -> Files {
    let mut kustomization = "namePrefix: big-\nconfigMapGenerator:\n".to_owned();
    for n in 0..maps {
        let _ = write!(kustomization, "- name: config-{n}\n  literals: [\"number={n}\", \"mode=fast\"]\n");
    }
    vec![("kustomization.yaml".to_owned(), kustomization)]
}

const BASE: &str = "\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- deployment.yaml
- service.yaml
- ingress.yaml
- autoscaler.yaml
labels:
- pairs:
    app.kubernetes.io/name: app-NN
  includeSelectors: true
configMapGenerator:
- name: settings
  literals:
  - MODE=production
  - REGION=none
  files:
  - app.properties
";

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      app: web
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  template:
    metadata:
      labels:
        app: web
      annotations:
        prometheus.io/scrape: \"true\"
        prometheus.io/port: \"8080\"
    spec:
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
      containers:
      - name: web
        image: registry.example.com/shop/app-NN:1.0.0
        imagePullPolicy: IfNotPresent
        ports:
        - name: http
          containerPort: 8080
        env:
        - name: PORT
          value: \"8080\"
        - name: HOST
          value: web.example.com
        - name: REGION
          valueFrom:
            configMapKeyRef: {name: settings, key: REGION}
        envFrom:
        - configMapRef:
            name: settings
        readinessProbe:
          httpGet: {path: /ready, port: http}
          periodSeconds: 5
        livenessProbe:
          httpGet: {path: /live, port: http}
          initialDelaySeconds: 10
        resources:
          requests: {cpu: 100m, memory: 128Mi}
          limits: {memory: 256Mi}
        volumeMounts:
        - name: settings
          mountPath: /etc/settings
          readOnly: true
      volumes:
      - name: settings
        configMap:
          name: settings
";

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector:
    app: web
  ports:
  - name: http
    port: 80
    targetPort: http
";

const INGRESS: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations:
    cert-manager.io/cluster-issuer: letsencrypt
spec:
  ingressClassName: traefik
  rules:
  - host: web.example.com
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: web
            port:
              name: http
";

const AUTOSCALER: &str = "\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: web
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: web
  minReplicas: 2
  maxReplicas: 10
  metrics:
  - type: Resource
    resource:
      name: cpu
      target:
        type: Utilization
        averageUtilization: 70
";

const OVERLAY: &str = "\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: team-NNNN
namePrefix: tNNNN-
resources:
- ../../bases/app-BB
labels:
- pairs:
    example.com/team: team-NNNN
  includeSelectors: true
  includeTemplates: true
images:
- name: registry.example.com/shop/app-BB
  newTag: 1.2.NNNN
configMapGenerator:
- name: settings
  behavior: merge
  literals:
  - REGION=eu-NNNN
patches:
- path: resources.yaml
- target:
    kind: Ingress
    name: web
  patch: |-
    - op: replace
      path: /spec/rules/0/host
      value: team-NNNN.example.com
replacements:
- source:
    kind: Ingress
    name: web
    fieldPath: spec.rules.0.host
  targets:
  - select:
      kind: Deployment
    fieldPaths:
    - spec.template.spec.containers.[name=web].env.[name=HOST].value
";

const PATCH: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 3
  template:
    spec:
      containers:
      - name: web
        env:
        - name: TEAM
          value: team-NNNN
        resources:
          limits: {memory: 512Mi}
";

const SMALL_CONFIG: &str = "---
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings-NNNN
data:
  number: \"NNNN\"
  mode: production
  server.properties: |
    pool.size=16
    timeout=30s
";

const SMALL_DEPLOYMENT: &str = "---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-NNNN
spec:
  replicas: 2
  selector:
    matchLabels: {app: app-NNNN}
  template:
    metadata:
      labels: {app: app-NNNN}
    spec:
      containers:
      - name: app
        image: registry.example.com/shop/app:1.0.0
        ports:
        - containerPort: 8080
        envFrom:
        - configMapRef: {name: settings-NNNN}
";
