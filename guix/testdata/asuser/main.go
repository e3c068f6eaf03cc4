// Command asuser is the helper of a home, as `collie as-user`, for the tests of package guix.
package main

import (
	"context"
	"fmt"
	"os"

	"example.org/collie/guix"
)

func main() {
	if err := guix.AsUser(context.Background(), os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
