{{/* What the schema cannot say, or not in words that help. */}}
{{- define "modeldist.checks" -}}
{{- if not (regexMatch "^[a-z]" (include "modeldist.fullname" $)) -}}
{{- fail (printf "A Service of Kubernetes may not be called %s: set fullnameOverride to a name that begins with a letter." (include "modeldist.control" $)) -}}
{{- end -}}
{{- with .Values.controlPlane -}}
{{- if .enabled -}}
{{- if and (gt (int .replicas) 1) (ne .database.kind "postgresql") -}}
{{- fail "controlPlane.replicas is more than 1, and SQLite has room for one control plane: set controlPlane.database.kind to postgresql, or replicas to 1." -}}
{{- end -}}
{{- if and (eq .database.kind "postgresql") (not .database.secretName) -}}
{{- fail "controlPlane.database.kind is postgresql: name the Secret that holds its URL in controlPlane.database.secretName." -}}
{{- end -}}
{{- if and (eq (include "modeldist.tls" $) "false") (not .tls.allowPlainHttp) -}}
{{- fail "Tokens would cross the network in the clear: set controlPlane.tls.secretName, or controlPlane.tls.certManager.issuerRef, or, where something else protects the network, controlPlane.tls.allowPlainHttp." -}}
{{- end -}}
{{- if and (eq (include "modeldist.tls" $) "true") .tls.allowPlainHttp -}}
{{- fail "controlPlane.tls.allowPlainHttp is set beside a certificate: leave one of them out." -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.agent -}}
{{- if .enabled -}}
{{- if and (not $.Values.controlPlane.enabled) (not .controlUrl) -}}
{{- fail "Without a control plane of this chart the agents need agent.controlUrl." -}}
{{- end -}}
{{- if and .metrics.enabled (eq (int .port) (int .metrics.port)) -}}
{{- fail "agent.port and agent.metrics.port are one: give them two." -}}
{{- end -}}
{{- if eq (trimSuffix "/" .store.hostPath) (trimSuffix "/" .socket.hostPath) -}}
{{- fail "agent.store.hostPath and agent.socket.hostPath are one directory: give them two." -}}
{{- end -}}
{{- if and .gateway.enabled (not .hostNetwork) -}}
{{- fail "agent.gateway listens on loopback alone, which only agent.hostNetwork: true makes that of the node." -}}
{{- end -}}
{{- if and .gateway.mirror (not .gateway.enabled) -}}
{{- fail "agent.gateway.mirror is for the gateway: set agent.gateway.enabled." -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.trustedCA.secretName .Values.trustedCA.configMapName -}}
{{- fail "trustedCA.secretName and trustedCA.configMapName are both set: leave one of them out." -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled .Values.controlPlane.enabled .Values.agent.enabled .Values.agent.hostNetwork (not .Values.networkPolicy.nodes) -}}
{{- fail "The agents are on the nodes' network, which no selector of a NetworkPolicy matches: give the nodes' addresses in networkPolicy.nodes." -}}
{{- end -}}
{{- if .Values.agent.enabled -}}
{{- if and .Values.controlPlane.enabled (eq .Values.controlPlane.pieceTls "require") (not .Values.agent.join.hostPath) -}}
{{- fail "controlPlane.pieceTls is require, which turns away agents that share a token: give them join tokens of their own in agent.join.hostPath." -}}
{{- end -}}
{{- with .Values.agent.metrics -}}
{{- if and .enabled (not .token.secretName) -}}
{{- fail "Nobody reads the agents' metrics without a token: name the Secret that holds one in agent.metrics.token.secretName." -}}
{{- end -}}
{{- if and $.Values.metrics.podMonitor.enabled (not .enabled) -}}
{{- fail "metrics.podMonitor is for the agents' metrics: set agent.metrics.enabled." -}}
{{- end -}}
{{- if and .enabled $.Values.networkPolicy.enabled (not $.Values.agent.hostNetwork) (not $.Values.networkPolicy.monitoring) -}}
{{- fail "networkPolicy lets nobody read the agents' metrics: say who may in networkPolicy.monitoring." -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.metrics.serviceMonitor.enabled -}}
{{- if not .Values.metrics.serviceMonitor.token.secretName -}}
{{- fail "Every route of the control plane needs a token: name the Secret that holds one of the scope read in metrics.serviceMonitor.token.secretName." -}}
{{- end -}}
{{- end -}}
{{- end -}}
