package guix

import "testing"

func (g *guest) wantsOwn(what, item, does string) {
	g.t.Helper()
	g.clock++
	own, err := g.note(g.t.Context(), item)
	if err != nil {
		g.t.Fatal(err)
	}
	if own.Does != does {
		g.t.Errorf("%s: %q is due for the agent, want %q", what, own.Does, does)
	}
}

// The agent that exits to get its new definition must not do so for ever.
func TestTheAgentExitsOnce(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one collie")
	g.system("B", "two collie")
	g.boots("A")
	g.wantsOwn("at first", "A", "")
	g.goes("B")
	g.wants("after the switch", g.differs("B"), "replace collie")
	g.wantsOwn("after the switch", "B", OwnExit)
	g.clock++
	stopStart(g, "collie")
	g.wants("in its next life", g.differs("B"))
	g.wantsOwn("in its next life", "B", "")
	g.returns("A")
	g.wants("after the return", g.differs("A"), "replace collie")
	g.wantsOwn("after the return", "A", OwnExit)
	g.clock++
	stopStart(g, "collie")
	g.wants("in its next life", g.differs("A"))
	g.wantsOwn("in its next life", "A", "")
	if s := g.find("collie"); s.body() != "one" {
		t.Errorf("it runs %s", s.body())
	}
}

// Somebody else's reconfigure replaces it as well: of what is live, not of what is wanted, and also if Collie has switched
// nothing yet. If that can't be loaded, Shepherd would start the old definition, again and again.
func TestTheAgentFollowsWhoeverReconfigures(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one collie")
	g.system("B", "two collie")
	g.boots("A")
	g.wantsOwn("before any revision", "", "")
	g.load("B")
	g.wantsOwn("after it", "A", OwnExit)
	g.wantsOwn("after it, before any revision", "", OwnExit)
	g.clock++
	stopStart(g, "collie")
	g.wantsOwn("in its next life, though another is wanted", "A", "")
	g.system("C", "six collie !broken")
	g.load("C")
	g.wantsOwn("what can't be loaded", "A", "")
}

func TestTheAgentLeavesOnlyIfThatIsWanted(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one collie", "one db", "one podman-pods", "one podman-api")
	g.system("B", "one db")
	g.boots("A")
	g.wants("the plan", g.differs("B"), "stop podman-api", "next boot podman-pods", "leave collie")
	g.wants("the switch", g.returns("B"), "stop podman-api one", "unload podman-api") // guix, which would stop the agent, loads nothing
	g.wants("what is left", g.differs("B"), "next boot podman-pods", "leave collie")
	g.wantsOwn("then", "B", Leaves)
	g.wantsOwn("if another system is wanted", "A", "")
	g.expects("A")
	g.wantsOwn("while a switch is open", "B", "")
}

// Guix lets run what left a home; if Collie never saw it start, an older generation of the home tells that it is of a home.
func TestWhatLeftAHomeUnseenStops(t *testing.T) {
	g := newGuest(t)
	g.whole = false
	g.former = func() []ServiceFile { return append(g.systems["B"], g.systems["A"]...) }
	g.system("A", "one bell", "one stray")
	g.system("B", "one bell")
	g.boots("A")
	g.takes(define{provides: []string{"own"}})
	g.starts(g.find("own"))
	g.current = "B" // by hand, before Collie looked
	g.wants("the plan", g.differs("B"), "stop stray")
	g.log = nil
	g.wants("the switch", g.returns("B"), "stop stray one", "unload stray")
	g.former = nil
	g.takes(define{provides: []string{"other"}})
	g.starts(g.find("other"))
	g.wants("the user's own", g.differs("B"))
}
