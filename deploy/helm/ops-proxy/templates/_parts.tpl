{{- /* What a hub and a site have in common. */ -}}
{{- define "ops-proxy.parts" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "ops-proxy.name" . }}
  labels: {{- include "ops-proxy.labels" . | nindent 4 }}
data:
  {{ .role }}.toml: |
    {{- include "ops-proxy.config" . | nindent 4 }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "ops-proxy.name" . }}
  labels: {{- include "ops-proxy.labels" . | nindent 4 }}
spec:
  replicas: {{ .peer.replicas }}
  selector:
    matchLabels: {{- include "ops-proxy.selector" . | nindent 6 }}
  strategy:
    rollingUpdate: { maxUnavailable: 0, maxSurge: 1 }
  template:
    metadata:
      labels: {{- include "ops-proxy.selector" . | nindent 8 }}
      annotations:
        # A changed configuration is a rollout.
        checksum/config: {{ include "ops-proxy.config" . | sha256sum }}
        {{- with .peer.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- if and (eq .role "site") .peer.kubernetes.enabled }}
      serviceAccountName: {{ include "ops-proxy.name" . }}
      automountServiceAccountToken: true
      {{- else }}
      automountServiceAccountToken: false
      {{- end }}
      enableServiceLinks: false
      # Above drain_grace and drain_limit together. There is no preStop hook: the peer itself
      # goes on accepting connections for the drain grace.
      terminationGracePeriodSeconds: {{ .peer.terminationGracePeriodSeconds }}
      {{- with .root.Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile: { type: RuntimeDefault }
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "ops-proxy.selector" . | nindent 14 }}
      {{- with .peer.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .peer.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: ops-proxy
          image: {{ printf "%s:%s" .root.Values.image.repository (.root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args: [run, --config, /etc/ops-proxy/{{ .role }}.toml, --instance, $(POD_NAME)]
          env:
            - name: POD_NAME
              valueFrom: { fieldRef: { fieldPath: metadata.name } }
            - name: NODE_NAME
              valueFrom: { fieldRef: { fieldPath: spec.nodeName } }
          ports:
            {{- if eq .role "hub" }}
            - { name: mesh, containerPort: 8443 }
            {{- range .peer.ports }}
            - { name: {{ include "ops-proxy.port" . }}, containerPort: {{ .port }}, protocol: {{ .protocol | default "TCP" }} }
            {{- end }}
            {{- end }}
            - { name: admin, containerPort: 9090 }
          startupProbe:
            httpGet: { path: /healthz, port: admin }
            periodSeconds: 1
            failureThreshold: 30
          livenessProbe:
            httpGet: { path: /healthz, port: admin }
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: { path: /readyz, port: admin }
            periodSeconds: 5
            timeoutSeconds: 3
            failureThreshold: 1
          resources: {{- toYaml .peer.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [ALL] }
          volumeMounts:
            - { name: config, mountPath: /etc/ops-proxy/{{ .role }}.toml, subPath: {{ .role }}.toml, readOnly: true }
            # Not by subPath, so that renewed certificates appear.
            - { name: tls, mountPath: /etc/ops-proxy/tls, readOnly: true }
      volumes:
        - name: config
          configMap: { name: {{ include "ops-proxy.name" . }} }
        - name: tls
          secret: { secretName: {{ include "ops-proxy.name" . }}-tls, defaultMode: 0440 }
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "ops-proxy.name" . }}
  labels: {{- include "ops-proxy.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "ops-proxy.selector" . | nindent 6 }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "ops-proxy.name" . }}-admin
  labels:
    {{- include "ops-proxy.labels" . | nindent 4 }}
    ops-proxy/scrape: "true"
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {{- include "ops-proxy.selector" . | nindent 4 }}
  ports:
    - { name: admin, port: 9090, targetPort: admin }
{{- if .root.Values.serviceMonitor.create }}
---
# The job is one for all instances, and contains `ops-proxy`, as the alerts expect.
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include "ops-proxy.name" . }}
  labels:
    {{- include "ops-proxy.labels" . | nindent 4 }}
    {{- with .root.Values.serviceMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      app.kubernetes.io/component: {{ .role }}
      app.kubernetes.io/instance: {{ .root.Release.Name }}
      ops-proxy/scrape: "true"
  endpoints:
    - port: admin
      path: /metrics
      interval: {{ .root.Values.serviceMonitor.interval }}
      # The peer says itself which pod and node it is.
      honorLabels: true
{{- end }}
{{- if .root.Values.certificate.create }}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ include "ops-proxy.name" . }}
  labels: {{- include "ops-proxy.labels" . | nindent 4 }}
spec:
  secretName: {{ include "ops-proxy.name" . }}-tls
  issuerRef: {{- toYaml .root.Values.certificate.issuer | nindent 4 }}
  {{- $names := .peer.names }}
  {{- if eq .role "hub" }}
  {{- $names = append .peer.dnsNames (printf "%s-peers" (include "ops-proxy.name" .)) }}
  {{- end }}
  {{- range .peer.services }}
  {{- $names = append $names .name }}
  {{- end }}
  dnsNames: {{- $names | uniq | toYaml | nindent 4 }}
  # All instances have this identity.
  uris:
    - spiffe://{{ .root.Values.trustDomain }}/peer/{{ .peer.peerId }}
  usages: [digital signature, server auth, client auth]
  privateKey:
    algorithm: ECDSA
    size: 256
    rotationPolicy: Always
  duration: {{ .root.Values.certificate.duration }}
  renewBefore: {{ .root.Values.certificate.renewBefore }}
{{- end }}
{{- end -}}

{{- /* What a port of the hub is called, of at most 15 characters. */ -}}
{{- define "ops-proxy.port" -}}
{{ .protocol | default "TCP" | lower }}-{{ .port }}
{{- end -}}
