package podman

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"

	"example.org/collie/agent/foreign"
)

// A login is what a registry asks for. It is never shown.
type login struct{ user, password, token string }

func (login) String() string   { return "[redacted]" }
func (login) GoString() string { return "[redacted]" }

const maxAuthFile = 1 << 20

// credentials are the header that gives Podman what file has for the registry of an image, and no more: the service that gets
// it belongs to the pod user. There is none for a registry that isn't in the file.
func credentials(file, image string) (http.Header, error) {
	logins, err := readLogins(file)
	if err != nil {
		return nil, fmt.Errorf("credentials for registries: %w", err)
	}
	for _, key := range registryKeys(image) {
		l, ok := logins[key]
		if !ok {
			continue
		}
		raw, err := json.Marshal(map[string]string{"username": l.user, "password": l.password, "identitytoken": l.token})
		if err != nil {
			return nil, fmt.Errorf("credentials for %s: %w", key, err)
		}
		return http.Header{"X-Registry-Auth": {base64.URLEncoding.EncodeToString(raw)}}, nil
	}
	return nil, nil
}

// registryKeys are the keys of containers-auth.json(5) that are for an image, the closest first: host/space/name, host/space,
// host. A name without a registry is Docker Hub's.
func registryKeys(image string) []string {
	name, _, _ := strings.Cut(image, "@")
	name = untagged(name)
	host, _, has := strings.Cut(name, "/")
	if !has || !strings.ContainsAny(host, ".:") && host != "localhost" {
		name = "docker.io/" + name
	}
	var keys []string
	for name != "" {
		keys = append(keys, name)
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			break
		}
		name = name[:i]
	}
	if keys[len(keys)-1] == "docker.io" {
		keys = append(keys, "index.docker.io", "index.docker.io/v1")
	}
	return keys
}

// readLogins reads what `podman login' writes. Only its owner may read the file.
func readLogins(file string) (map[string]login, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0) // it may be a FIFO
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", file)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others than its owner: chmod 600 %s", file, file)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxAuthFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxAuthFile {
		return nil, fmt.Errorf("%s is larger than 1 MiB", file)
	}
	logins, err := parseLogins(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return logins, nil
}

// parseLogins says nothing of what it read in its errors.
func parseLogins(text []byte) (map[string]login, error) {
	var all struct {
		Auths map[string]struct{ Auth, Username, Password, IdentityToken string }
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, errors.New("this is not the JSON that `podman login' writes")
	}
	logins := map[string]login{}
	for key, entry := range all.Auths {
		l := login{entry.Username, entry.Password, entry.IdentityToken}
		if entry.Auth != "" {
			raw, err := base64.StdEncoding.DecodeString(entry.Auth)
			user, password, ok := strings.Cut(strings.TrimRight(string(raw), "\x00"), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("auths[%s].auth is not the base64 of USER:PASSWORD", foreign.Cut(key, 60))
			}
			l.user, l.password = user, password
		}
		key = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://"), "/")
		logins[key] = l
	}
	return logins, nil
}
