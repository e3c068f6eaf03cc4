package main

import (
	"fmt"
	"strings"
)

// wayPicture is docs/way.svg: the way of a commit. Its colours follow the reader's light or dark scheme.
func wayPicture() string {
	const width, height = 880, 236
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	box := func(class string, x, y, w int, title, text string) {
		p(`<rect class="%s" x="%d" y="%d" width="%d" height="56" rx="8"/>`, class, x, y, w)
		p(`<text class="title" x="%d" y="%d">%s</text>`, x+w/2, y+24, title)
		p(`<text x="%d" y="%d">%s</text>`, x+w/2, y+43, text)
	}
	arrow := func(text string, textX, textY int, path string) {
		p(`<path class="arrow" marker-end="url(#head)" d="%s"/>`, path)
		if text != "" {
			p(`<text x="%d" y="%d">%s</text>`, textX, textY, text)
		}
	}

	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="title">`, width, height)
	p(`<title id="title">A commit is prepared, switched to and watched. It becomes good, or everything rolls back.</title>`)
	p(`<style>`)
	p(`text { font: 13px system-ui, sans-serif; fill: #57606a; text-anchor: middle }`)
	p(`.title { font-weight: 600; font-size: 15px; fill: #1f2328 }`)
	p(`rect { fill: #f6f8fa; stroke: #8c959f; stroke-width: 1.5 }`)
	p(`.good { fill: #dafbe1; stroke: #1a7f37 }`)
	p(`.bad { fill: #ffebe9; stroke: #cf222e }`)
	p(`.arrow { fill: none; stroke: #57606a; stroke-width: 1.5 }`)
	p(`#head path { fill: #57606a }`)
	p(`@media (prefers-color-scheme: dark) {`)
	p(`text { fill: #9198a1 } .title { fill: #f0f6fc } rect { fill: #151b23; stroke: #656c76 }`)
	p(`.good { fill: #12261e; stroke: #3fb950 } .bad { fill: #25171c; stroke: #f85149 }`)
	p(`.arrow { stroke: #9198a1 } #head path { fill: #9198a1 }`)
	p(`}`)
	p(`</style>`)
	p(`<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>`)

	box("", 10, 30, 110, "git push", "one commit")
	box("", 180, 30, 150, "prepare", "build, pull, plan")
	box("", 390, 30, 190, "switch", "system, homes, pods")
	box("", 640, 30, 100, "soak", "is all well?")
	box("good", 790, 30, 80, "good", "kept")
	arrow("", 0, 0, "M120 58H178")
	arrow("", 0, 0, "M330 58H388")
	arrow("", 0, 0, "M580 58H638")
	arrow("yes", 764, 50, "M740 58H788")

	box("bad", 180, 160, 150, "rejected", "nothing was touched")
	box("bad", 480, 160, 190, "roll back", "to the last good commit")
	arrow("a mistake", 292, 128, "M255 86V158")
	arrow("a failure", 478, 128, "M485 86 550 158")
	arrow("a problem", 702, 128, "M690 86 610 158")
	p(`</svg>`)
	return b.String()
}
