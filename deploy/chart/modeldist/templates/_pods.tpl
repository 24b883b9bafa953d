{{/* What the pods of both parts have in common. */}}

{{- define "modeldist.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "modeldist.originArgs" -}}
- {{ printf "--registry=%s" .Values.origins.registry | quote }}
{{- range .Values.origins.plainHttp }}
- {{ printf "--plain-http=%s" . | quote }}
{{- end }}
{{- if .Values.policy.configMapName }}
- --policy=/etc/modeldist/policy/{{ .Values.policy.file }}
{{- end }}
{{- if .Values.log.json }}
- --log-json
{{- end }}
- --log-level={{ .Values.log.level }}
{{- end -}}

{{- define "modeldist.originEnv" -}}
- name: HOME
  value: /tmp
{{- with .Values.origins.huggingFaceEndpoint }}
- name: HF_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- if or .Values.trustedCA.secretName .Values.trustedCA.configMapName }}
- name: SSL_CERT_FILE
  value: /etc/modeldist/ca/ca.crt
{{- end }}
{{- if .Values.credentials.dockerConfigSecret }}
- name: DOCKER_CONFIG
  value: /etc/modeldist/docker
{{- end }}
{{- with .Values.credentials.huggingFace }}
{{- if .secretName }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ .secretName | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- with .Values.credentials.modelScope }}
{{- if .secretName }}
- name: MODELSCOPE_API_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ .secretName | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "modeldist.originMounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if or .Values.trustedCA.secretName .Values.trustedCA.configMapName }}
- {name: ca, mountPath: /etc/modeldist/ca, readOnly: true}
{{- end }}
{{- if .Values.credentials.dockerConfigSecret }}
- {name: docker, mountPath: /etc/modeldist/docker, readOnly: true}
{{- end }}
{{- if .Values.policy.configMapName }}
- {name: policy, mountPath: /etc/modeldist/policy, readOnly: true}
{{- end }}
{{- end -}}

{{- define "modeldist.originVolumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- with .Values.trustedCA }}
{{- if .secretName }}
- name: ca
  secret:
    secretName: {{ .secretName | quote }}
    defaultMode: 0440
    items: [{key: {{ .key | quote }}, path: ca.crt}]
{{- else if .configMapName }}
- name: ca
  configMap:
    name: {{ .configMapName | quote }}
    items: [{key: {{ .key | quote }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- if .Values.credentials.dockerConfigSecret }}
- name: docker
  secret:
    secretName: {{ .Values.credentials.dockerConfigSecret | quote }}
    defaultMode: 0440
    items: [{key: .dockerconfigjson, path: config.json}]
{{- end }}
{{- if .Values.policy.configMapName }}
- name: policy
  configMap:
    name: {{ .Values.policy.configMapName | quote }}
{{- end }}
{{- end -}}
