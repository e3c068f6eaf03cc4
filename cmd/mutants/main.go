// Command mutants measures what unit tests notice. It turns conditions of `if`s to false, at random and one at a time, and
// runs the tests of their package. A condition that no test misses is printed as survived: what it decides is untested.
//
//	go run ./cmd/mutants [-n 20] [-seed 1] [-timeout 5m] [PACKAGE…]
//
// The tree isn't touched: go reads the changed file by -overlay. It fails only if it can't find out.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, ".", os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(out)
	n := flags.Int("n", 20, "how many conditions")
	seed := flags.Uint64("seed", uint64(time.Now().UnixNano()%1e6), "which: the same seed chooses the same ones of the same code")
	limit := flags.Duration("timeout", 5*time.Minute, "how long the tests of a package may take")
	if err := flags.Parse(args); err != nil {
		return err
	}
	g := gopher{dir, *limit}
	packages, err := g.list(ctx, flags.Args())
	if err != nil {
		return err
	}
	var all []condition
	for _, p := range packages {
		found, err := p.conditions()
		if err != nil {
			return err
		}
		if len(found) > 0 && !p.tested() {
			fmt.Fprintf(out, "skipped: %s has no tests, and %d conditions\n", p.ImportPath, len(found))
			continue
		}
		all = append(all, found...)
	}
	chosen := make([]condition, 0, *n)
	for _, i := range rand.New(rand.NewPCG(*seed, 0)).Perm(len(all))[:min(*n, len(all))] {
		chosen = append(chosen, all[i])
	}
	fmt.Fprintf(out, "%d of %d conditions, seed %d\n", len(chosen), len(all), *seed)
	if err := g.green(ctx, chosen, out); err != nil {
		return err
	}
	count := map[outcome]int{}
	for _, c := range chosen {
		o, err := g.without(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		fmt.Fprintf(out, "%s: %s\n", c, o)
		count[o]++
	}
	fmt.Fprintf(out, "%d caught, %d survived, %d not made (seed %d)\n", count[caught], count[survived], count[notMade], *seed)
	return nil
}
