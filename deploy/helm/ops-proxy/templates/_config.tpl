{{- /* A value of TOML. Strings, numbers, booleans and their lists are as in JSON. */ -}}
{{- define "ops-proxy.toml" -}}
{{- if kindIs "map" . -}}
{ {{- range $index, $key := keys . | sortAlpha }}{{ if $index }},{{ end }} {{ $key }} = {{ include "ops-proxy.toml" (index $ $key) }}{{ end }} }
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{- /* The configuration of a peer. */ -}}
{{- define "ops-proxy.config" -}}
# The peer id is that of the certificate; --instance tells the replicas apart.
peer_id = {{ toJson .peer.peerId }}
admin = "0.0.0.0:9090"
tls_cert = "/etc/ops-proxy/tls/tls.crt"
tls_key = "/etc/ops-proxy/tls/tls.key"
tls_ca = "/etc/ops-proxy/tls/ca.crt"
{{- if eq .role "hub" }}
listen = "0.0.0.0:8443"
{{- range $protocol := list "tcp" "udp" }}
{{- $ports := list }}
{{- range $.peer.ports }}
{{- if eq (.protocol | default "TCP" | lower) $protocol }}
{{- $ports = append $ports (printf "0.0.0.0:%d=%s" (int .port) .name) }}
{{- end }}
{{- end }}
{{- if $ports }}
{{ $protocol }} = {{ toJson $ports }}
{{- end }}
{{- end }}
{{- else }}
connect = {{ toJson .peer.connect }}
{{- if .peer.kubernetes.enabled }}
kubernetes = {{ include "ops-proxy.namespaces" . }}
{{- end }}
{{- end }}
{{- range $key, $value := .peer.settings }}
{{ $key }} = {{ include "ops-proxy.toml" $value }}
{{- end }}
{{- range .peer.services }}

[[service]]
{{- range $key, $value := . }}
{{ $key }} = {{ include "ops-proxy.toml" $value }}
{{- end }}
{{- end }}
{{- end -}}
