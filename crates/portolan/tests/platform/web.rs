//! A web application in one manifest: what it answers comes from its environment, so that a change can be seen.

/// A Deployment of two pods, its Service and its Ingress at `web.localhost`.
pub fn manifest(answer: &str) -> String {
    format!(
        r#"apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: default}}
spec:
  replicas: 2
  strategy: {{type: RollingUpdate, rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}}}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: web
        image: node:20-slim
        command: [node, -e]
        args:
        - |
          const server = require('http').createServer((request, response) => {{
            console.log('asked for ' + request.url);
            response.end(process.env.ANSWER + ' from ' + require('os').hostname());
          }});
          server.listen(8080);
          process.on('SIGTERM', () => server.close(() => process.exit(0)));
        env: [{{name: ANSWER, value: "{answer}"}}]
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /ready, port: http}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: default}}
spec:
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: http}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web, namespace: default}}
spec:
  rules:
  - host: web.localhost
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {{service: {{name: web, port: {{name: http}}}}}}
"#
    )
}
