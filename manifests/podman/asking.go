package podman

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"example.org/collie/manifests"
)

const (
	mostAnswer   = 10 << 10 // bytes that are read of what a container answers
	mostRedirect = 10
	probeAgent   = "collie-probe"
)

// errGone says that a container's network is that of another by now, or nobody's.
var errGone = errors.New("its network is gone")

// askContainer does what a probe says. It takes the probe's timeout at most.
func (p *Podman) askContainer(ctx context.Context, c life, probe *manifests.Probe) error {
	timeout := time.Duration(probe.Timeout) * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	dial := func(ctx context.Context, host string, port int) (net.Conn, error) {
		if c.onMachine {
			return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(cmp.Or(host, "127.0.0.1"), strconv.Itoa(port)))
		}
		return p.dialInside(ctx, c.infra, host, port)
	}
	var err error
	switch {
	case probe.Exec != nil:
		err = p.execProbe(ctx, c.id, probe.Exec.Command)
	case probe.HTTPGet != nil:
		err = httpProbe(ctx, probe.HTTPGet, dial)
	case probe.TCPSocket != nil:
		err = tcpProbe(ctx, probe.TCPSocket, dial)
	case probe.GRPC != nil:
		err = grpcProbe(ctx, probe.GRPC, dial)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return reason(err)
}

// reason drops what wraps the reason of a failure: a person reads it together with what was asked.
func reason(err error) error {
	if of := new(url.Error); errors.As(err, &of) {
		err = of.Err
	}
	if of := new(net.OpError); errors.As(err, &of) {
		err = of.Err
	}
	if of := new(os.SyscallError); errors.As(err, &of) {
		err = of.Err
	}
	return err
}

// A dialer connects to a port of the pod itself, or of another host in its network.
type dialer func(ctx context.Context, host string, port int) (net.Conn, error)

func tcpProbe(ctx context.Context, probe *manifests.TCPProbe, dial dialer) error {
	conn, err := dial(ctx, probe.Host, probe.Port)
	if err != nil {
		return err
	}
	return conn.Close()
}

// httpProbe asks as the kubelet does: certificates aren't checked, and a redirect to another host is an answer.
func httpProbe(ctx context.Context, probe *manifests.HTTPProbe, dial dialer) error {
	scheme := "http"
	if probe.Scheme == "HTTPS" {
		scheme = "https"
	}
	path, err := url.Parse("/" + strings.TrimPrefix(probe.Path, "/"))
	if err != nil {
		return err
	}
	target := url.URL{Scheme: scheme, Host: net.JoinHostPort(cmp.Or(probe.Host, "localhost"), strconv.Itoa(probe.Port)), Path: path.Path, RawPath: path.RawPath, RawQuery: path.RawQuery}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", probeAgent)
	request.Header.Set("Accept", "*/*")
	for _, h := range probe.Headers {
		if strings.EqualFold(h.Name, "Host") {
			request.Host = h.Value
			continue
		}
		request.Header.Add(h.Name, h.Value)
	}
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: mostAnswer,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			number, err := strconv.Atoi(port)
			if err != nil {
				return nil, err
			}
			return dial(ctx, probe.Host, number)
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(next *http.Request, before []*http.Request) error {
		switch {
		case next.URL.Hostname() != before[0].URL.Hostname():
			return http.ErrUseLastResponse
		case len(before) >= mostRedirect:
			return fmt.Errorf("more than %d redirects", mostRedirect)
		}
		return nil
	}}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, mostAnswer)
	if answer.StatusCode < 200 || answer.StatusCode >= 400 {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}

// grpcProbe asks grpc.health.v1.Health/Check. That is one frame each way, too little for a library.
func grpcProbe(ctx context.Context, probe *manifests.GRPCProbe, dial dialer) error {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols, MaxResponseHeaderBytes: mostAnswer, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dial(ctx, "", probe.Port)
	}}
	defer transport.CloseIdleConnections()
	target := url.URL{Scheme: "http", Host: net.JoinHostPort("localhost", strconv.Itoa(probe.Port)), Path: "/grpc.health.v1.Health/Check"}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(healthRequest(probe.Service)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("TE", "trailers")
	request.Header.Set("User-Agent", probeAgent)
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, mostAnswer))
	if err != nil {
		return err
	}
	status, says := answer.Trailer.Get("Grpc-Status"), answer.Trailer.Get("Grpc-Message")
	if status == "" { // an answer without a body has no trailer but headers
		status, says = answer.Header.Get("Grpc-Status"), answer.Header.Get("Grpc-Message")
	}
	if status != "0" {
		return fmt.Errorf("gRPC status %s %s", clip(status), clip(says))
	}
	return healthAnswer(body)
}

// healthRequest is a frame with a HealthCheckRequest: field 1 is the service.
func healthRequest(service string) []byte {
	var message []byte
	if service != "" {
		message = append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(service))), service...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// healthStates are those of a HealthCheckResponse.
var healthStates = []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

// healthAnswer reads a frame with a HealthCheckResponse: field 1 is the state. Other fields may come with newer versions.
func healthAnswer(frame []byte) error {
	const head = 5 // whether it is compressed, and its length
	if len(frame) < head || frame[0] != 0 || int(binary.BigEndian.Uint32(frame[1:])) != len(frame)-head {
		return errors.New("the answer is no gRPC message")
	}
	state := uint64(0)
	for rest := frame[head:]; len(rest) > 0; {
		key, n := binary.Uvarint(rest)
		if n <= 0 {
			return errors.New("the answer can't be read")
		}
		rest = rest[n:]
		size := 0
		switch key & 7 {
		case 0:
			value, n := binary.Uvarint(rest)
			if n <= 0 {
				return errors.New("the answer can't be read")
			}
			if key>>3 == 1 {
				state = value
			}
			size = n
		case 1:
			size = 8
		case 2:
			length, n := binary.Uvarint(rest)
			if n <= 0 || length > uint64(len(rest)) {
				return errors.New("the answer can't be read")
			}
			size = n + int(length)
		case 5:
			size = 4
		default:
			return errors.New("the answer can't be read")
		}
		if size > len(rest) {
			return errors.New("the answer can't be read")
		}
		rest = rest[size:]
	}
	switch {
	case state == 1:
		return nil
	case state < uint64(len(healthStates)):
		return errors.New(healthStates[state])
	}
	return fmt.Errorf("state %d", state)
}

// dialInside connects from within the network of a pod, of which pid holds it: to the pod's own address, as others in that
// network would, or to host. The number comes from Podman, which the pod user can make say anything: a network that isn't
// that user's isn't entered.
func (p *Podman) dialInside(ctx context.Context, pid int, host string, port int) (net.Conn, error) {
	if pid <= 0 {
		return nil, fmt.Errorf("Podman says that process %d holds the pod's network", pid)
	}
	if p.Account == nil {
		return nil, errors.New("whose network it is isn't known")
	}
	account, err := p.Account()
	if err != nil {
		return nil, err
	}
	space, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, errGone
	}
	defer space.Close()
	if uid, err := ownerOf(space); err != nil || uid != account.UID {
		return nil, errGone
	}
	type dialed struct {
		net.Conn
		error
	}
	done := make(chan dialed, 1)
	dial := func() {
		conn, err := dialIn(ctx, space, host, port)
		done <- dialed{conn, err}
	}
	go inThread(dial)
	d := <-done
	return d.Conn, d.error
}

// inThread calls do in a thread that ends with it, whatever do makes of the thread. The first one of a process can't end:
// it is left alone.
func inThread(do func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		do()
		return // and so ends the thread
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		inThread(do)
	}()
	<-done
	runtime.UnlockOSThread()
}

func dialIn(ctx context.Context, space *os.File, host string, port int) (net.Conn, error) {
	if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, errGone
	}
	if host == "" {
		host = ownAddress()
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return nil, fmt.Errorf("%q is not an IP address", host)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
}

// ownAddress is that of the network that the calling thread is in.
func ownAddress() string {
	all, _ := net.InterfaceAddrs()
	own := "127.0.0.1"
	for _, a := range all {
		of, ok := a.(*net.IPNet)
		switch {
		case !ok || !of.IP.IsGlobalUnicast():
		case of.IP.To4() != nil:
			return of.IP.String()
		case own == "127.0.0.1":
			own = of.IP.String()
		}
	}
	return own
}

// ownerOf is the user whose name space this one belongs to (ioctl_ns(2)).
func ownerOf(space *os.File) (uid int, err error) {
	const getUserNS, getOwnerUID = 0xb701, 0xb704
	fd, err := unix.IoctlRetInt(int(space.Fd()), getUserNS)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	owner, err := unix.IoctlGetUint32(fd, getOwnerUID)
	return int(owner), err
}

// endContainer ends a container that failed, with its signal and its grace, so that Podman starts it again as its restart
// policy says: if Podman were asked to end it, it wouldn't. The number of its process comes from Podman: one that doesn't
// belong to the pod user isn't touched.
func (p *Podman) endContainer(ctx context.Context, c life, grace time.Duration) error {
	if p.Account == nil {
		return errors.New("whose process it is isn't known")
	}
	account, err := p.Account()
	if err != nil {
		return err
	}
	held, err := os.FindProcess(c.pid) // by a pidfd: from here on the number is no matter
	if err != nil {
		return nil // it has ended
	}
	defer held.Release()
	space, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", c.pid))
	if err != nil {
		return nil
	}
	defer space.Close()
	if uid, err := ownerOf(space); err != nil || uid != account.UID {
		return fmt.Errorf("process %d isn't one of %d's containers", c.pid, account.UID)
	}
	signal := unix.SIGTERM
	if state, err := p.inspectContainer(ctx, c.id); err == nil && state.signal != 0 {
		signal = state.signal
	}
	if err := held.Signal(signal); err != nil {
		return nil
	}
	const look = 50 * time.Millisecond
	for waited := time.Duration(0); waited < grace; waited += look {
		if held.Signal(unix.Signal(0)) != nil || zombie(c.pid) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
	}
	_ = held.Kill() // it has ended meanwhile, or ends now
	return nil
}
