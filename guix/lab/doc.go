// Package lab is the lab (README.md), and the tests that run in it: each script in testdata is a user's story on a
// guest of its own. `make test` runs them, and `COLLIE_LAB=1 go test ./guix/lab -run /deploy` one of them.
package lab
