{{- define "modeldist.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "modeldist.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "modeldist.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "modeldist.control" -}}{{ include "modeldist.fullname" . }}-control{{- end -}}
{{- define "modeldist.agent" -}}{{ include "modeldist.fullname" . }}-agent{{- end -}}

{{/* Of (dict "root" $ "part" "control"). */}}
{{- define "modeldist.selector" -}}
app.kubernetes.io/name: {{ include "modeldist.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
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
