{{- /* What everything is called after. */ -}}
{{- define "ops-proxy.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* All that follow take a dict: root, role (hub or site), and peer, its values. */ -}}
{{- define "ops-proxy.name" -}}
{{- include "ops-proxy.fullname" .root }}-{{ .role -}}
{{- end -}}

{{- define "ops-proxy.selector" -}}
app.kubernetes.io/name: ops-proxy
app.kubernetes.io/component: {{ .role }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "ops-proxy.labels" -}}
{{ include "ops-proxy.selector" . }}
app.kubernetes.io/part-of: ops-proxy
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* The namespaces whose Services a site serves, as JSON. */ -}}
{{- define "ops-proxy.namespaces" -}}
{{- .peer.kubernetes.namespaces | default (list .root.Release.Namespace) | toJson -}}
{{- end -}}
