package guix

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// furnish writes what a plan reads of a system, as guix 1.5.0 does.
func (m *machine) furnish(item, kernel, packages, users, programs string) {
	m.t.Helper()
	dir := strings.TrimPrefix(item, m.root+"/")
	hash := filepath.Base(item)[:32]
	m.write(dir+"/parameters", `(boot-parameters (version 1) (label "GNU") (root-device (uuid ext4 #vu8(1 2))) (kernel "/gnu/store/`+hash+`-linux-libre-`+kernel+`/bzImage") (kernel-arguments ("quiet" "a=`+kernel+`")) (initrd "x"))`)
	m.link("/gnu/store/"+hash+"-profile", dir+"/kernel")
	m.link("/gnu/store/"+strings.Repeat("0", 32)+"-initrd", dir+"/initrd")
	m.write(dir+"/profile/manifest", ";; a comment\n(manifest (version 4) (packages ("+packages+")))")
	script := "gnu/store/" + hash + "-activate-service.scm"
	m.write(script, `#!/gnu/store/guile --no-auto-compile
!#
(eval-when (expand load eval) #f)(begin (use-modules (gnu build activation)) (begin
 (activate-users+groups (map sexp->user-account (list `+users+`))
   (map sexp->user-group (list (list "root" #f 0 #t) (list "users" #f #f #t) (list "wheel" #f #f #t))))))`)
	other := "gnu/store/" + hash[:31] + "z-activate-service.scm"
	m.write(other, `(begin (let ((libcap "/gnu/store/x")) (activate-privileged-programs (list `+programs+`) libcap)))`)
	m.write(dir+"/activate", `(quote ("/`+script+`" "/`+other+`"))`)
}

func entry(name, version, letter string) string {
	return fmt.Sprintf("(%q %q \"out\" \"/gnu/store/%s-%s-%s\" (propagated-inputs ((\"inner\" \"1\" \"out\" \"/x\"))) (search-paths ((\"X\" (\"^a\\\\.b$\") #f regular #f))))", name, version, strings.Repeat(letter, 32), name, version)
}

func userTuple(name, groups, shell string) string {
	return "(quasiquote (" + fmt.Sprintf("%q #f \"users\" (%s) \"A, B\" \"/home/%s\" #t (unquote (string-append %q \"/bin/sh\")) \"secret\" #f", name, groups, name, shell) + "))"
}

func setuid(name string) string {
	return `(privileged-program (setuid? #t) (setgid? #f) (user 0) (group "users") (capabilities #f) (program "/gnu/store/` + strings.Repeat("a", 32) + `-` + name + `"))`
}

func TestPlanOfASystem(t *testing.T) {
	m := newMachine(t)
	a, b := m.item("a", "system"), m.item("b", "system")
	bash := "/gnu/store/" + strings.Repeat("a", 32) + "-bash-5"
	m.furnish(a, "6.1", entry("git", "2.1", "a")+entry("ed", "1", "a")+entry("old", "1", "a"), userTuple("ann", "", bash)+userTuple("bob", "", bash), setuid("sudo-1/bin/sudo")+setuid("su-1/bin/su"))
	m.furnish(b, "6.2", entry("git", "2.2", "b")+entry("ed", "1", "b")+entry("new", "3", "b"), userTuple("ann", `"wheel"`, strings.ReplaceAll(bash, "-5", "-6"))+userTuple("eve", "", bash), setuid("sudo-2/bin/sudo"))
	s := m.system(a)
	m.write("etc/passwd", "ann:x:1000:998:Ann:/home/ann:"+bash+"/bin/sh\nbob:x:1001:998::/home/bob:"+bash+"/bin/sh\nhand:x:1002:998::/home/hand:/bin/sh\n")
	m.write("etc/group", "root:x:0:\nusers:x:998:\nwheel:x:999:hand\nmade:x:5:\n")
	details, err := s.Plan(t.Context(), b, "")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, d := range details {
		fmt.Fprintln(&got, strings.Join(strings.Fields(d.Cost+" "+d.Does+" "+d.Subject+": "+strings.Trim(d.Old+" > "+d.New, " >")+" "+d.Says), " "))
		if d.Diff != "" {
			fmt.Fprint(&got, d.Diff)
		}
	}
	want := `switch system: from aaaaaaaa to bbbbbbbb
boot next boot kernel: linux-libre-6.1 → linux-libre-6.2
boot next boot boot arguments: quiet a=6.1 → quiet a=6.2
update /etc/motd:
@@ -1,1 +1,1 @@
-a
\ No newline at end of file
+b
\ No newline at end of file
rebuild package ed: the same version, rebuilt
update package git: 2.1 > 2.2
add package new: 3
remove package old: 1
add user eve: groups users, home /home/eve, shell bash-5/bin/sh
remove group made: it isn't in the configuration
remove user bob: it isn't in the configuration; /home/bob stays
remove user hand: it isn't in the configuration; /home/hand stays
update user ann: groups none → wheel; shell bash-5/bin/sh → bash-6/bin/sh
remove program su: it loses set-uid root
update program sudo: sudo-1/bin/sudo > sudo-2/bin/sudo set-uid root
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
	if strings.Contains(got.String(), "secret") {
		t.Error("a password is shown")
	}

	// What is live has nothing to do; but the kernel that runs is still the one that was booted.
	m.link(b, "var/guix/profiles/system-2-link")
	m.link(m.path("var/guix/profiles/system-2-link"), "var/guix/profiles/system")
	m.link(m.path("var/guix/profiles/system-2-link"), "run/current-system")
	m.link(m.path("gnu/store/"+strings.Repeat("b", 32)+"-motd"), "etc/motd")
	details, err = s.Plan(t.Context(), b, "")
	if err != nil || len(details) != 2 || details[0].Says != "linux-libre-6.1 → linux-libre-6.2, since an earlier switch" || details[0].Cost != AtBoot {
		t.Errorf("a plan of what is live: %+v, %v", details, err)
	}
	if changes, err := s.Diff(t.Context(), b); err != nil || pending(changes) || len(changes) != 2 {
		t.Errorf("what is live differs: %v, %v", changes, err)
	}
}

// A file of /etc whose text stays is distinguished from one that was put there by hand.
func TestPlanOfTheSameText(t *testing.T) {
	for _, row := range []struct {
		name string
		by   func(m *machine)
		want string
	}{
		{"rebuilt", func(*machine) {}, "the same text, rebuilt"},
		{"a copy by hand", func(m *machine) {
			if err := os.Remove(m.path("etc/motd")); err != nil {
				t.Fatal(err)
			}
			m.write("etc/motd", "a")
		}, "isn't the link that the system made"},
	} {
		m := newMachine(t)
		a, b := m.item("a", "system"), m.item("b", "system")
		m.write("gnu/store/"+strings.Repeat("b", 32)+"-motd", "a")
		s := m.system(a)
		row.by(m)
		details, err := s.Plan(t.Context(), b, "")
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(details, func(d Detail) bool { return d.Subject == "/etc/motd" })
		if i < 0 || details[i].Says != row.want || details[i].Diff != "" {
			t.Errorf("%s: %+v, want %q", row.name, details, row.want)
		}
	}
}

func TestTexts(t *testing.T) {
	root := t.TempDir()
	store := root + "/gnu/store/" + strings.Repeat("a", 32) + "-"
	if err := os.MkdirAll(store+"d/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string, mode os.FileMode) string {
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	a := write(store+"a", "1\n2\n3\n", 0o444)
	many := strings.Repeat("line\n", textLines)
	link := store + "link"
	if err := os.Symlink(write(root+"/outside", "outside", 0o644), link); err != nil {
		t.Fatal(err)
	}
	write(store+"d/sub/x", "x\n", 0o444)
	tests := []struct {
		name, before, after string
		want                string // of each: what, says, and the diff
	}{
		{"the same file", a, a, ""},
		{"the same text", a, write(store+"a2", "1\n2\n3\n", 0o444), ""},
		{"a changed line", a, write(store+"b", "1\ntwo\n3\n", 0o444), "update /f |@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n"},
		{"a new file", "", a, "add /f |@@ -0,0 +1,3 @@\n+1\n+2\n+3\n"},
		{"a removed one", a, "", "remove /f |@@ -1,3 +0,0 @@\n-1\n-2\n-3\n"},
		{"an empty one", "", write(store+"e", "", 0o444), "add /f |"},
		{"binary", a, write(store+"bin", "a\x00b", 0o444), "update /f binary; 6 bytes, then 3|"},
		{"no UTF-8", a, write(store+"latin", "\xe4\n", 0o444), "update /f binary; 6 bytes, then 2|"},
		{"the same binary", store + "bin", write(store+"bin2", "a\x00b", 0o444), ""},
		{"large", a, write(store+"large", strings.Repeat("x", textBytes+1), 0o444), fmt.Sprintf("update /f large; 6 bytes, then %d|", textBytes+1)},
		{"not for all to read", a, write(store+"private", "secret", 0o440), "update /f not for all to read; 6 bytes, then 6|"},
		{"outside of the store", a, link, "update /f not in the store, so it isn't read|"},
		{"missing", a, store + "missing", "remove /f |@@ -1,3 +0,0 @@\n-1\n-2\n-3\n"},
		{"long", "", write(store+"long", many, 0o444), "add /f |@@ -0,0 +1,120 @@\n" + strings.Repeat("+line\n", textLines-1) + "… and 1 lines more\n"},
		{"a long line", "", write(store+"wide", strings.Repeat("é", 300)+"\n", 0o444), "add /f |@@ -0,0 +1,1 @@\n+" + strings.Repeat("é", 199) + "…\n"},
		{"a file becomes a folder", a, store + "d", "remove /f |@@ -1,3 +0,0 @@\n-1\n-2\n-3\nadd /f/sub/x |@@ -0,0 +1,1 @@\n+x\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			all := texts{store: Store(root)}
			if changed := all.compare("/f", test.before, test.after); changed != (test.want != "") {
				t.Errorf("changed: %v", changed)
			}
			got := ""
			for _, d := range all.details {
				got += d.Does + " " + d.Subject + " " + d.Says + "|" + d.Diff
			}
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}

	t.Run("many", func(t *testing.T) {
		for i := range textFiles + 50 {
			write(fmt.Sprintf("%sd/%03d", store, i), many, 0o444)
		}
		all := texts{store: Store(root)}
		all.compare("/f", "", store+"d")
		size := 0
		for _, d := range all.details {
			size += strings.Count(d.Diff, "\n")
		}
		if len(all.details) != textFiles+1 || size > textAll+textAll/textLines+1 {
			t.Errorf("%d details with %d lines", len(all.details), size)
		}
	})
}

func FuzzStore(f *testing.F) {
	f.Add(`(service (quote (a b)) #:requirement '(c) #:one-shot? #t #:start (lambda _ #\( "\"\x7f;\n"))`)
	f.Add("#!/bin/guile\n!#(manifest (packages ((\"a\" \"1\" \"out\" \"/x\")))) #|x|# #vu8(1 2) #{a b}# `(a ,@b)")
	f.Add(strings.Repeat("(", 400))
	f.Add(`(service (quote (a)) #:documentation (quote "` + strings.Repeat("long ", 40) + `") #:start (quote (quote x)) ''y)`)
	f.Fuzz(func(t *testing.T, text string) {
		forms, err := readStore(text)
		if err != nil {
			return
		}
		for _, f := range forms {
			if n := len(f.pretty()); n > 3*textBytes {
				t.Errorf("%q is written in %d bytes", text, n)
			}
		}
		readProgram(text)
		readManifest(text)
		new(scripts).read(text)
	})
}

func TestReadProgram(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{`(begin (use-modules (x)) (service (quote (a b)) #:documentation (quote "x)") #:requirement (quote (c d)) #:one-shot? (quote #t) #:start #f))`, "[a b] [c d] true"},
		{`(service '(a))`, "[a] [] false"},
		{`(begin (use-modules (shepherd service timer)) (timer-service (quote (timer)) #:requirement (quote (a))))`, "[timer] [a] false"},
		{`(begin (log-rotation-service (x) #:provision (quote (log-rotation)) #:requirement (quote (a))))`, "[log-rotation] [a] false"},
		{`(transient-service)`, ""},
		{`(service 'a)`, ""},
		{`(define x (make-service))`, ""},
		{`(service (quote (a`, ""},
	} {
		got := ""
		if p, ok := readProgram(row.text); ok {
			got = fmt.Sprintf("%v %v %v", p.provides, p.requires, p.oneShot)
		}
		if got != row.want {
			t.Errorf("%s: %s, want %s", row.text, got, row.want)
		}
	}
}

func TestPlanOfAHome(t *testing.T) {
	m := newMachine(t)
	a, b := m.item("a", "home"), m.item("b", "home")
	for item, text := range map[string]string{a: "good", b: "better"} {
		dir := strings.TrimPrefix(item, m.root+"/")
		m.write(dir+"/files/.config/x", "the same\n")
		m.write(dir+"/files/.motto", text+"\n")
		m.write(dir+"/setup-environment", "case $PATH in *) export PATH=x ;; esac\nexport MOTTO=\""+text+"\"\nexport SHELL=\"/gnu/store/"+strings.Repeat(text[:1], 32)+"-zsh/bin/zsh\"\n")
		m.write(dir+"/profile/manifest", "(manifest (version 4) (packages ("+entry(text, "1", "a")+")))")
	}
	h := m.home()
	show := func(item string) string {
		t.Helper()
		details, err := h.Plan(t.Context(), item)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range details {
			got = append(got, strings.Join(strings.Fields(d.Does+" "+d.Subject+" "+d.Old+" > "+d.New+" "+d.Says), " "))
		}
		return strings.Join(got, "\n")
	}
	// Nothing is there: all is new.
	if got, want := show(a), `switch home of me > from none to aaaaaaaa
add ~/.config/x >
add ~/.motto >
add variable MOTTO > "good"
add variable SHELL > "zsh/bin/zsh"
add package good > 1`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	m.link(a, "var/guix/profiles/per-user/me/guix-home-1-link")
	m.link("guix-home-1-link", "var/guix/profiles/per-user/me/guix-home")
	m.link(a, "home/me/.guix-home")
	if got := show(a); got != "" {
		t.Errorf("a plan of what is live:\n%s", got)
	}
	want := `update ~/.motto >
update variable MOTTO "good" > "better"
add package better > 1
remove package good 1 >`
	if got, want := show(b), "switch home of me > from aaaaaaaa to bbbbbbbb\n"+want; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	h.find = func(name string) (User, error) { return User{}, &MissingUserError{name} }
	if got, want := show(b), "switch home of me > the user doesn't exist yet\n"+want; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPretty(t *testing.T) {
	long := strings.Repeat("long ", 20)
	forms, err := readStore(`(service (quote (a)) #:documentation (quote "` + long + `") #:one-shot? (quote #f)
 #:start (make-forkexec-constructor (list (string-append "/gnu/store/` + strings.Repeat("a", 32) + `-x-1" "/bin/x") "` + long + `")) #(1 "a\"b\n") (quasiquote (b (unquote c))))`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := forms[0].pretty(), `(service
  '(a)
  #:documentation "`+long+`"
  #:one-shot? #f
  #:start (make-forkexec-constructor
            (list
              (string-append "x-1" "/bin/x")
              "`+long+`"))
  #(1 "a\"b\n")
  `+"`(b ,c))\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
