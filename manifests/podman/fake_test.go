package podman

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fakePodman stands in for Podman's API: what it knows was seen of the real one in the lab.
// The same stories run over both.
type fakePodman struct {
	mu       sync.Mutex
	socket   string
	pods     map[string]*fakePod
	volumes  map[string]map[string]string // labels
	secrets  map[string]fakeSecret
	images   map[string]string // on this machine: name to id
	registry map[string]string
	deaf     bool // the registry
	serial   int
	calls    []string
	answers  map[string]http.HandlerFunc // instead of the fake's own, by "METHOD /path"
}

type fakePod struct {
	Name, ID   string
	Labels     map[string]string
	containers []*fakeContainer // the first is infra
}

type fakeSecret struct {
	labels map[string]string
	body   string
}

type fakeContainer struct {
	container
	command       string
	restart       string
	mounts        []map[string]any // of claims
	stoppedByUser bool
	ghost         bool // its process is gone, and its conmon
	mute          bool // its conmon is gone: it will be a ghost
}

func newFake(t *testing.T) *fakePodman {
	f := &fakePodman{
		socket: filepath.Join(t.TempDir(), "podman.sock"), pods: map[string]*fakePod{}, volumes: map[string]map[string]string{},
		secrets: map[string]fakeSecret{}, images: map[string]string{},
		registry: map[string]string{imageOne: strings.Repeat("a", 64), imageTwo: strings.Repeat("b", 64)},
		answers:  map[string]http.HandlerFunc{},
	}
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: f}}
	s.Start()
	t.Cleanup(s.Close)
	return f
}

func (f *fakePodman) alive(pid int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, pod := range f.pods {
		for _, c := range pod.containers {
			if c.Pid == pid {
				return !c.ghost
			}
		}
	}
	return false
}

// log is all calls so far.
func (f *fakePodman) log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// writes are the calls so far that change something.
func (f *fakePodman) writes() []string {
	return slices.DeleteFunc(f.log(), func(c string) bool { return strings.HasPrefix(c, "GET ") })
}

func (f *fakePodman) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = nil
}

func (f *fakePodman) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if _, rest, ok := strings.Cut(path, "/libpod"); ok {
		path = rest
	}
	if path == "/_ping" {
		w.Header().Set("Libpod-API-Version", "5.8.0")
		return
	}
	call := r.Method + " " + path
	f.mu.Lock()
	f.calls = append(f.calls, call)
	instead := f.answers[call]
	f.mu.Unlock()
	if instead != nil {
		instead(w, r)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	part := strings.Split(strings.TrimPrefix(path, "/"), "/")
	name, verb := "", part[len(part)-1]
	if len(part) > 1 {
		name = strings.Join(part[1:max(2, len(part)-1)], "/")
	}
	switch {
	case call == "GET /containers/json":
		all := []container{}
		for _, pod := range f.pods {
			for _, c := range pod.containers {
				all = append(all, c.container)
			}
		}
		answer(w, 200, all)
	case part[0] == "containers":
		f.container(w, r, name, verb)
	case call == "GET /pods/json":
		all := []any{}
		for _, pod := range f.pods {
			all = append(all, pod.info())
		}
		answer(w, 200, all)
	case part[0] == "pods":
		f.pod(w, r, name, verb)
	case call == "POST /play/kube":
		f.play(w, r)
	case call == "GET /volumes/json":
		all := []volume{}
		for name, labels := range f.volumes {
			all = append(all, volume{name, labels})
		}
		answer(w, 200, all)
	case call == "POST /volumes/create":
		var v volume
		if json.NewDecoder(r.Body).Decode(&v) != nil {
			reject(w, 500, "Decode()")
			return
		}
		if _, ok := f.volumes[v.Name]; !ok {
			f.volumes[v.Name] = v.Labels
		}
		answer(w, 201, v)
	case part[0] == "volumes" && r.Method == http.MethodDelete:
		delete(f.volumes, name)
		w.WriteHeader(204)
	case call == "GET /secrets/json":
		all := []any{}
		for name, s := range f.secrets {
			all = append(all, map[string]any{"Spec": map[string]any{"Name": name, "Labels": s.labels}})
		}
		answer(w, 200, all)
	case call == "POST /secrets/create":
		f.createSecret(w, r)
	case part[0] == "secrets" && r.Method == http.MethodDelete:
		delete(f.secrets, name)
		w.WriteHeader(204)
	case call == "POST /images/pull":
		ref := r.URL.Query().Get("reference")
		id, ok := f.registry[ref]
		switch {
		case f.deaf:
			answer(w, 200, map[string]string{"error": "pinging container registry x: dial tcp: connection refused"})
		case !ok:
			answer(w, 200, map[string]string{"error": "reading manifest in " + ref + ": manifest unknown"})
		default:
			f.images[ref] = id
			answer(w, 200, map[string]any{"images": []string{id}, "id": id})
		}
	case part[0] == "images":
		if r.Method == http.MethodDelete { // it has no verb, and a name may have slashes
			name = strings.Join(part[1:], "/")
		}
		if id := f.image(name); id != "" {
			f.oneImage(w, r, name, id)
			return
		}
		reject(w, 404, "image not known")
	default:
		reject(w, 404, "the fake has no "+call)
	}
}

func (f *fakePodman) oneImage(w http.ResponseWriter, r *http.Request, name, id string) {
	tags := []string{}
	for n, other := range f.images {
		if other == id && !strings.Contains(n, "@") {
			tags = append(tags, n)
		}
	}
	if r.Method == http.MethodGet {
		answer(w, 200, map[string]any{"Id": id, "Digest": "sha256:" + strings.Repeat("d", 63) + id[:1], "RepoTags": tags})
		return
	}
	used := false
	for _, pod := range f.pods {
		used = used || slices.ContainsFunc(pod.containers, func(c *fakeContainer) bool { return c.ImageID == id })
	}
	switch {
	case used && (name == id || len(tags) == 1), name == id && len(tags) > 1:
		reject(w, 409, "image used by a container, or in multiple repositories")
	case name == id:
		for n, other := range f.images {
			if other == id {
				delete(f.images, n)
			}
		}
		answer(w, 200, map[string]any{})
	default:
		delete(f.images, name)
		answer(w, 200, map[string]any{})
	}
}

func (f *fakePodman) image(name string) string {
	for n, id := range f.images {
		if n == name || id == name {
			return id
		}
	}
	return ""
}

func (pod *fakePod) info() map[string]any {
	return map[string]any{"Name": pod.Name, "Id": pod.ID, "Labels": pod.Labels, "Status": pod.status()}
}

func (pod *fakePod) status() string {
	running := 0
	for _, c := range pod.containers {
		if c.State == "running" {
			running++
		}
	}
	switch running {
	case 0:
		return "Exited"
	case len(pod.containers):
		return "Running"
	}
	return "Degraded"
}

func (f *fakePodman) pod(w http.ResponseWriter, r *http.Request, name, verb string) {
	pod := f.pods[name]
	if pod == nil {
		reject(w, 404, "no such pod")
		return
	}
	if r.Method == http.MethodDelete {
		delete(f.pods, name)
		answer(w, 200, map[string]string{"Id": pod.ID})
		return
	}
	errs := []string{}
	switch {
	case verb == "json":
		answer(w, 200, pod.info())
		return
	case verb == "start" && pod.status() == "Running", verb == "stop" && pod.status() != "Running": // also where a part runs
		w.WriteHeader(304)
		return
	case verb == "kill" && pod.status() == "Exited":
		answer(w, 409, map[string]any{"message": "cannot kill a pod with no running containers: " + pod.ID, "response": 409})
		return
	}
	for _, c := range slices.Backward(pod.containers) { // the infra container last
		switch {
		case verb == "stop" && c.ghost:
			c.ghost = false
			c.end(-1, true)
			errs = append(errs, "conmon exited prematurely, exit code could not be retrieved: conmon process killed")
		case verb == "stop" && len(errs) > 0: // what a lost container depends on isn't stopped
		case verb != "start":
			c.end(137, true)
		case c.State != "running":
			if err := f.start(c); err != "" {
				errs = append(errs, "starting container "+c.ID+": "+err)
			}
		}
	}
	pod.work()
	if len(errs) > 0 {
		answer(w, 409, map[string]any{"Errs": errs, "Id": pod.ID})
		return
	}
	answer(w, 200, map[string]any{"Errs": nil, "Id": pod.ID})
}

func (f *fakePodman) start(c *fakeContainer) string {
	if c.command == "/nope" {
		return "crun: executable file `/nope` not found"
	}
	for _, pod := range f.pods {
		for _, other := range pod.containers {
			if other.IsInfra && c.IsInfra && other != c && other.State == "running" && samePort(other.Ports, c.Ports) {
				return "rootlessport listen tcp 0.0.0.0: bind: address already in use"
			}
		}
	}
	f.serial++
	c.State, c.Pid, c.StartedAt, c.stoppedByUser, c.Restarts = "running", 1000+f.serial, time.Now().Unix(), false, 0
	return ""
}

// work ends what has nothing to do, and with the last one the pod.
func (pod *fakePod) work() {
	idle := true
	for _, c := range pod.containers[1:] {
		if c.command == "/bin/true" {
			c.end(0, false)
		}
		if m := failing.FindStringSubmatch(c.command); m != nil {
			code, _ := strconv.Atoi(m[2])
			c.end(code, false)
		}
		idle = idle && c.State != "running"
	}
	if idle {
		pod.containers[0].end(0, false)
	}
}

// failing is a command that says something and fails.
var failing = regexp.MustCompile(`^/bin/sh -c echo (.*); exit (\d+)$`)

func samePort(a, b []portMapping) bool {
	return slices.ContainsFunc(a, func(m portMapping) bool { return slices.Contains(b, m) })
}

func (c *fakeContainer) end(code int, byUser bool) {
	if c.State == "running" && c.mute {
		c.ghost, c.mute = true, false
	}
	if c.State == "running" && !c.ghost {
		c.State, c.Pid, c.ExitCode, c.ExitedAt = "exited", 0, code, time.Now().Unix()
	}
	c.stoppedByUser = byUser
}

func (f *fakePodman) container(w http.ResponseWriter, r *http.Request, id, verb string) {
	for _, pod := range f.pods {
		for i, c := range pod.containers {
			if c.ID != id && !slices.Contains(c.Names, id) {
				continue
			}
			switch {
			case verb == "logs":
				if m := failing.FindStringSubmatch(c.command); m != nil && c.StartedAt > 0 {
					_, _ = w.Write(append([]byte{1, 0, 0, 0, 0, 0, 0, byte(len(m[1]) + 1)}, m[1]+"\n"...))
				}
				return
			case r.Method == http.MethodDelete:
				pod.containers = slices.Delete(pod.containers, i, i+1)
			case verb == "json":
				answer(w, 200, map[string]any{"State": map[string]any{"StoppedByUser": c.stoppedByUser, "Running": c.State == "running", "Pid": c.Pid}, "Mounts": c.mounts})
				return
			case verb == "start":
				if err := f.start(c); err != "" {
					reject(w, 500, err)
					return
				}
			case verb == "pause":
				c.State = "paused"
			case verb == "unpause":
				c.State = "running"
			case verb == "stop" && c.ghost:
				c.ghost = false
				c.end(-1, true)
				reject(w, 500, "conmon exited prematurely, exit code could not be retrieved: conmon process killed")
				return
			default:
				c.end(137, true)
			}
			w.WriteHeader(204)
			return
		}
	}
	reject(w, 404, "no such container "+id)
}

func (f *fakePodman) createSecret(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	if _, ok := f.secrets[name]; ok {
		reject(w, 500, "secret name in use")
		return
	}
	var labels map[string]string
	var doc map[string]any
	if json.Unmarshal([]byte(r.URL.Query().Get("labels")), &labels) != nil || json.NewDecoder(r.Body).Decode(&doc) != nil {
		reject(w, 500, "not JSON")
		return
	}
	f.secrets[name] = fakeSecret{labels, fmt.Sprint(doc)}
	answer(w, 200, map[string]string{"ID": name})
}

// play does what kube play does with one Pod. When an image is missing, half a pod stays behind.
func (f *fakePodman) play(w http.ResponseWriter, r *http.Request) {
	var list struct {
		Items []struct {
			Kind     string
			Metadata struct {
				Name   string
				Labels map[string]string
			}
			Spec struct {
				RestartPolicy string
				Volumes       []struct {
					Secret                *struct{ SecretName string }
					PersistentVolumeClaim *struct{ ClaimName string }
				}
				Containers []struct {
					Name, Image string
					Command     []string
					Ports       []struct{ HostPort int }
				}
			}
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&list); err != nil || r.URL.Query().Get("start") != "false" || len(list.Items) == 0 {
		reject(w, 500, fmt.Sprint("unable to read YAML: ", err))
		return
	}
	doc := list.Items[0]
	if f.pods[doc.Metadata.Name] != nil {
		reject(w, 500, fmt.Sprintf("adding pod to state: name %q is in use: pod already exists", doc.Metadata.Name))
		return
	}
	claims := []map[string]any{}
	for _, v := range doc.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			claims = append(claims, map[string]any{"Type": "volume", "Name": v.PersistentVolumeClaim.ClaimName})
		}
		if v.Secret == nil {
			continue
		}
		if _, ok := f.secrets[v.Secret.SecretName]; !ok {
			reject(w, 500, "no such secret")
			return
		}
	}
	f.serial++
	pod := &fakePod{Name: doc.Metadata.Name, ID: fmt.Sprintf("%064d", f.serial), Labels: doc.Metadata.Labels}
	f.pods[pod.Name] = pod
	add := func(c fakeContainer) {
		f.serial++
		c.ID, c.PodName, c.State, c.StartedAt, c.ExitedAt = fmt.Sprintf("%064d", f.serial), pod.Name, "created", -62135596800, -62135596800
		pod.containers = append(pod.containers, &c)
	}
	infra := fakeContainer{container: container{IsInfra: true, Names: []string{pod.ID[:12] + "-infra"}}}
	for _, c := range doc.Spec.Containers {
		for _, p := range c.Ports {
			infra.Ports = append(infra.Ports, portMapping{HostPort: p.HostPort, Range: 1, Protocol: "tcp"})
		}
	}
	add(infra)
	for _, c := range doc.Spec.Containers {
		id := f.image(c.Image)
		if id == "" {
			reject(w, 500, c.Image+": image not known")
			return
		}
		add(fakeContainer{container: container{Names: []string{pod.Name + "-" + c.Name}, Labels: pod.Labels, ImageID: id},
			command: strings.Join(c.Command, " "), restart: doc.Spec.RestartPolicy, mounts: claims})
	}
	answer(w, 200, map[string]any{"Pods": []any{map[string]any{"ID": pod.ID, "ContainerErrors": nil}}})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that went away has its own error
}

func reject(w http.ResponseWriter, status int, says string) {
	answer(w, status, map[string]any{"cause": says, "message": says, "response": status})
}
