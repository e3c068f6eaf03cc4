package manifests

// Jobs, as far as one machine and one pod at a time go.

var jobKind = objectOf(
	must("apiVersion", anyText),
	must("kind", anyText),
	must("metadata", metadata(dnsLabel(54))),
	must("spec", jobSpecForm),
	pass("status", byCluster),
)

var jobSpecForm = objectOf(
	must("template", objectOf(
		may("metadata", withRows(metadata(dnsName), pass("name", "ignored: the pod is called like the Job"))),
		must("spec", withRows(podSpecForm,
			must("restartPolicy", enum("Never", "OnFailure")),
			refuse("activeDeadlineSeconds", "is not supported for a single try", "set activeDeadlineSeconds in the spec of the Job"))),
	)),
	may("backoffLimit", whole(0, 1<<31-1)),
	may("completions", only(1, "a Job runs to its end once")),
	may("parallelism", only(1, "a Job has one pod at a time; to hold it back, write suspend: true")),
	may("activeDeadlineSeconds", whole(1, 1<<31-1)),
	may("ttlSecondsAfterFinished", whole(0, 1<<31-1)),
	may("suspend", boolean),
	passChecked("completionMode", enum("NonIndexed"), "ignored: a Job runs to its end once"),
	passChecked("podReplacementPolicy", enum("TerminatingOrFailed", "Failed"), "ignored: the next try begins when the last has ended"),
	pass("selector", byCluster),
	pass("manualSelector", byCluster),
	refuse("podFailurePolicy", "is not supported: each failed try counts", "leave it out, and set backoffLimit"),
	refuse("successPolicy", "is not supported", "leave it out"),
	refuse("backoffLimitPerIndex", "is not supported", "set backoffLimit"),
	refuse("maxFailedIndexes", "is not supported", "set backoffLimit"),
	refuse("managedBy", "is not supported: there is no other controller here", "leave it out"),
)
