package guix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.org/collie/agent/limits"
	"example.org/collie/agent/waits"
	"example.org/collie/shepherd"
)

// A User is somebody on this machine. Root reads and writes nothing below a user's home or run-time directory, as both
// hold links that the user can swap: a child of root does, as that user.
type User struct {
	Name     string
	UID, GID uint32
	Groups   []uint32
	Home     string
	Runtime  string // XDG_RUNTIME_DIR
}

// A MissingUserError says that the machine has no such user, yet: the system makes users.
type MissingUserError struct{ Name string }

func (e *MissingUserError) Error() string {
	return fmt.Sprintf("there is no user %q on this machine: add a user-account of that name to system.scm", e.Name)
}

// Find looks up a user by name.
func Find(name string) (User, error) {
	found, err := user.Lookup(name)
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
		return User{}, &MissingUserError{name}
	}
	if err != nil {
		return User{}, fmt.Errorf("looking up the user %s: %w", name, err)
	}
	groups, err := found.GroupIds()
	if err != nil {
		return User{}, fmt.Errorf("looking up the groups of %s: %w", name, err)
	}
	u := User{Name: name, Home: found.HomeDir}
	for i, id := range append([]string{found.Uid, found.Gid}, groups...) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return User{}, fmt.Errorf("looking up the user %s: %w", name, err)
		}
		switch i {
		case 0:
			u.UID = uint32(n)
		case 1:
			u.GID = uint32(n)
		default:
			u.Groups = append(u.Groups, uint32(n))
		}
	}
	u.Runtime = fmt.Sprintf("/run/user/%d", u.UID) // where Guix, too, looks without a session
	return u, nil
}

func (u *User) socket() string { return u.Runtime + "/shepherd/socket" }

// makeRuntime makes the run-time directory, as a login would: there may be none, and without it no Shepherd. Only root
// can write the folder that it is in.
func (u *User) makeRuntime() error {
	err := os.Mkdir(u.Runtime, 0o700)
	if errors.Is(err, fs.ErrNotExist) { // nobody has logged in yet
		err = errors.Join(os.MkdirAll(filepath.Dir(u.Runtime), 0o755), os.Mkdir(u.Runtime, 0o700))
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Lchown(u.Runtime, int(u.UID), int(u.GID))
	}
	if err != nil {
		return fmt.Errorf("making the run-time directory of %s: %w", u.Name, err)
	}
	return nil
}

// credential is what makes a child run as u; nothing is needed if the agent is u.
func (u *User) credential() *syscall.Credential {
	if u == nil || int(u.UID) == os.Geteuid() {
		return nil
	}
	return &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
}

// command is for `collie as-user VERB…`, run as u: helper is the beginning of its command line.
func (u *User) command(ctx context.Context, helper []string, args ...string) *exec.Cmd {
	argv := slices.Concat(helper, args)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = environment(u), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: u.credential()}
	cmd.WaitDelay = time.Second
	return cmd
}

// ask runs a verb of AsUser as u, and reads its answer, of which nothing is to be believed.
func (u *User) ask(ctx context.Context, helper []string, answer any, args ...string) error {
	return u.askWithin(ctx, 20*time.Second, helper, answer, args...)
}

func (u *User) askWithin(ctx context.Context, limit time.Duration, helper []string, answer any, args ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer cancel()
	var out, fault bounded
	cmd := u.command(ctx, helper, args...)
	cmd.Stdout, cmd.Stderr = &out, &fault
	answered := waits.For(ctx, "a child that runs as "+u.Name+", for "+args[0])
	err := limits.Run(cmd)
	answered()
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%s as the user %s: %w", args[0], u.Name, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s as the user %s: %w: %s", args[0], u.Name, err, shorten(strings.TrimSpace(fault.String())))
	}
	if err := json.Unmarshal(out.Bytes(), answer); err != nil {
		return fmt.Errorf("%s as the user %s: the answer can't be read: %w", args[0], u.Name, err)
	}
	return nil
}

// Do has a child do something as u that has no answer.
func (u *User) Do(ctx context.Context, helper []string, args ...string) error {
	return u.ask(ctx, helper, new(struct{}), args...)
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	const most = 64 << 10
	b.Buffer.Write(p[:min(len(p), max(0, most-b.Len()))])
	return len(p), nil
}

// DialAs connects to a Unix socket of the user's through a child that runs as the user: root, connecting by itself,
// could be led to any socket. helper is the command line of AsUser without its verb.
func DialAs(u User, helper []string, socket string) func(context.Context) (io.ReadWriteCloser, error) {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("connecting to %s as %s: %w", socket, u.Name, err)
		}
		ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
		defer ours.Close()
		defer theirs.Close()
		conn, err := net.FileConn(ours)
		if err != nil {
			return nil, fmt.Errorf("connecting to %s as %s: %w", socket, u.Name, err)
		}
		child := u.command(context.WithoutCancel(ctx), helper, "connect", socket)
		c := &childConn{Conn: conn, child: child}
		child.Stdin, child.Stdout, child.Stderr = theirs, theirs, &c.fault
		if err := limits.Start(child); err != nil {
			conn.Close()
			return nil, fmt.Errorf("connecting to %s as %s: %w", socket, u.Name, err)
		}
		theirs.Close()
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // wakes the read
		hello := make([]byte, 1)                                                         // the child's word that it is connected
		_, err = io.ReadFull(conn, hello)
		if !stop() {
			err = context.Cause(ctx)
		}
		if err != nil {
			c.Close()
			if says := strings.TrimSpace(c.fault.String()); says != "" {
				err = errors.New(shorten(says))
			}
			return nil, fmt.Errorf("connecting to %s as %s: %w", socket, u.Name, err)
		}
		return c, nil
	}
}

// A childConn is a connection that ends with the child that made it.
type childConn struct {
	net.Conn
	child *exec.Cmd
	fault bounded
}

func (c *childConn) Close() error {
	err := c.Conn.Close()
	_ = c.child.Process.Kill()
	_ = c.child.Wait() // killed, most often
	return err
}

// AsUser is what `collie as-user VERB…` does: it is started by a root agent with a user's rights, for what root mustn't
// do itself in places that the user can change.
func AsUser(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "connect":
		return connect(ctx, args[1], in, out)
	case len(args) == 3 && args[0] == "look":
		return json.NewEncoder(out).Encode(look(ctx, args[1], args[2]))
	case len(args) == 3 && args[0] == "tidy":
		if err := tidy(ctx, args[1], args[2]); err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(struct{}{})
	case len(args) == 2 && args[0] == "end":
		var left []family
		err := json.Unmarshal([]byte(args[1]), &left)
		if err == nil {
			err = endFamilies(ctx, left)
		}
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(struct{}{})
	case len(args) == 2 && args[0] == "tail":
		return json.NewEncoder(out).Encode(tail(args[1]))
	case len(args) == 3 && args[0] == "generation":
		number, err := ownProfile(args[1]).add(args[2])
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(number)
	case len(args) == 3 && args[0] == "point":
		number, err := strconv.Atoi(args[2])
		if err == nil {
			err = ownProfile(args[1]).point(number)
		}
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(struct{}{})
	case len(args) == 2 && args[0] == "backups":
		return reply(out)(listBackups(args[1]))
	case len(args) == 3 && args[0] == "backup":
		return reply(out)(inBackup(args[1], args[2]))
	case len(args) == 4 && args[0] == "put-back":
		return reply(out)(putBack(args[1], args[2], args[3]))
	case len(args) >= 4 && args[0] == "forget":
		if err := dropGenerationsAs(args[1], args[2], args[3], args[4:]); err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(struct{}{})
	}
	return fmt.Errorf("as-user is for the agent alone; it knows `connect SOCKET`, `look HOME SOCKET`, `tidy HOME SOCKET`, `end FAMILIES`, `tail LOG`, `generation DIRECTORY ITEM`, `point DIRECTORY NUMBER`, `forget HOME TREES DIRECTORY NUMBER…`, `backups HOME`, `backup HOME FOLDER`, `put-back HOME FOLDER none|links`, not %q", args)
}

func reply(out io.Writer) func(any, error) error {
	return func(v any, err error) error {
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(v)
	}
}

// connect joins in and out with the socket. It says one byte once it is connected, and ends with the peer's last word.
func connect(ctx context.Context, socket string, in io.Reader, out io.Writer) error {
	conn, err := shepherd.Connect(ctx, socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := out.Write([]byte{'+'}); err != nil {
		return err
	}
	go func() { // ends with the process: reading stdin can't be interrupted
		_, _ = io.Copy(conn, in)
		_ = conn.(*net.UnixConn).CloseWrite()
	}()
	_, err = io.Copy(out, conn)
	return err
}

// A homeLook is how a home looks to its user.
type homeLook struct {
	Home     string // what ~/.guix-home names
	Shepherd bool   // answers at its socket
	Stale    bool   // the socket is there, and nobody behind it
	Gone     bool   // there is no socket
}

func look(ctx context.Context, home, socket string) homeLook {
	var l homeLook
	l.Home, _ = os.Readlink(filepath.Join(home, ".guix-home"))
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err == nil {
		conn.Close()
	}
	l.Shepherd = err == nil || errors.Is(err, syscall.EAGAIN) // it has no time, see shepherd.Connect
	l.Stale, l.Gone = errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist)
	return l
}

// tidy removes what would make Guix fail, or skip a step in silence: the socket of a Shepherd that died (Guix starts
// none if the file is there), and the link that a killed activation left.
func tidy(ctx context.Context, home, socket string) error {
	if look(ctx, home, socket).Stale {
		if err := os.Remove(socket); err != nil {
			return fmt.Errorf("removing the socket of a Shepherd that died: %w", err)
		}
	}
	err := os.Remove(filepath.Join(home, ".guix-home.new"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing what a killed guix left: %w", err)
	}
	return nil
}
