package source

import (
	"github.com/go-git/go-git/v5/plumbing"
)

func (c *clone) compact(tip plumbing.Hash) error { return nil }
