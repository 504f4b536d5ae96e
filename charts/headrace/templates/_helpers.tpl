{{- define "headrace.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects pods; it must never change. Of (dict "root" $ "name" "loader"). */}}
{{- define "headrace.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/* Labels and annotations of an object. */}}
{{- define "headrace.metadata" -}}
labels:
  helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  app.kubernetes.io/part-of: headrace
  {{- include "headrace.selector" . | nindent 2 }}
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with mergeOverwrite (dict) (deepCopy .root.Values.commonAnnotations) (default (dict) .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
All services by name: what is set for each over the defaults, and what it is. `uses`
is what it may know secrets of and connect to.
*/}}
{{- define "headrace.components" -}}
{{- $root := . -}}
{{- $found := dict -}}
{{- $uses := dict
  "loader" (list "kafka" "qdrant" "objectStore" "web")
  "chunker" (list "kafka" "objectStore")
  "embedder" (list "kafka" "objectStore" "provider")
  "indexer" (list "kafka" "qdrant" "objectStore")
  "gateway" (list "kafka" "qdrant" "objectStore" "database" "provider")
  "registry" (list "kafka" "database")
  "lag-exporter" (list "kafka")
-}}
{{- $given := dict "gateway" .Values.gateway "registry" .Values.registry "lag-exporter" .Values.lagExporter -}}
{{- range $name, $values := .Values.stages -}}
{{- $_ := set $given $name (set (deepCopy $values) "stage" true) -}}
{{- end -}}
{{- range $name, $values := $given -}}
{{- /* Not merged: that takes an empty list or a false of the service for nothing. */ -}}
{{- $all := deepCopy $root.Values.defaults -}}
{{- range $key, $value := $values -}}
{{- $_ := set $all $key $value -}}
{{- end -}}
{{- $_ := set $all "uses" (get $uses $name) -}}
{{- $_ := set $all "fullname" (printf "%s-%s" (include "headrace.fullname" $root) $name) -}}
{{- $exports := eq $name "lag-exporter" -}}
{{- $_ := set $all "repository" (ternary "indexer" $name $exports) -}}
{{- $_ := set $all "module" (ternary "headrace.lag_exporter" (printf "headrace_%s" $name) $exports) -}}
{{- if $exports -}}
{{- $_ := set $all "replicas" 1 -}}
{{- $_ := set $all "image" (default (default $all.image $root.Values.stages.indexer.image) $values.image) -}}
{{- end -}}
{{- $_ := set $found $name $all -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Of (dict "root" $ "image" its own values "repository" "loader"). */}}
{{- define "headrace.image" -}}
{{- $own := default (dict) .image -}}
{{- $all := .root.Values.image -}}
{{- $repository := default (printf "%s/%s" $all.repository .repository) $own.repository -}}
{{- $name := ternary (printf "%s/%s" $all.registry $repository) $repository (ne $all.registry "") -}}
{{- if $own.digest -}}
{{- printf "%s@%s" $name $own.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default (default .root.Chart.AppVersion $all.tag) $own.tag) -}}
{{- end -}}
{{- end -}}

{{- define "headrace.serviceAccount" -}}
{{- default (ternary .fullname "default" .serviceAccount.create) .serviceAccount.name -}}
{{- end -}}

{{/* Restricted, whatever is set otherwise. */}}
{{- define "headrace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "headrace.kafkaServers" -}}
{{- default (printf "%s-kafka:9092" (include "headrace.fullname" .)) .Values.kafka.bootstrapServers -}}
{{- end -}}

{{- define "headrace.qdrantUrl" -}}
{{- default (printf "http://%s-qdrant:6334" (include "headrace.fullname" .)) .Values.qdrant.url -}}
{{- end -}}

{{- define "headrace.databaseSecret" -}}
{{- default (printf "%s-postgresql" (include "headrace.fullname" .)) .Values.database.existingSecret -}}
{{- end -}}

{{- define "headrace.claim" -}}
{{- with .Values.objectStore.claim -}}
{{- if .existing -}}{{ .existing }}{{- else if .create -}}{{ include "headrace.fullname" $ }}-objects{{- end -}}
{{- end -}}
{{- end -}}

{{/* Replicas of a stage at most: a provider's limit feeds only so many embedders. */}}
{{- define "headrace.maxReplicas" -}}
{{- $most := int .stage.autoscaling.maxReplicas -}}
{{- $limit := int .root.Values.embedding.requestsPerMinute -}}
{{- if and (eq .name "embedder") $limit -}}
{{- $most = min $most (max 1 (divf $limit .root.Values.embedding.requestsPerReplica | ceil | int)) -}}
{{- end -}}
{{- $most -}}
{{- end -}}

{{/* Changes with what a pod reads only when it starts. */}}
{{- define "headrace.checksum" -}}
{{- include (print .Template.BasePath "/configmap.yaml") . | sha256sum -}}
{{- end -}}
