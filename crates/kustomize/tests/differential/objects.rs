//! Objects as deploy repositories have them, as templates.

/// One kind and what an object of it may say after `apiVersion` and `kind`.
pub(crate) struct Form {
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
    pub(crate) body: &'static str,
}

const fn form(api_version: &'static str, kind: &'static str, body: &'static str) -> Form {
    Form { api_version, kind, namespaced: true, body }
}

const fn cluster(api_version: &'static str, kind: &'static str, body: &'static str) -> Form {
    Form { api_version, kind, namespaced: false, body }
}

/// What may stand beside the name.
pub(crate) const METADATA: &str = "  labels: #?
    @labelkey: @label
    z.example.com/x: @label #?3
  annotations: #?
    note: @string
    example.com/number: \"12\" #?
    text: @block #?3
  finalizers: [a/b] #?9
";

pub(crate) const FORMS: &[Form] = &[
    form("apps/v1", "Deployment", DEPLOYMENT),
    form("v1", "ConfigMap", CONFIG_MAP),
    form("v1", "Service", SERVICE),
    form("v1", "Secret", SECRET),
    form("apps/v1", "StatefulSet", STATEFUL_SET),
    form("networking.k8s.io/v1", "Ingress", INGRESS),
    form("v1", "ServiceAccount", "secrets: #?\n- name: @Secret\nimagePullSecrets: #?\n- name: @Secret\n"),
    form("rbac.authorization.k8s.io/v1", "RoleBinding", BINDING),
    form("rbac.authorization.k8s.io/v1", "Role", ROLE),
    cluster("rbac.authorization.k8s.io/v1", "ClusterRole", ROLE),
    cluster("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", BINDING),
    form("batch/v1", "CronJob", CRON_JOB),
    form("batch/v1", "Job", JOB),
    form("apps/v1", "DaemonSet", DAEMON_SET),
    cluster("apiextensions.k8s.io/v1", "CustomResourceDefinition", DEFINITION),
    form("example.com/v1", "Widget", WIDGET),
    form("example.com/v1alpha1", "Gadget", GADGET),
    form("autoscaling/v2", "HorizontalPodAutoscaler", AUTOSCALER),
    form("v1", "PersistentVolumeClaim", CLAIM),
    cluster("v1", "PersistentVolume", VOLUME),
    cluster("v1", "Namespace", "spec: {} #?4\n"),
    form("v1", "Pod", POD),
    form("networking.k8s.io/v1", "NetworkPolicy", NETWORK_POLICY),
    form(
        "policy/v1",
        "PodDisruptionBudget",
        "spec:\n  minAvailable: @int\n  selector: #?\n    matchLabels:\n      @labelkey: @label\n",
    ),
    cluster("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", WEBHOOK),
    cluster(
        "storage.k8s.io/v1",
        "StorageClass",
        "provisioner: example.com/x\nparameters: #?\n  type: @string\n",
    ),
    form("extensions/v1beta1", "Deployment", DEPLOYMENT),
    form("batch/v1beta1", "CronJob", CRON_JOB),
];

const DEPLOYMENT: &str = "\
spec:
  replicas: @int #?
  selector: #?
    matchLabels:
      app: @label
      @labelkey: @label #?3
  strategy: #?4
    type: RollingUpdate
    rollingUpdate: {maxSurge: @int}
  template:
    metadata: #?
      labels:
        app: @label
      annotations: #?3
        checksum: @string
    spec:
      serviceAccountName: @ServiceAccount #?
      imagePullSecrets: #?4
      - name: @Secret
      initContainers: #?4
      - name: init
        image: @image
        command: [sh, -c, @string]
      containers:
      - name: main
        image: @image
        args: #?3
        - @string
        - --host=$(HOST)
        command: [\"/bin/x\", \"$(PORT)\"] #?4
        ports: #?
        - containerPort: 80
          name: http #?
        - containerPort: 80
          protocol: UDP #?
        - containerPort: 8443 #?
        env: #?
        - name: HOST
          value: @string
        - name: LEVEL #?
          valueFrom:
            configMapKeyRef:
              name: @ConfigMap
              key: @key
        - name: PORT #?
          valueFrom:
            secretKeyRef: {name: @Secret, key: @key}
        envFrom: #?3
        - configMapRef:
            name: @ConfigMap
        - secretRef: #?
            name: @Secret
        resources: #?4
          limits: {cpu: 100m, memory: @string}
          requests:
            cpu: \"1\"
        volumeMounts: #?3
        - mountPath: /data
          name: data
        - mountPath: /etc/config #?
          name: config
          readOnly: true
        livenessProbe: #?5
          httpGet: {path: /, port: @port}
      - name: sidecar #?4
        image: @image
        env:
        - name: MODE
          value: @string
      volumes: #?3
      - name: data
        persistentVolumeClaim:
          claimName: @PersistentVolumeClaim
      - name: config #?
        configMap:
          name: @ConfigMap
          items: #?
          - key: @key
            path: p
      - name: all #?4
        projected:
          sources:
          - configMap: {name: @ConfigMap}
          - secret: {name: @Secret}
      affinity: #?6
        podAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 1
            podAffinityTerm:
              topologyKey: zone
              labelSelector:
                matchLabels: {app: @label}
      tolerations: #?6
      - key: a
        operator: Exists
      hostAliases: #?6
      - ip: 10.0.0.1
        hostnames: [a, b]
      topologySpreadConstraints: #?6
      - maxSkew: 1
        topologyKey: zone
        whenUnsatisfiable: DoNotSchedule
        labelSelector: {matchLabels: {app: @label}}
";

const STATEFUL_SET: &str = "\
spec:
  serviceName: @Service
  replicas: @int #?
  selector:
    matchLabels: {app: @label}
  template:
    metadata:
      labels: {app: @label}
    spec:
      containers:
      - name: main
        image: @image
        envFrom: #?
        - secretRef: {name: @Secret}
  volumeClaimTemplates: #?
  - metadata:
      name: data
      labels: {a: b} #?
    spec:
      storageClassName: @StorageClass #?
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: 1Gi}}
";

const DAEMON_SET: &str = "\
spec:
  template:
    metadata: {labels: {app: @label}}
    spec: &spec
      containers:
      - &main
        name: main
        image: @image
        securityContext: &security {runAsUser: 0, readOnlyRootFilesystem: @bool}
      - name: second #?
        image: @image
        securityContext: *security
      - <<: *main #?
        name: third
      nodeSelector: #?
        disk: @label
";

const CONFIG_MAP: &str = "\
data:
  LEVEL: @string
  key: @string #?
  MODE: @string #?
  app.properties: @block #?
  file.txt: @block #?4
binaryData: #?6
  bin: aGVsbG8=
immutable: @bool #?6
";

const SECRET: &str = "\
type: Opaque #?
data: #?
  key: aGVsbG8=
  LEVEL: c2VjcmV0 #?
stringData: #?
  MODE: @string
  file.txt: @block #?
";

const SERVICE: &str = "\
spec:
  selector: #?
    app: @label
    @labelkey: @label #?
  type: ClusterIP #?
  ports:
  - port: 80
    name: http #?
    targetPort: @port #?
    protocol: @protocol #?
  - port: 443 #?
    name: https
  - port: 80 #?5
    protocol: UDP
    name: dns
";

const INGRESS: &str = "\
spec:
  ingressClassName: nginx #?
  defaultBackend: #?3
    service: {name: @Service, port: {number: 80}}
  tls: #?
  - hosts: [a.example.com]
    secretName: @Secret
  rules:
  - host: a.example.com
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: @Service
            port:
              name: http
      - path: /b #?
        pathType: Exact
        backend: {service: {name: @Service, port: {number: 80}}}
  - http: #?
      paths:
      - backend:
          resource: {kind: Widget, name: @Widget, apiGroup: example.com}
";

const BINDING: &str = "\
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: @Role
subjects:
- kind: ServiceAccount
  name: @ServiceAccount
  namespace: @anyns #?
- kind: ServiceAccount #?
  name: default
  namespace: @anyns #?
- kind: User #?
  name: @any
  apiGroup: rbac.authorization.k8s.io
";

const ROLE: &str = "\
rules:
- apiGroups: [\"\"]
  resources: [configmaps]
  verbs: [get, list]
  resourceNames: [@ConfigMap, @ConfigMap] #?
- apiGroups: [apps] #?
  resources:
  - deployments
  verbs:
  - \"*\"
- nonResourceURLs: [/healthz] #?4
  verbs: [get]
aggregationRule: #?9
  clusterRoleSelectors:
  - matchLabels: {a: b}
";

const CRON_JOB: &str = "\
spec:
  schedule: \"*/5 * * * *\"
  suspend: @bool #?
  jobTemplate:
    metadata: #?3
      labels: {a: b}
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
          - name: main
            image: @image
            env: #?
            - name: HOST
              value: @string
            - name: KEY #?
              valueFrom: {configMapKeyRef: {name: @ConfigMap, key: a}}
";

const JOB: &str = "\
spec:
  backoffLimit: @int
  template:
    metadata: #?
      labels: {app: @label}
    spec:
      restartPolicy: OnFailure
      containers:
      - image: @image
        name: main
        args: [\"$(HOST)\", @string]
";

const POD: &str = "\
spec:
  containers:
  - name: main
    image: @image
    env:
    - {name: HOST, value: @string}
    - name: A #?
      value: @string
    ports: #?
    - {containerPort: 80, hostPort: @port}
  - name: other #?
    image: @image
  volumes: #?
  - name: s
    secret: {secretName: @Secret}
";

const DEFINITION: &str = "\
spec:
  group: example.com
  names: {kind: Widget, plural: widgets}
  scope: Namespaced
  conversion: #?4
    strategy: Webhook
    webhook:
      clientConfig:
        service: {name: @Service, namespace: @anyns}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            x-kubernetes-preserve-unknown-fields: true
";

const WIDGET: &str = "\
spec:
  size: @scalar
  text: @block #?
  nested: #?
    a: @scalar
    b: @value
    c: @scalar #?
  list: #?
  - name: one
    value: @scalar
  - name: two #?
    value: @value
  items: #?
  - @scalar
  - @scalar #?
  configRef: #?3
    name: @ConfigMap
  image: @image #?
  replicas: @int #?
  empty: {} #?5
  none: [] #?5
  nothing: null #?5
  blank: #?5
status: #?6
  ok: @bool
";

const GADGET: &str = "\
common: &common
  x: @scalar
  y: [@scalar, @scalar]
first:
  <<: *common
  z: @scalar #?
  x: @scalar #?3
second: *common #?
third: #?
  - *common
  - @value
spec: #?
  template:
    spec:
      containers:
      - name: main
        image: @image
      - {name: other, image: @image} #?
  selector: #?
    matchLabels: {app: @label}
";

const AUTOSCALER: &str = "\
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: @Deployment
  minReplicas: @int #?
  maxReplicas: 9
  metrics: #?
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}
";

const CLAIM: &str = "\
spec:
  accessModes: [ReadWriteOnce]
  volumeName: @PersistentVolume #?
  storageClassName: @StorageClass #?
  resources: {requests: {storage: @string}}
  selector: #?4
    matchLabels: {a: b}
";

const VOLUME: &str = "\
spec:
  capacity: {storage: 1Gi}
  claimRef: #?
    name: @PersistentVolumeClaim
    namespace: @anyns
  csi: #?4
    nodePublishSecretRef: {name: @Secret, namespace: @anyns}
";

const NETWORK_POLICY: &str = "\
spec:
  podSelector:
    matchLabels: {app: @label}
  ingress: #?
  - from:
    - podSelector: {matchLabels: {app: @label}}
    - namespaceSelector: {} #?
    ports:
    - {port: 80, protocol: @protocol}
";

const WEBHOOK: &str = "\
webhooks:
- name: a.example.com
  clientConfig:
    service:
      name: @Service
      namespace: @anyns
  sideEffects: None
";
