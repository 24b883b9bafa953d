{{/* A Service has neither dots nor more than 63 characters in its name, of which `-control` and others need some. */}}
{{- define "modeldist.cut" -}}
{{- . | replace "." "-" | trunc 40 | trimAll "-" -}}
{{- end -}}

{{- define "modeldist.name" -}}
{{- include "modeldist.cut" (.Values.nameOverride | default .Chart.Name) -}}
{{- end -}}

{{- define "modeldist.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- include "modeldist.cut" .Values.fullnameOverride -}}
{{- else -}}
{{- $name := include "modeldist.name" . -}}
{{- if contains $name .Release.Name -}}
{{- include "modeldist.cut" .Release.Name -}}
{{- else -}}
{{- include "modeldist.cut" (printf "%s-%s" .Release.Name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "modeldist.control" -}}{{ include "modeldist.fullname" . }}-control{{- end -}}
{{- define "modeldist.agent" -}}{{ include "modeldist.fullname" . }}-agent{{- end -}}

{{/* Of (dict "root" $ "part" "control"). */}}
{{- define "modeldist.selector" -}}
app.kubernetes.io/name: {{ include "modeldist.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "modeldist.labels" -}}
{{ include "modeldist.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Of (dict "root" $ "image" .Values.agent.image). */}}
{{- define "modeldist.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "modeldist.controlUrl" -}}
{{- if .Values.agent.controlUrl -}}
{{ .Values.agent.controlUrl }}
{{- else -}}
{{ ternary "https" "http" (eq (include "modeldist.tls" .) "true") }}://{{ include "modeldist.control" . }}.{{ .Release.Namespace }}.svc:{{ .Values.controlPlane.port }}
{{- end -}}
{{- end -}}

{{/* Where agents connect to: of an address without a port, that of its scheme. */}}
{{- define "modeldist.controlPorts" -}}
{{- range $index, $url := splitList "," (include "modeldist.controlUrl" .) -}}
{{- if $index }}, {{ end -}}
{port: {{ regexFind ":[0-9]+$" $url | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https:" $url)) }}, protocol: TCP}
{{- end -}}
{{- end -}}

{{- define "modeldist.tlsSecret" -}}
{{- if .Values.controlPlane.tls.secretName -}}
{{ .Values.controlPlane.tls.secretName }}
{{- else if .Values.controlPlane.tls.certManager.issuerRef -}}
{{ include "modeldist.control" . }}-tls
{{- end -}}
{{- end -}}

{{- define "modeldist.tls" -}}
{{- if include "modeldist.tlsSecret" . -}}true{{- else -}}false{{- end -}}
{{- end -}}

{{- define "modeldist.agentTokenSecret" -}}
{{ .Values.agent.token.secretName | default (printf "%s-token" (include "modeldist.agent" .)) }}
{{- end -}}

{{/* Of (dict "root" $ "part" "control" "given" name). */}}
{{- define "modeldist.priorityClass" -}}
{{- if .given -}}
{{ .given }}
{{- else if .root.Values.priorityClasses.create -}}
{{ include "modeldist.fullname" .root }}-{{ .part }}
{{- end -}}
{{- end -}}
