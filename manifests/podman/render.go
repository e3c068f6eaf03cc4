package podman

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/collie/manifests"
	"example.org/collie/manifests/internal/tree"
)

// The labels of all objects that Collie makes. Objects without the first one are never touched.
const (
	owner = "collie"

	labelOwner    = "collie.io/owner"
	labelObject   = "collie.io/object"   // Pod/web, Deployment/web, Job/migrate, PersistentVolumeClaim/data
	labelHash     = "collie.io/hash"     // of the pod with all it uses
	labelSource   = "collie.io/file"     // pods/web.yaml:1
	labelRevision = "collie.io/revision" // the one that made it
	labelRestart  = "collie.io/restart"  // its restart policy: the list of containers doesn't say
	labelWrites   = "collie.io/writes"   // volumes that it can write to, as RenderedPod.Writes, with commas
	labelWave     = "collie.io/wave"     // that it had when it was made
	labelPorts    = "collie.io/ports"    // of the machine that it takes with hostNetwork, as 8080/TCP, with commas
	labelForward  = "collie.io/forward"  // its Forwarding, in JSON
	labelPrune    = "collie.io/prune"    // "disabled" if it is kept after it left the repository: for when the inventory is lost
	labelPod      = "collie.io/pod"      // on a volume: the Podman pod it goes with
)

// Rendered has everything that makes a revision's pods live. It is saved, so it names secrets and never contains one.
type Rendered struct {
	Pods   []RenderedPod `json:"pods"`             // by name
	Claims []string      `json:"claims,omitempty"` // volumes that outlive all pods
}

// A RenderedPod is one pod, in one state of its YAML. In Podman it is NAME-HASH, so that the old one and the next can stand side by side.
type RenderedPod struct {
	Name       string               `json:"name"`
	Kind       string               `json:"kind"`
	Hash       string               `json:"hash"`
	File       string               `json:"file"`
	Line       int                  `json:"line"`
	Restart    string               `json:"restart"`              // Always, OnFailure or Never
	Containers []string             `json:"containers"`           // without init containers, which are gone once they ran
	Kube       json.RawMessage      `json:"kube,omitempty"`       // a List for kube play; none in a baseline, which can't be made again
	Images     map[string]string    `json:"images,omitempty"`     // name to id, as prepared
	Digests    map[string]string    `json:"digests,omitempty"`    // name to that of the registry's manifest, where it has one
	Moves      bool                 `json:"moves,omitempty"`      // an image is to be asked for again: its tag may move
	Uses       map[string]string    `json:"uses,omitempty"`       // the hashes of ConfigMaps and Secrets, as Secret/db
	Secrets    []string             `json:"secrets,omitempty"`    // Podman's, for this pod alone or shared
	Volumes    []string             `json:"volumes,omitempty"`    // of its own: with copies of ConfigMaps and Secrets, and emptyDirs
	Scratch    []string             `json:"scratch,omitempty"`    // which of these are empty when it is made
	HostPorts  []manifests.HostPort `json:"host_ports,omitempty"` // of which two pods can't hold one
	Writes     []string             `json:"writes,omitempty"`     // what it can write to that outlives it: "volume data", "/srv/www"
	Deadline   int                  `json:"deadline,omitempty"`   // seconds within which it has to get ready; 0: the usual

	HostNetwork bool `json:"hostNetwork,omitempty"`

	Options manifests.Options  `json:"options,omitzero"`
	Left    bool               `json:"left,omitempty"` // the repository; it goes on as it is
	Run     string             `json:"run,omitempty"`  // of a CronJob: the minute since 1970
	Job     *manifests.Job     `json:"job,omitempty"`  // nil: it runs until it is stopped
	Cron    *manifests.Cron    `json:"cron,omitempty"` // of a CronJob, for each run of which this is the pod
	Probes  []manifests.Probes `json:"probes,omitempty"`
	Grace   *int               `json:"grace,omitempty"` // seconds that it has to end; nil: Podman's

	Forwarding *Forwarding `json:"forwarding,omitempty"` // then it takes no port of the machine itself
}

// grace is what a container of the pod has to end.
func (p RenderedPod) grace() time.Duration {
	if p.Grace == nil {
		return 10 * time.Second
	}
	return time.Duration(*p.Grace) * time.Second
}

// id is the pod's name in Podman.
func (r RenderedPod) id() string {
	if r.Run != "" {
		return r.Name + "-" + r.Run + "-" + r.Hash
	}
	return r.Name + "-" + r.Hash
}

// user is the Podman pod that a volume goes with: of a CronJob's, all runs use the copies of Secrets.
func (r RenderedPod) user(volume string) string {
	if strings.HasPrefix(volume, r.id()+"-") {
		return r.id()
	}
	r.Run = ""
	return r.id()
}

// subject is what a person reads of it.
func (r RenderedPod) subject() string {
	switch {
	case r.Run != "":
		return "run of cronjob " + r.Name
	case r.Cron != nil:
		return "cronjob " + r.Name
	case r.Job != nil:
		return "job " + r.Name
	}
	return "pod " + r.Name
}

func (r RenderedPod) source() string {
	if r.File == "" {
		return "an unknown file"
	}
	return r.File + ":" + strconv.Itoa(r.Line)
}

// ID names the content. That of a baseline differs from that of the same pods with their Kube: one can't be made again.
func (r Rendered) ID() string {
	sum := sha256.New()
	for _, pod := range slices.SortedFunc(slices.Values(r.Pods), func(a, b RenderedPod) int { return cmp.Compare(a.id(), b.id()) }) {
		fmt.Fprintf(sum, "pod %s %t\n", pod.id(), pod.Kube != nil)
		if pod.Left {
			fmt.Fprintf(sum, "left\n")
		}
		if opts, err := json.Marshal(pod.Options); err == nil && string(opts) != "{}" {
			fmt.Fprintf(sum, "options %s\n", opts)
		}
		if probes, err := json.Marshal(withoutLines(pod.Probes)); err == nil && len(pod.Probes) > 0 {
			fmt.Fprintf(sum, "probes %s\n", probes)
		}
		if job, err := json.Marshal([]any{pod.Job, pod.Cron}); err == nil && pod.Job != nil {
			fmt.Fprintf(sum, "job %s\n", job)
		}
	}
	for _, claim := range slices.Sorted(slices.Values(r.Claims)) {
		fmt.Fprintf(sum, "claim %s\n", claim)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// A rendering is a pod on its way to a RenderedPod, with the secrets that have to be there before it.
type rendering struct {
	RenderedPod
	secrets map[string]map[string]any // documents, by Podman's name for them
}

// render makes of pod what kube play gets: under its own name and labels, its images by id, and no volume that another
// pod, or another state of this one, would share. Podman names a volume after the emptyDir, the ConfigMap or the Secret in
// it, and rewrites an existing one while pods use it (docs/facts/podman.md, "names a volume after").
func render(pod *manifests.Pod, revision string, images map[string]localImage) (rendering, error) {
	doc, err := deepCopy(pod.Doc)
	if err != nil {
		return rendering{}, fmt.Errorf("%s:%d: copying the pod: %w", pod.File, pod.Line, err)
	}
	r := rendering{
		RenderedPod: RenderedPod{Name: pod.Name, Kind: pod.Kind, Hash: movable(pod, images), File: pod.File, Line: pod.Line,
			Images: map[string]string{}, Digests: map[string]string{}, Uses: map[string]string{}, HostPorts: pod.HostPorts, Options: pod.Options, Deadline: pod.Deadline, Job: pod.Job, Cron: pod.Cron, Moves: moves(pod),
			Probes: pod.Probes, HostNetwork: pod.HostNetwork},
		secrets: map[string]map[string]any{},
	}
	for _, o := range slices.Concat(pod.ConfigMaps, pod.Secrets) {
		r.Uses[o.Kind+"/"+o.Name] = o.Hash
	}
	shared := r.id() // what all runs of a CronJob have in common is named with this
	if pod.Cron != nil {
		r.Run = runMark
	}
	spec := tree.Child(doc, "spec")
	r.Restart = cmp.Or(tree.Str(spec, "restartPolicy"), "Always")
	if pod.Job != nil {
		r.Restart, spec["restartPolicy"] = "Never", "Never" // each try is a new pod
	}
	if tree.Str(spec, "hostname") == "" {
		spec["hostname"] = pod.Name // the name in DNS doesn't depend on the hash
	}
	if err := r.forward(spec); err != nil {
		return rendering{}, err
	}
	r.Writes = written(spec)
	if grace, ok := spec["terminationGracePeriodSeconds"].(json.Number); ok && len(pod.Probes) > 0 {
		if n, err := grace.Int64(); err == nil {
			seconds := int(n)
			r.Grace = &seconds
		}
	}
	if err := r.label(doc, pod, revision); err != nil {
		return rendering{}, err
	}
	r.nameImages(spec, pod, images)
	items := []any{doc}
	for _, cm := range pod.ConfigMaps {
		items = append(items, cm.Doc.Reveal()) // for environments
	}
	items = append(items, r.volumes(spec, pod, images, shared)...)
	r.Run = ""
	r.Secrets = slices.Sorted(maps.Keys(r.secrets))
	r.Kube, err = json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		return rendering{}, fmt.Errorf("%s:%d: writing the pod down: %w", pod.File, pod.Line, err)
	}
	return r, nil
}

// label names the pod as Podman gets it, and labels it with what a look has to know of it.
func (r *rendering) label(doc map[string]any, pod *manifests.Pod, revision string) error {
	meta := tree.Child(doc, "metadata")
	meta["name"] = r.id()
	labels := tree.Child(meta, "labels")
	for k, v := range map[string]string{
		labelOwner: owner, labelObject: pod.Kind + "/" + pod.Name, labelHash: r.Hash, labelRevision: revision,
		labelSource: r.source(), labelRestart: r.Restart,
	} {
		labels[k] = v
	}
	if wave := pod.Options.Wave; wave != 0 {
		labels[labelWave] = strconv.Itoa(wave)
	}
	if pod.Options.Stays {
		labels[labelPrune] = "disabled"
	}
	if len(r.Writes) > 0 {
		labels[labelWrites] = strings.Join(r.Writes, ",")
	}
	if pod.HostNetwork {
		labels[labelPorts] = cmp.Or(portList(pod.HostPorts), "unknown")
	}
	if r.Forwarding != nil {
		text, err := json.Marshal(r.Forwarding)
		if err != nil {
			return fmt.Errorf("%s: writing down how it is reached: %w", r.source(), err)
		}
		labels[labelForward] = string(text)
	}
	return nil
}

// nameImages has the containers use the images that are on the machine: a tag may move until this is played.
func (r *rendering) nameImages(spec map[string]any, pod *manifests.Pod, images map[string]localImage) {
	for _, image := range pod.Images {
		r.Images[image.Name] = images[image.Name].ID
		if digest := images[image.Name].Digest; digest != "" {
			r.Digests[image.Name] = digest
		}
	}
	for c := range tree.Objects(spec, "initContainers", "containers") {
		if id := images[tree.Str(c, "image")].ID; id != "" {
			c["image"] = id
		}
		c["imagePullPolicy"] = "Never"
		r.secretsInEnv(c, pod)
	}
	for c := range tree.Objects(spec, "containers") {
		r.Containers = append(r.Containers, tree.Str(c, "name"))
	}
}

// volumes gives each volume a name of the pod's own, or for secrets one that all runs of a CronJob share. It returns the
// ConfigMaps that Podman makes volumes of.
func (r *rendering) volumes(spec map[string]any, pod *manifests.Pod, images map[string]localImage, shared string) (items []any) {
	renamed := map[string]string{}
	for v := range tree.Objects(spec, "volumes") {
		own := r.id() + "-" + tree.Str(v, "name")
		switch {
		case v["emptyDir"] != nil:
			renamed[tree.Str(v, "name")] = own
			v["name"] = own
			if tree.Str(tree.Child(v, "emptyDir"), "medium") == "" { // else it is in memory, and no volume
				r.Volumes, r.Scratch = append(r.Volumes, own), append(r.Scratch, own)
			}
		case v["configMap"] != nil:
			source := tree.Child(v, "configMap")
			if cm := find(pod.ConfigMaps, tree.Str(source, "name")); cm != nil {
				source["name"] = own
				items = append(items, named(cm.Doc.Reveal(), own))
				r.Volumes = append(r.Volumes, own)
			}
		case v["secret"] != nil:
			source := tree.Child(v, "secret")
			if secret := find(pod.Secrets, tree.Str(source, "secretName")); secret != nil {
				own = shared + "-" + tree.Str(v, "name")
				source["secretName"] = own
				r.secrets[own] = named(secret.Doc.Reveal(), own)
				r.Volumes = append(r.Volumes, own)
			}
		case v["projected"] != nil: // Podman knows no such volume: it gets one object with the content of all
			source, doc := project(tree.Child(v, "projected"), pod)
			delete(v, "projected")
			if doc["kind"] == "Secret" {
				own = shared + "-" + tree.Str(v, "name")
				source["secretName"], v["secret"] = own, source
				r.secrets[own] = named(doc, own)
			} else {
				source["name"], v["configMap"] = own, source
				items = append(items, named(doc, own))
			}
			r.Volumes = append(r.Volumes, own)
		case v["image"] != nil:
			source := tree.Child(v, "image")
			if id := images[tree.Str(source, "reference")].ID; id != "" {
				source["reference"] = id
			}
			source["pullPolicy"] = "Never"
		}
	}
	for c := range tree.Objects(spec, "initContainers", "containers") {
		for m := range tree.Objects(c, "volumeMounts") {
			if own := renamed[tree.Str(m, "name")]; own != "" {
				m["name"] = own
			}
		}
	}
	return items
}

// secretsInEnv points the environment of container c at Podman's names for its secrets.
func (r *rendering) secretsInEnv(c map[string]any, pod *manifests.Pod) {
	point := func(ref map[string]any) {
		secret := find(pod.Secrets, tree.Str(ref, "name"))
		if secret == nil {
			return // an optional one that isn't there
		}
		own := secret.Name + "-" + secret.Hash
		ref["name"] = own
		r.secrets[own] = named(secret.Doc.Reveal(), own)
	}
	for e := range tree.Objects(c, "env") {
		if from, ok := e["valueFrom"].(map[string]any); ok {
			if ref, ok := from["secretKeyRef"].(map[string]any); ok {
				point(ref)
			}
		}
	}
	for e := range tree.Objects(c, "envFrom") {
		if ref, ok := e["secretRef"].(map[string]any); ok {
			point(ref)
		}
	}
}

func find(objects []*manifests.Object, name string) *manifests.Object {
	for _, o := range objects {
		if o.Name == name {
			return o
		}
	}
	return nil
}

// named is doc under another name, and without what would only be in the way: `immutable: true` forbids Podman to remove it.
func named(doc map[string]any, name string) map[string]any {
	other := map[string]any{"metadata": map[string]any{"name": name}}
	for _, key := range []string{"apiVersion", "kind", "data", "stringData", "binaryData"} {
		if v, ok := doc[key]; ok {
			other[key] = v
		}
	}
	return other
}

// deepCopy keeps numbers as they are written.
func deepCopy(doc map[string]any) (map[string]any, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	var c map[string]any
	if err := dec.Decode(&c); err != nil {
		return nil, err
	}
	return c, nil
}
