package main

import (
	_ "github.com/containers/podman/v5/pkg/bindings"
	_ "github.com/coreos/go-systemd/v22/activation"
	_ "github.com/fsnotify/fsnotify"
	_ "github.com/go-git/go-git/v5"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/spf13/cobra"
	_ "golang.org/x/sys/unix"
	_ "gopkg.in/yaml.v3"
)
