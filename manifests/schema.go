package manifests

// The table: what becomes of each kind and each field. All that reads YAML walks it, and nothing else knows a field's name.
//
// Podman's use of each field was seen with Podman 5.8.6 and read in its source: pkg/specgen/generate/kube and
// pkg/domain/infra/abi/play.go. A field that Podman reads but doesn't heed is noted or unsupported, never passed on silently.

const (
	byCluster  = "is written by a cluster and ignored"
	scheduling = "ignored: there is one machine to run on"
)

var kinds = []kindRow{
	{name: "Pod", version: "v1", form: podKind},
	{name: "Deployment", version: "apps/v1", form: deploymentKind},
	{name: "DaemonSet", version: "apps/v1", form: daemonSetKind},
	{name: "Job", version: "batch/v1", form: jobKind},
	{name: "CronJob", version: "batch/v1", form: cronJobKind},
	{name: "ConfigMap", version: "v1", form: configMapKind},
	{name: "Secret", version: "v1", form: secretKind},
	{name: "PersistentVolumeClaim", version: "v1", form: claimKind},
	{name: "List", version: "v1", form: listKind},

	{name: "Service", class: noted, says: "ignored"}, // more is said where the pods are known
	{name: "Ingress", class: noted, says: "ignored: publish a port with hostPort in a pod's ports, or run a reverse proxy as a pod"},
	{name: "IngressClass", class: noted, says: "ignored: there is no Ingress here"},
	{name: "Namespace", class: noted, says: "ignored: all pods of a machine share one name space"},
	{name: "ServiceAccount", class: noted, says: "ignored: there is no cluster to ask"},
	{name: "Role", class: noted, says: "ignored: there is no cluster to ask"},
	{name: "RoleBinding", class: noted, says: "ignored: there is no cluster to ask"},
	{name: "ClusterRole", class: noted, says: "ignored: there is no cluster to ask"},
	{name: "ClusterRoleBinding", class: noted, says: "ignored: there is no cluster to ask"},
	{name: "HorizontalPodAutoscaler", class: noted, says: "ignored: a pod runs once here"},
	{name: "PodDisruptionBudget", class: noted, says: "ignored: a pod runs once here"},
	{name: "PriorityClass", class: noted, says: scheduling},
	{name: "StorageClass", class: noted, says: "ignored: a claim is a volume of Podman"},
	{name: "LimitRange", class: noted, says: "ignored: set resources.limits in the containers"},
	{name: "ResourceQuota", class: noted, says: "ignored: set resources.limits in the containers"},

	{name: "StatefulSet", class: unsupported, says: "StatefulSet is not supported", hint: "write a Deployment with replicas: 1 and a PersistentVolumeClaim"},
	{name: "ReplicaSet", class: unsupported, says: "ReplicaSet is not supported", hint: "write a Deployment with replicas: 1"},
	{name: "ReplicationController", class: unsupported, says: "ReplicationController is not supported", hint: "write a Deployment with replicas: 1"},
	{name: "PersistentVolume", class: unsupported, says: "PersistentVolume is not supported: a claim is a volume of Podman",
		hint: "for a folder of the machine, use a hostPath volume in the pod"},
	{name: "NetworkPolicy", class: unsupported, says: "NetworkPolicy is not supported: nothing would enforce it",
		hint: "leave it out, and filter with the machine's firewall"},
	{name: "CustomResourceDefinition", class: unsupported, says: "CustomResourceDefinition is not supported: there is no cluster"},
	{name: "PodTemplate", class: unsupported, says: "PodTemplate is not supported", hint: "write a Pod or a Deployment"},
}

// Kinds.

var podKind = objectOf(
	must("apiVersion", anyText),
	must("kind", anyText),
	must("metadata", metadata(dnsLabel(54))), // Podman's pod is NAME-<8 hex>, and a host name has at most 63 characters
	must("spec", podSpecForm),
	pass("status", byCluster),
)

var deploymentKind = objectOf(
	must("apiVersion", anyText),
	must("kind", anyText),
	must("metadata", metadata(dnsLabel(54))),
	must("spec", objectOf(
		may("replicas", whole(0, 1<<31-1)),
		may("selector", objectOf(
			may("matchLabels", texts(labelKey)),
			pass("matchExpressions", "ignored: a Deployment has the one pod of its template"),
		)),
		must("template", objectOf(
			may("metadata", withRows(metadata(dnsName), pass("name", "ignored: the pod is called like the Deployment"))),
			must("spec", podSpecForm),
		)),
		pass("strategy", "ignored: the next pod is made before the old one stops"),
		pass("minReadySeconds", "ignored: the soak of the revision is what counts"),
		pass("revisionHistoryLimit", "ignored: the git history is kept"),
		may("progressDeadlineSeconds", whole(1, 1<<31-1)),
		refuse("paused", "is not supported", "suspend all deployments, or leave the file out"),
	)),
	pass("status", byCluster),
)

// A DaemonSet has a pod on each machine, and here is one.
var daemonSetKind = objectOf(
	must("apiVersion", anyText),
	must("kind", anyText),
	must("metadata", metadata(dnsLabel(54))),
	must("spec", objectOf(
		may("selector", objectOf(
			may("matchLabels", texts(labelKey)),
			pass("matchExpressions", "ignored: a DaemonSet has the one pod of its template"),
		)),
		must("template", objectOf(
			may("metadata", withRows(metadata(dnsName), pass("name", "ignored: the pod is called like the DaemonSet"))),
			must("spec", podSpecForm),
		)),
		pass("updateStrategy", "ignored: the next pod is made before the old one stops"),
		pass("minReadySeconds", "ignored: the soak of the revision is what counts"),
		pass("revisionHistoryLimit", "ignored: the git history is kept"),
	)),
	pass("status", byCluster),
)

var configMapKind = objectOf(
	must("apiVersion", anyText),
	must("kind", anyText),
	must("metadata", metadata(dnsName)),
	may("data", texts(dataKey)),
	may("binaryData", &form{values: base64Text, key: dataKey}),
	pass("immutable", "ignored: each content has a name of its own"),
)

var secretKind = objectOf(
	must("apiVersion", anyText),
	must("kind", anyText),
	must("metadata", metadata(dnsName)),
	may("type", anyText),
	may("data", &form{values: base64Text, key: dataKey}),
	may("stringData", texts(dataKey)),
	pass("immutable", "ignored: each content has a name of its own"),
)

var claimKind = objectOf(
	must("apiVersion", anyText),
	must("kind", anyText),
	must("metadata", metadata(dnsName)),
	may("spec", objectOf(
		may("accessModes", listOf(enum("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"))),
		passChecked("resources", objectOf(
			may("requests", &form{values: quantity, key: resourceKey}),
			may("limits", &form{values: quantity, key: resourceKey}),
		), "the size is not enforced: the volume grows as the disk has room"),
		pass("storageClassName", "ignored: a claim is a volume of Podman"),
		passChecked("volumeMode", enum("Filesystem"), "ignored: a claim is always a file system"),
		refuse("volumeName", "is not supported: a claim is a new volume of Podman", "for a folder of the machine, use a hostPath volume in the pod"),
		refuse("selector", "is not supported: a claim is a new volume of Podman", "leave it out"),
		refuse("dataSource", "is not supported: a claim begins empty", "leave it out"),
		refuse("dataSourceRef", "is not supported: a claim begins empty", "leave it out"),
	)),
	pass("status", byCluster),
)

var listKind = objectOf(
	must("apiVersion", anyText),
	must("kind", anyText),
	pass("metadata", byCluster),
	must("items", listOf(&form{})), // each is an object of its own
)

func metadata(name *form) *form {
	return objectOf(
		must("name", name),
		may("labels", texts(labelKey)),
		may("annotations", texts(annotationKey)),
		pass("namespace", "ignored: all pods of a machine share one name space"),
		pass("creationTimestamp", byCluster),
		pass("uid", byCluster),
		pass("resourceVersion", byCluster),
		pass("generation", byCluster),
		pass("selfLink", byCluster),
		pass("managedFields", byCluster),
		pass("ownerReferences", byCluster),
		pass("finalizers", byCluster),
		refuse("generateName", "is not supported: an object needs a name that stays", "use name"),
	)
}

// Pods.

var podSpecForm = objectOf(
	must("containers", someOf(containerForm)),
	may("initContainers", listOf(initContainerForm)),
	may("volumes", listOf(volumeForm)),
	may("restartPolicy", enum("Always", "OnFailure", "Never")),
	may("terminationGracePeriodSeconds", whole(0, 1<<31-1)),
	may("hostname", dnsLabel(63)),
	may("hostNetwork", boolean),
	may("hostPID", boolean),
	may("hostIPC", boolean),
	may("hostUsers", boolean),
	may("shareProcessNamespace", boolean),
	may("hostAliases", listOf(objectOf(
		must("ip", ipAddress),
		must("hostnames", someOf(dnsName)),
	))),
	may("dnsConfig", objectOf(
		may("nameservers", listOf(ipAddress)),
		may("searches", listOf(anyText)),
		may("options", listOf(objectOf(
			must("name", anyText),
			may("value", anyText),
		))),
	)),
	may("securityContext", objectOf(
		may("runAsUser", userID),
		may("runAsGroup", userID),
		may("supplementalGroups", listOf(userID)),
		may("seLinuxOptions", seLinux),
		may("sysctls", listOf(objectOf(
			must("name", anyText),
			must("value", anyText),
		))),
		passChecked("runAsNonRoot", boolean, nonRoot),
		passChecked("fsGroup", userID, "ignored: a new volume belongs to the container's user"),
		passChecked("fsGroupChangePolicy", enum("Always", "OnRootMismatch"), "ignored: a new volume belongs to the container's user"),
		passChecked("seccompProfile", seccomp, "ignored: Podman's default profile applies"),
		pass("supplementalGroupsPolicy", "ignored"),
		pass("windowsOptions", "ignored"),
		refuse("appArmorProfile", "is not supported", "annotate the pod with io.podman.annotations.apparmor/CONTAINER"),
		refuse("seLinuxChangePolicy", "is not supported", "leave it out"),
	)),

	pass("dnsPolicy", "ignored: pods are found by name, other names by the machine's resolver; dnsConfig is heeded"),
	pass("affinity", scheduling),
	pass("nodeName", scheduling),
	pass("nodeSelector", scheduling),
	pass("tolerations", scheduling),
	pass("topologySpreadConstraints", scheduling),
	pass("schedulerName", scheduling),
	pass("schedulingGates", scheduling),
	pass("priority", scheduling),
	pass("priorityClassName", scheduling),
	pass("preemptionPolicy", scheduling),
	pass("overhead", scheduling),
	pass("os", scheduling),
	pass("serviceAccount", "ignored: there is no cluster to ask"),
	pass("serviceAccountName", "ignored: there is no cluster to ask"),
	pass("automountServiceAccountToken", "ignored: there is no cluster to ask"),
	pass("enableServiceLinks", "ignored: there are no Services here"),
	pass("readinessGates", "ignored: there is no cluster to open them"),
	pass("subdomain", "ignored: a pod answers to its name"),
	pass("setHostnameAsFQDN", "ignored: the host name has no domain"),
	pass("imagePullSecrets", "ignored: a registry's credentials are read from the pod user's auth.json"),

	refuse("activeDeadlineSeconds", "is not supported: nothing would end the pod", "leave it out, or run timeout in the command"),
	refuse("ephemeralContainers", "is not supported", "leave it out"),
	refuse("runtimeClassName", "is not supported: the pod would run in Podman's own runtime", "leave it out"),
	refuse("resourceClaims", "is not supported", "leave it out"),
	refuse("resources", "is not supported for a whole pod", "set resources in the containers"),
)

var containerForm = objectOf(
	must("name", dnsLabel(63)),
	must("image", imageName),
	may("imagePullPolicy", pullPolicy),
	may("command", listOf(anyText)),
	may("args", listOf(anyText)),
	may("workingDir", absolute),
	may("env", listOf(oneAtMost(objectOf(
		must("name", envName),
		may("value", anyText),
		may("valueFrom", oneOf(objectOf(
			may("configMapKeyRef", keyRef),
			may("secretKeyRef", keyRef),
			may("fieldRef", objectOf(
				may("apiVersion", anyText),
				must("fieldPath", anyText),
			)),
			may("resourceFieldRef", objectOf(
				may("containerName", anyText),
				must("resource", enum("limits.cpu", "limits.memory", "requests.cpu", "requests.memory")),
				may("divisor", quantity),
			)),
			refuse("fileKeyRef", "is not supported", "use a ConfigMap or a Secret"),
		), "configMapKeyRef", "secretKeyRef", "fieldRef", "resourceFieldRef")),
	), "value", "valueFrom"))),
	may("envFrom", listOf(oneOf(objectOf(
		may("configMapRef", nameRef),
		may("secretRef", nameRef),
		refuse("prefix", "is not supported: Podman ignores it", "name the variables one by one in env"),
	), "configMapRef", "secretRef"))),
	may("ports", listOf(objectOf(
		must("containerPort", portNumber),
		may("hostPort", portNumber),
		may("hostIP", ipAddress),
		may("protocol", enum("TCP", "UDP", "SCTP")),
		may("name", portName),
	))),
	may("volumeMounts", listOf(objectOf(
		must("name", dnsLabel(63)),
		must("mountPath", mountPath),
		may("readOnly", boolean),
		may("subPath", relative),
		may("mountPropagation", enum("None", "HostToContainer", "Bidirectional")),
		refuse("subPathExpr", "is not supported", "use subPath"),
		refuse("recursiveReadOnly", "is not supported", "use readOnly"),
	))),
	may("resources", objectOf(
		may("limits", resources),
		may("requests", withRows(resources, pass("cpu", "ignored: nothing is scheduled; limits are heeded"))),
		refuse("claims", "is not supported", "leave it out"),
	)),
	may("securityContext", objectOf(
		may("privileged", boolean),
		may("runAsUser", userID),
		may("runAsGroup", userID),
		may("readOnlyRootFilesystem", boolean),
		may("allowPrivilegeEscalation", boolean),
		may("capabilities", objectOf(
			may("add", listOf(capability)),
			may("drop", listOf(capability)),
		)),
		may("procMount", enum("Default", "Unmasked")),
		may("seLinuxOptions", seLinux),
		passChecked("runAsNonRoot", boolean, nonRoot),
		passChecked("seccompProfile", seccomp, "ignored: Podman's default profile applies"),
		pass("windowsOptions", "ignored"),
		refuse("appArmorProfile", "is not supported", "annotate the pod with io.podman.annotations.apparmor/CONTAINER"),
	)),
	may("tty", boolean),
	pass("stdin", "ignored: nothing is attached to a pod"),
	pass("stdinOnce", "ignored: nothing is attached to a pod"),
	may("startupProbe", withRows(probeForm, onceEnough)),
	may("livenessProbe", withRows(probeForm, onceEnough)),
	may("readinessProbe", withRows(probeForm, refuse("terminationGracePeriodSeconds", "is not for a readinessProbe, which ends no container", "leave it out"))),
	may("lifecycle", objectOf(
		may("stopSignal", signalName),
		refuse("postStart", "is not supported: Podman never runs it", "do it in the command"),
		refuse("preStop", "is not supported: Podman never runs it", "handle the stop signal in the container"),
	)),
	pass("terminationMessagePath", "ignored: the log has the last words"),
	pass("terminationMessagePolicy", "ignored: the log has the last words"),
	pass("resizePolicy", "ignored: a change of resources makes a new pod"),
	refuse("restartPolicy", "is not supported for a single container", "set restartPolicy of the pod"),
	refuse("volumeDevices", "is not supported", "use a hostPath volume of type BlockDevice"),
)

var initContainerForm = withRows(containerForm,
	refuse("startupProbe", "an init container has no probes", "leave it out"),
	refuse("livenessProbe", "an init container has no probes", "leave it out"),
	refuse("readinessProbe", "an init container has no probes", "leave it out"),
	refuse("lifecycle", "is not supported for an init container", "leave it out"),
	refuse("restartPolicy", "is not supported for an init container: Podman would wait for it for ever", "make a sidecar one of the containers"),
)

const nonRoot = "is not checked: a rootless pod is never root of the machine; runAsUser is heeded"

var onceEnough = may("successThreshold", only(1, "only a readinessProbe can ask for more than one success"))

var probeForm = oneOf(objectOf(
	may("exec", objectOf(must("command", someOf(argument)))),
	may("httpGet", objectOf(
		must("port", portOrName),
		may("path", anyText),
		may("host", anyText),
		may("scheme", enum("HTTP", "HTTPS")),
		may("httpHeaders", listOf(objectOf(must("name", headerName), must("value", headerValue)))),
	)),
	may("tcpSocket", objectOf(must("port", portOrName), may("host", anyText))),
	may("grpc", objectOf(must("port", portNumber), may("service", anyText))),
	may("initialDelaySeconds", whole(0, 1<<31-1)),
	may("periodSeconds", whole(1, 1<<31-1)),
	may("timeoutSeconds", whole(1, 1<<31-1)),
	may("successThreshold", whole(1, 1<<31-1)),
	may("failureThreshold", whole(1, 1<<31-1)),
	may("terminationGracePeriodSeconds", whole(1, 1<<31-1)),
), "exec", "httpGet", "tcpSocket", "grpc")

var volumeForm = oneOf(objectOf(
	must("name", dnsLabel(63)),
	may("hostPath", objectOf(
		must("path", absolute),
		may("type", enum("", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket", "CharDevice", "BlockDevice")),
	)),
	may("persistentVolumeClaim", objectOf(
		must("claimName", dnsName),
		may("readOnly", boolean),
	)),
	may("configMap", objectOf(
		must("name", dnsName),
		may("items", listOf(keyToPath)),
		may("defaultMode", fileMode),
		may("optional", boolean),
	)),
	may("secret", objectOf(
		must("secretName", dnsName),
		may("items", listOf(keyToPath)),
		may("defaultMode", fileMode),
		may("optional", boolean),
	)),
	may("emptyDir", objectOf(
		may("medium", enum("", "Memory")),
		passChecked("sizeLimit", quantity, "is not enforced"),
	)),
	may("image", objectOf(
		must("reference", imageName),
		may("pullPolicy", pullPolicy),
	)),
	may("projected", objectOf(
		must("sources", someOf(oneOf(objectOf(
			may("configMap", projection),
			may("secret", projection),
			refuse("downwardAPI", "is not supported", "use env with fieldRef"),
			refuse("serviceAccountToken", "is not supported: there is no cluster to ask", "leave it out"),
			refuse("clusterTrustBundle", "is not supported: there is no cluster to ask", "use a ConfigMap"),
		), "configMap", "secret"))),
		may("defaultMode", fileMode),
	)),
	refuse("downwardAPI", "is not supported", "use env with fieldRef"),
	refuse("ephemeral", "is not supported", "use emptyDir, or a PersistentVolumeClaim of its own"),
	refuse("nfs", "is not supported", "mount it on the machine and use hostPath"),
	refuse("iscsi", "is not supported", "mount it on the machine and use hostPath"),
	refuse("cephfs", "is not supported", "mount it on the machine and use hostPath"),
	refuse("csi", "is not supported", "mount it on the machine and use hostPath"),
	refuse("local", "is not supported", "use hostPath"),
), "hostPath", "persistentVolumeClaim", "configMap", "secret", "emptyDir", "image", "projected")

var projection = objectOf(
	must("name", dnsName),
	may("items", listOf(keyToPath)),
	may("optional", boolean),
)

var keyToPath = objectOf(
	must("key", anyText),
	must("path", fileName),
	refuse("mode", "is not supported: Podman ignores it", "set defaultMode of the volume"),
)

var keyRef = objectOf(
	must("name", dnsName),
	must("key", anyText),
	may("optional", boolean),
)

var nameRef = objectOf(
	must("name", dnsName),
	may("optional", boolean),
)

var resources = &form{
	values: quantity,
	key:    resourceKey,
	fields: []fieldRow{
		may("cpu", quantity),
		may("memory", quantity),
		pass("ephemeral-storage", "is not enforced"),
	},
}

var seLinux = objectOf(
	may("user", anyText),
	may("role", anyText),
	may("type", anyText),
	may("level", anyText),
)

var seccomp = objectOf(
	must("type", enum("RuntimeDefault")),
)
