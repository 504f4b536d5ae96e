{{/* What all services must agree on; the ConfigMap's data. */}}
{{- define "headrace.shared" -}}
KAFKA_BOOTSTRAP_SERVERS: {{ include "headrace.kafkaServers" . | quote }}
KAFKA_SECURITY_PROTOCOL: {{ .Values.kafka.securityProtocol | quote }}
{{- if hasPrefix "SASL" .Values.kafka.securityProtocol }}
KAFKA_SASL_MECHANISM: {{ .Values.kafka.sasl.mechanism | quote }}
{{- end }}
{{- with .Values.kafka.tls }}
{{- if and .existingSecret .caKey }}
KAFKA_CA_FILE: /etc/headrace/kafka/ca.crt
{{- end }}
{{- if and .existingSecret .certKey }}
KAFKA_CERT_FILE: /etc/headrace/kafka/tls.crt
KAFKA_KEY_FILE: /etc/headrace/kafka/tls.key
{{- end }}
{{- end }}
QDRANT_URL: {{ include "headrace.qdrantUrl" . | quote }}
HEADRACE_QDRANT_REPLICATION_FACTOR: {{ .Values.qdrant.replicationFactor | int | quote }}
HEADRACE_OBJECT_STORE_URL: {{ .Values.objectStore.url | quote }}
HEADRACE_OBJECT_STORE_ALLOW_HTTP: {{ .Values.objectStore.allowHttp | quote }}
HEADRACE_OBJECT_ROOTS: {{ .Values.objectStore.roots | toJson | quote }}
HEADRACE_TOPIC_PREFIX: {{ .Values.kafka.topicPrefix | quote }}
HEADRACE_PARTITIONS: {{ .Values.kafka.partitions | int | quote }}
HEADRACE_DOCUMENT_PARTITIONS: {{ .Values.kafka.documentPartitions | int | quote }}
HEADRACE_RETENTION_HOURS: {{ .Values.kafka.retentionHours | int | quote }}
{{- with .Values.embedding }}
HEADRACE_EMBEDDING_PROVIDER: {{ .provider | quote }}
HEADRACE_EMBEDDING_MODEL: {{ .model | quote }}
HEADRACE_EMBEDDING_MODEL_REVISION: {{ .modelRevision | quote }}
HEADRACE_EMBEDDING_DIMENSIONS: {{ .dimensions | int | quote }}
HEADRACE_DOCUMENT_PREFIX: {{ .documentPrefix | quote }}
HEADRACE_QUERY_PREFIX: {{ .queryPrefix | quote }}
{{- if .baseUrl }}
OPENAI_BASE_URL: {{ .baseUrl | quote }}
{{- end }}
{{- end }}
HEADRACE_TARGET_DRAIN_S: {{ .Values.autoscaling.targetDrainSeconds | int | quote }}
{{- $most := 1 }}
{{- range $name, $stage := .Values.stages }}
{{- $most = max $most (include "headrace.maxReplicas" (dict "root" $ "name" $name "stage" $stage) | int) }}
{{- end }}
{{- /* One number for all stages; each has its own bound where it is scaled. */}}
HEADRACE_MAX_REPLICAS: {{ $most | quote }}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- define "headrace.secretEnv" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef: {name: {{ .secret | quote }}, key: {{ .key | quote }}}
{{- end -}}

{{/* Kafka's credentials, which everything that we start needs. */}}
{{- define "headrace.kafkaEnv" -}}
{{- with .Values.kafka.sasl }}
{{- if hasPrefix "SASL" $.Values.kafka.securityProtocol }}
{{ include "headrace.secretEnv" (dict "variable" "KAFKA_USERNAME" "secret" .existingSecret "key" .usernameKey) }}
{{ include "headrace.secretEnv" (dict "variable" "KAFKA_PASSWORD" "secret" .existingSecret "key" .passwordKey) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "headrace.kafkaVolume" -}}
{{- with .Values.kafka.tls }}
{{- if .existingSecret }}
- name: kafka-tls
  secret:
    secretName: {{ .existingSecret | quote }}
    items:
      {{- if .caKey }}
      - {key: {{ .caKey | quote }}, path: ca.crt}
      {{- end }}
      {{- if .certKey }}
      - {key: {{ .certKey | quote }}, path: tls.crt}
      - {key: {{ .keyKey | quote }}, path: tls.key}
      {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "headrace.kafkaMount" -}}
{{- if .Values.kafka.tls.existingSecret }}
- {name: kafka-tls, mountPath: /etc/headrace/kafka, readOnly: true}
{{- end }}
{{- end -}}

{{- define "headrace.databaseEnv" -}}
{{ include "headrace.secretEnv" (dict "variable" "DATABASE_URL" "secret" (include "headrace.databaseSecret" .) "key" (ternary .Values.database.urlKey "url" (ne .Values.database.existingSecret ""))) }}
{{- end -}}

{{/* Of one service. */}}
{{- define "headrace.env" -}}
{{- $values := .root.Values -}}
{{- $component := .component -}}
- {name: HEADRACE_PROBE_HOST, value: "0.0.0.0"}
- {name: HEADRACE_PROBE_PORT, value: "9400"}
- {name: HEADRACE_DRAIN_S, value: {{ $component.drainSeconds | int | quote }}}
{{- if eq .name "gateway" }}
- {name: HEADRACE_HTTP_HOST, value: "0.0.0.0"}
- {name: HEADRACE_HTTP_PORT, value: "8080"}
- {name: HEADRACE_ADMIN_PORT, value: "8081"}
- {name: HEADRACE_AUTH_MODE, value: {{ $component.auth.mode | quote }}}
{{- if eq $component.auth.mode "oidc" }}
{{- with $component.auth.oidc }}
- {name: HEADRACE_OIDC_ISSUER, value: {{ .issuer | quote }}}
- {name: HEADRACE_OIDC_AUDIENCE, value: {{ .audience | quote }}}
- {name: HEADRACE_OIDC_JWKS_URL, value: {{ .jwksUrl | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- if eq .name "embedder" }}
- {name: HEADRACE_EMBED_REQUESTS_PER_MINUTE, value: {{ $values.embedding.requestsPerMinute | int64 | quote }}}
- {name: HEADRACE_EMBED_TOKENS_PER_MINUTE, value: {{ $values.embedding.tokensPerMinute | int64 | quote }}}
{{- end }}
{{- include "headrace.kafkaEnv" .root }}
{{- if and (has "qdrant" $component.uses) $values.qdrant.existingSecret }}
{{ include "headrace.secretEnv" (dict "variable" "QDRANT_API_KEY" "secret" $values.qdrant.existingSecret "key" $values.qdrant.apiKeyKey) }}
{{- end }}
{{- if and (has "provider" $component.uses) $values.embedding.existingSecret }}
{{ include "headrace.secretEnv" (dict "variable" "OPENAI_API_KEY" "secret" $values.embedding.existingSecret "key" $values.embedding.apiKeyKey) }}
{{- end }}
{{- if has "database" $component.uses }}
{{ include "headrace.databaseEnv" .root }}
{{- end }}
{{- range $name, $value := $component.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- with $component.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
