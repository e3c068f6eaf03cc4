package podman

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A container is one line of the list of all.
type container struct {
	ID        string `json:"Id"`
	Names     []string
	ImageID   string
	IsInfra   bool
	Labels    map[string]string
	Networks  []string // of the infra container
	Pid       int
	PodName   string
	Ports     []portMapping
	Restarts  int
	State     string
	ExitCode  int
	StartedAt int64 // both in seconds since 1970, far below zero for never
	ExitedAt  int64
}

type portMapping struct {
	HostIP   string `json:"host_ip"`
	HostPort int    `json:"host_port"`
	Range    int    `json:"range"`
	Protocol string `json:"protocol"`
}

// listsAtOnce is how many lists of all containers are read at a time. One of Podman's own choosing takes 45 MiB to read.
const listsAtOnce = 2

func (p *Podman) listContainers(ctx context.Context) ([]container, error) {
	select {
	case p.lists <- struct{}{}:
		defer func() { <-p.lists }()
	case <-ctx.Done():
		return nil, fmt.Errorf("listing containers: %w", p.silent(ctx, ctx.Err()))
	}
	var all []container
	_, err := p.ask(ctx, request{method: http.MethodGet, endpoint: "/containers/json", query: url.Values{"all": {"true"}}}, &all)
	if err == nil {
		err = countPorts(all)
	}
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	return all, nil
}

// A containerState is what the list doesn't say.
type containerState struct {
	StoppedByUser  bool
	OOMKilled      bool
	Running        bool
	Pid, ConmonPid int

	network string         // the namespace of its network, if it has one of its own
	signal  syscall.Signal // that asks it to end; 0: unknown
	volumes []string       // that it mounts, by name
}

func (p *Podman) inspectContainer(ctx context.Context, id string) (containerState, error) {
	var c struct {
		State           containerState
		NetworkSettings struct{ SandboxKey string }
		Config          struct{ StopSignal any } // its name, or from Podman 4 its number
		Mounts          []struct{ Name string }  // empty for what is no volume
	}
	_, err := p.ask(ctx, request{method: http.MethodGet, endpoint: "/containers/%s/json", names: []string{id}}, &c)
	if err != nil {
		return containerState{}, fmt.Errorf("inspecting container %.12s: %w", id, err)
	}
	c.State.network = c.NetworkSettings.SandboxKey
	for _, m := range c.Mounts {
		c.State.volumes = append(c.State.volumes, m.Name)
	}
	switch signal := c.Config.StopSignal.(type) {
	case string:
		c.State.signal = unix.SignalNum(signal)
	case float64:
		c.State.signal = syscall.Signal(signal)
	}
	return c.State, nil
}

// containerVerb starts, stops or unpauses one container.
func (p *Podman) containerVerb(ctx context.Context, id, verb string, timeout time.Duration) error {
	_, err := p.ask(ctx, request{method: http.MethodPost, endpoint: "/containers/%s/" + verb, names: []string{id}, timeout: timeout}, nil)
	return err
}

// execProbe runs a command in a container. If it fails, the error has its output.
func (p *Podman) execProbe(ctx context.Context, id string, command []string) error {
	var made struct{ ID string }
	_, err := p.ask(ctx, request{method: http.MethodPost, endpoint: "/containers/%s/exec", names: []string{id},
		body: map[string]any{"Cmd": command, "AttachStdout": true, "AttachStderr": true}}, &made)
	if err != nil {
		return err
	}
	defer func() { // Podman would keep it for some minutes; one that goes on is ended
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quick)
		defer cancel()
		_, _ = p.ask(ctx, request{method: http.MethodPost, endpoint: "/exec/%s/remove", names: []string{made.ID}, body: map[string]any{"Force": true}}, nil)
	}()
	var says said
	_, err = p.ask(ctx, request{method: http.MethodPost, endpoint: "/exec/%s/start", names: []string{made.ID},
		body: map[string]any{"Detach": false}, most: mostStreamed}, &says)
	if err != nil {
		return err
	}
	var is struct {
		Running  bool
		ExitCode int
	}
	if _, err := p.ask(ctx, request{method: http.MethodGet, endpoint: "/exec/%s/json", names: []string{made.ID}}, &is); err != nil {
		return err
	}
	if is.Running || is.ExitCode == 0 {
		return nil
	}
	if last := says.lines(1); len(last) > 0 {
		return fmt.Errorf("exit code %d: %s", is.ExitCode, last[0])
	}
	return fmt.Errorf("exit code %d", is.ExitCode)
}

// containerLog returns the last lines that a container wrote, each bounded, of output and errors alike.
func (p *Podman) containerLog(ctx context.Context, id string, lines int) ([]string, error) {
	var says said
	_, err := p.ask(ctx, request{method: http.MethodGet, endpoint: "/containers/%s/logs", names: []string{id},
		query: url.Values{"stdout": {"true"}, "stderr": {"true"}, "tail": {strconv.Itoa(lines)}}, most: mostStreamed}, &says)
	if err != nil {
		return nil, fmt.Errorf("reading the log of container %.12s: %w", id, err)
	}
	return says.lines(lines), nil
}

const mostLine = 300 // characters of a line of a log that a person is shown

// A podInfo is a pod as Podman has it, also one without containers.
type podInfo struct {
	Name   string
	Labels map[string]string
	Status string
}

// listPods lists the pods that bear Collie's label. Where the list of containers is enough, that is cheaper (docs/facts/podman.md,
// "costs twice the list of containers").
func (p *Podman) listPods(ctx context.Context) ([]podInfo, error) {
	var all []podInfo
	_, err := p.ask(ctx, request{method: http.MethodGet, endpoint: "/pods/json", query: ownFilter()}, &all)
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	return slices.DeleteFunc(all, func(i podInfo) bool { return i.Labels[labelOwner] != owner }), nil
}

func ownFilter() url.Values {
	return url.Values{"filters": {fmt.Sprintf(`{"label":[%q]}`, labelOwner+"="+owner)}}
}

// inspectPod returns nil if there is no such pod.
func (p *Podman) inspectPod(ctx context.Context, name string) (*podInfo, error) {
	var i podInfo
	_, err := p.ask(ctx, request{method: http.MethodGet, endpoint: "/pods/%s/json", names: []string{name}}, &i)
	switch {
	case refused(err, http.StatusNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("inspecting pod %s: %w", name, err)
	}
	return &i, nil
}

// play makes the pod of kube without starting it, which touches nothing else. An error can leave half a pod behind.
func (p *Podman) play(ctx context.Context, kube json.RawMessage) error {
	var report struct {
		Pods []struct{ ContainerErrors []string }
	}
	_, err := p.ask(ctx, request{method: http.MethodPost, endpoint: "/play/kube", query: url.Values{"start": {"false"}},
		body: kube, timeout: longPlay}, &report)
	if err != nil {
		return err
	}
	if len(report.Pods) != 1 {
		return fmt.Errorf("podman made %d pods of one", len(report.Pods))
	}
	if errs := report.Pods[0].ContainerErrors; len(errs) > 0 { // although the status is 200
		return errors.New(clip(strings.Join(errs, "; ")))
	}
	return nil
}

// podVerb starts, stops or kills a pod. Its answer is 200 or 409 with an error for each container; 304 if nothing was done.
func (p *Podman) podVerb(ctx context.Context, name, verb string, timeout time.Duration) (did bool, err error) {
	var report struct{ Errs []string }
	did, err = p.ask(ctx, request{method: http.MethodPost, endpoint: "/pods/%s/" + verb, names: []string{name}, timeout: timeout}, &report)
	if err == nil {
		errs := conflict{Errs: report.Errs}
		if says := errs.Error(); says != "" {
			return did, errors.New(clip(says))
		}
	}
	return did, err
}

// startPod starts a pod, also after a killed service left things behind. A pod of which only half is left is made again by remake,
// if that isn't nil.
func (p *Podman) startPod(ctx context.Context, name string, remake func() error) error {
	p.prober.come(name)
	start := func() error {
		p.starts.RLock()
		defer p.starts.RUnlock()
		_, err := p.podVerb(ctx, name, "start", longStart)
		return err
	}
	err := start()
	if err == nil {
		return nil
	}
	if !p.mend(ctx, err) {
		return p.initFailed(ctx, name, err)
	}
	if remake != nil && p.halfStarted(ctx, name) {
		if err := remake(); err != nil {
			return err
		}
	}
	return start()
}

// killPod ends all of a pod at once; one that doesn't run is none the worse.
func (p *Podman) killPod(ctx context.Context, name string) error {
	p.prober.leave(name)
	_, err := p.podVerb(ctx, name, "kill", quick)
	if refused(err, http.StatusConflict) && strings.Contains(err.Error(), "no running containers") {
		return nil
	}
	return err
}

// removePod kills and removes a pod. One that isn't there is removed.
func (p *Podman) removePod(ctx context.Context, name string) error {
	var err error
	for range 2 { // of a pod that was half started one try removes the half
		_, err = p.ask(ctx, request{method: http.MethodDelete, endpoint: "/pods/%s", names: []string{name},
			query: url.Values{"force": {"true"}, "timeout": {"0"}}, timeout: longPlay}, nil)
		if err == nil || refused(err, http.StatusNotFound) {
			return nil
		}
	}
	return err
}

// A volume is a named volume.
type volume struct {
	Name   string
	Labels map[string]string
}

// ensureVolume makes a volume with these labels; one that is there already is left as it is.
func (p *Podman) ensureVolume(ctx context.Context, v volume) error {
	_, err := p.ask(ctx, request{method: http.MethodPost, endpoint: "/volumes/create",
		body: map[string]any{"Name": v.Name, "Labels": v.Labels, "IgnoreIfExists": true}}, nil)
	if err != nil {
		return fmt.Errorf("making volume %s: %w", v.Name, err)
	}
	return nil
}

func (p *Podman) listVolumes(ctx context.Context) ([]volume, error) {
	var all []volume
	_, err := p.ask(ctx, request{method: http.MethodGet, endpoint: "/volumes/json", query: ownFilter()}, &all)
	if err != nil {
		return nil, fmt.Errorf("listing volumes: %w", err)
	}
	return slices.DeleteFunc(all, func(v volume) bool { return v.Labels[labelOwner] != owner }), nil
}

func (p *Podman) removeVolume(ctx context.Context, name string) error {
	_, err := p.ask(ctx, request{method: http.MethodDelete, endpoint: "/volumes/%s", names: []string{name}}, nil)
	if err != nil && !refused(err, http.StatusNotFound) {
		return fmt.Errorf("removing volume %s: %w", name, err)
	}
	return nil
}

// listSecrets returns the labels of all secrets, by name.
func (p *Podman) listSecrets(ctx context.Context) (map[string]map[string]string, error) {
	var all []struct {
		Spec struct {
			Name   string
			Labels map[string]string
		}
	}
	if _, err := p.ask(ctx, request{method: http.MethodGet, endpoint: "/secrets/json"}, &all); err != nil {
		return nil, fmt.Errorf("listing secrets: %w", err)
	}
	labels := map[string]map[string]string{}
	for _, s := range all {
		labels[s.Spec.Name] = s.Spec.Labels
	}
	return labels, nil
}

func (p *Podman) createSecret(ctx context.Context, name string, doc map[string]any) error {
	labels, err := json.Marshal(map[string]string{labelOwner: owner})
	if err != nil {
		return fmt.Errorf("labelling secret %s: %w", name, err)
	}
	_, err = p.ask(ctx, request{method: http.MethodPost, endpoint: "/secrets/create",
		query: url.Values{"name": {name}, "labels": {string(labels)}}, body: doc}, nil)
	if err != nil {
		return fmt.Errorf("making secret %s: %w", name, err)
	}
	return nil
}

func (p *Podman) removeSecret(ctx context.Context, name string) error {
	_, err := p.ask(ctx, request{method: http.MethodDelete, endpoint: "/secrets/%s", names: []string{name}}, nil)
	if err != nil && !refused(err, http.StatusNotFound) {
		return fmt.Errorf("removing secret %s: %w", name, err)
	}
	return nil
}

// A localImage is one on this machine.
type localImage struct {
	ID       string `json:"Id"`
	Digest   string
	RepoTags []string
}

// inspectImage returns an image without ID if there is none of that name.
func (p *Podman) inspectImage(ctx context.Context, name string) (localImage, error) {
	var i localImage
	_, err := p.ask(ctx, request{method: http.MethodGet, endpoint: "/images/%s/json", names: []string{name}}, &i)
	switch {
	case refused(err, http.StatusNotFound):
		return localImage{}, nil
	case err != nil:
		return localImage{}, fmt.Errorf("inspecting image %s: %w", name, err)
	}
	return i, nil
}

// removeImage removes a name from an image, and the image with its last name. An image that a container uses is kept. A missing
// image is no error.
func (p *Podman) removeImage(ctx context.Context, name string) (gone bool, err error) {
	_, err = p.ask(ctx, request{method: http.MethodDelete, endpoint: "/images/%s", names: []string{name}}, nil)
	switch {
	case refused(err, http.StatusConflict):
		return false, nil
	case err != nil && !refused(err, http.StatusNotFound):
		return false, fmt.Errorf("removing image %s: %w", name, err)
	}
	return true, nil
}

// A pullError is what the registry, or the way to it, said.
type pullError string

func (e pullError) Error() string { return string(e) }

// pull brings an image to this machine and returns its id. auth are the credentials for its registry, or nil.
func (p *Podman) pull(ctx context.Context, name string, auth http.Header) (string, error) {
	var report struct{ ID, Error string }
	_, err := p.ask(ctx, request{method: http.MethodPost, endpoint: "/images/pull", header: auth,
		query: url.Values{"reference": {name}, "quiet": {"true"}, "retry": {"0"}}, timeout: longPull}, &report)
	switch {
	case err != nil:
		return "", err
	case report.Error != "": // although the status is 200
		return "", pullError(clip(report.Error))
	case report.ID == "":
		return "", fmt.Errorf("podman names no image after the pull")
	}
	return report.ID, nil
}
