package podman

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
)

// ranks tells which pods are switched with each other: those of rank 0 first.
func ranks(pods []RenderedPod) map[string]int {
	byName := map[string]RenderedPod{}
	for _, pod := range pods {
		byName[pod.Name] = pod
	}
	depths := map[string]int{}
	var depth func(pod RenderedPod, on int) int
	depth = func(pod RenderedPod, on int) int {
		if d, known := depths[pod.Name]; known {
			return d
		}
		d := 0
		for _, name := range pod.Options.DependsOn {
			if other, ok := byName[name]; ok && other.Options.Wave == pod.Options.Wave && on < len(pods) {
				d = max(d, depth(other, on+1)+1)
			}
		}
		depths[pod.Name] = d
		return d
	}
	type level struct{ wave, depth int }
	levels := map[level][]string{}
	for _, pod := range pods {
		l := level{pod.Options.Wave, depth(pod, 0)}
		levels[l] = append(levels[l], pod.Name)
	}
	order := slices.SortedFunc(maps.Keys(levels), func(a, b level) int { return cmp.Or(cmp.Compare(a.wave, b.wave), cmp.Compare(a.depth, b.depth)) })
	all := map[string]int{}
	for rank, l := range order {
		for _, name := range levels[l] {
			all[name] = rank
		}
	}
	return all
}

// byRank groups steps, those that come first in front.
func byRank(steps []step) [][]step {
	groups := map[int][]step{}
	for _, s := range steps {
		groups[s.rank] = append(groups[s.rank], s)
	}
	var all [][]step
	for _, rank := range slices.Sorted(maps.Keys(groups)) {
		all = append(all, groups[rank])
	}
	return all
}

// byWave groups pods that leave, the highest wave in front.
func byWave(leaving []*livePod) [][]*livePod {
	groups := map[int][]*livePod{}
	for _, l := range leaving {
		wave, _ := strconv.Atoi(l.labels[labelWave]) // 0 where someone else wrote the label
		groups[wave] = append(groups[wave], l)
	}
	var all [][]*livePod
	for _, wave := range slices.Backward(slices.Sorted(maps.Keys(groups))) {
		all = append(all, groups[wave])
	}
	return all
}
