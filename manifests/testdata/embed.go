// Package testdata has the files of tests that other packages read, too: in the lab they run without the source.
package testdata

import "embed"

// Good are revisions without a mistake, each in a folder.
//
//go:embed good
var Good embed.FS
