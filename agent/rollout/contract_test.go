package rollout_test

import (
	"testing"
	"testing/synctest"

	"example.org/collie/agent/layertest"
	"example.org/collie/agent/rollout"
)

// The fake of these tests is a layer as the real ones are.
func TestTheFakeKeepsTheContract(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, target := rollout.NewFake()
		layertest.Test(t, l, rollout.NoFiles, target("a", "1"), target("b", "2"))
	})
}
