package guix

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// A service is added as a person would write it, whatever stands around the place, and nothing else changes.
func TestAddService(t *testing.T) {
	const service = "(service new-type\n         (new-configuration))"
	for name, c := range map[string]struct{ text, want string }{
		"first of cons*": {
			`(use-modules (gnu) (gnu services ssh))
(operating-system
  (host-name "a")
  (services (cons* (service ssh-type)   ; who comes in
                   %base-services)))
`, `(use-modules (gnu) (gnu services ssh)
             (new))
(operating-system
  (host-name "a")
  (services (cons* (service new-type
                            (new-configuration))
                   (service ssh-type)   ; who comes in
                   %base-services)))
`},
		"a list that is appended to": {
			`(use-modules (gnu))
(operating-system (services (append (list (service a)) %base-services)))
`, `(use-modules (gnu)
             (new))
(operating-system (services (append (list (service new-type
                                                   (new-configuration))
                                          (service a)) %base-services)))
`},
		"an empty list": {
			"(use-modules (gnu))\n(operating-system (services (append (list) %base-services)))",
			"(use-modules (gnu)\n             (new))\n(operating-system (services (append (list (service new-type\n" +
				"                                                   (new-configuration))) %base-services)))"},
		"a name": {
			`(use-modules (gnu))
(operating-system
  (services %desktop-services))
`, `(use-modules (gnu)
             (new))
(operating-system
  (services (cons (service new-type
                           (new-configuration))
            %desktop-services)))
`},
		"modify-services": {
			`(use-modules (gnu))
(operating-system
  (services
   (modify-services %base-services
     (guix-service-type config => config))))
`, `(use-modules (gnu)
             (new))
(operating-system
  (services
   (cons (service new-type
                  (new-configuration))
   (modify-services %base-services
     (guix-service-type config => config)))))
`},
		"no field": {
			`(use-modules (gnu))
(operating-system
  (host-name "a") ; a name
  )
`, `(use-modules (gnu)
             (new))
(operating-system
  (host-name "a")
  (services
   (cons (service new-type
                  (new-configuration))
         %base-services)) ; a name
  )
`},
		"inherited": {
			"(use-modules (gnu) (mine))\n(operating-system\n  (inherit base))\n",
			"(use-modules (gnu) (mine)\n             (new))\n(operating-system\n  (inherit base)\n  (services\n   (cons (service new-type\n" +
				"                  (new-configuration))\n         (operating-system-user-services base))))\n"},
		"comments and strings that look like it": {
			`;; (operating-system (services none))
#| (operating-system (services none)) |#
#;(operating-system (services none))
(use-modules (gnu))
(define motd "(operating-system (services none)) \"")
(define c #\))
(define kept '(operating-system (services none)))
(operating-system
  #;(services none)
  (services (list))) ; (services none)
`, `;; (operating-system (services none))
#| (operating-system (services none)) |#
#;(operating-system (services none))
(use-modules (gnu)
             (new))
(define motd "(operating-system (services none)) \"")
(define c #\))
(define kept '(operating-system (services none)))
(operating-system
  #;(services none)
  (services (list (service new-type
                           (new-configuration))))) ; (services none)
`},
		"a quoted value": {
			"(use-modules (gnu))\n(operating-system (services `(,(service a))))",
			"(use-modules (gnu)\n             (new))\n(operating-system (services (cons (service new-type\n" +
				"                                           (new-configuration))\n                            `(,(service a)))))"},
		"a module that is used already": {
			"(use-modules (gnu)\n  ((new) #:select (new-type new-configuration)))\n(operating-system (services (list)))",
			"(use-modules (gnu)\n  ((new) #:select (new-type new-configuration)))\n(operating-system (services (list (service new-type\n" +
				"                                           (new-configuration)))))"},
		"a module itself": {
			"(define-module (mine)\n  #:use-module (gnu))\n(operating-system (services (list)))",
			"(define-module (mine)\n  #:use-module (gnu))\n\n(use-modules (new))\n(operating-system (services (list (service new-type\n" +
				"                                           (new-configuration)))))"},
		"no modules": {
			"(load \"/a.scm\")\n(operating-system (services (list)))",
			"(use-modules (new))\n(load \"/a.scm\")\n(operating-system (services (list (service new-type\n" +
				"                                           (new-configuration)))))"},
		"in a definition, with letters of more than one byte": {
			"(use-modules (gnu))\n(define os (operating-system (host-name \"öäü\") (services (list (service a)))))\nos",
			"(use-modules (gnu)\n             (new))\n(define os (operating-system (host-name \"öäü\") (services (list (service new-type\n" +
				"                                                                        (new-configuration))\n" +
				"                                                               (service a)))))\nos"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := AddService(c.text, service, "(new)")
			if err != nil || got != c.want {
				t.Errorf("got %v\n%s\nwant\n%s", err, got, c.want)
			}
			if _, err := readStore(got); err != nil {
				t.Errorf("what was written can't be read: %v", err)
			}
			if !Uses(got, "new-type") || Uses(c.text, "new-type") && name != "a module that is used already" {
				t.Errorf("the service isn't seen where it is, or is seen where it isn't")
			}
		})
	}
}

// Where there is more than one reading nothing is written, and the error says what was found.
func TestAddServiceIsUnsure(t *testing.T) {
	for text, want := range map[string]string{
		"(use-modules (lab))\n(machine)":                                  "has no (operating-system …)",
		"(load \"other.scm\")":                                            "has no (operating-system …)",
		"(list (operating-system (host-name \"a\"))\n(operating-system))": "several (operating-system …), in lines 1, 2",
		"(operating-system\n (services a)\n (services b))":                "line 1 has two fields",
		"(operating-system\n (services a b))":                             "line 2 has no one value",
		"(operating-system (inherit (base)))":                             "inherits its services from an expression",
		"(operating-system)":                                              "line 1 has no fields",
		"\n(operating-system (services":                                   "can't be read: line 2: the closing parenthesis is missing",
		"":                                                                "has no (operating-system …)",
	} {
		got, err := AddService(text, "(service new-type)", "(new)")
		if place := (*PlaceError)(nil); !errors.As(err, &place) || !strings.Contains(err.Error(), want) || got != "" {
			t.Errorf("%q: got %q, %v; want an error with %q", text, got, err, want)
		}
	}
}

func TestLoadsAndModules(t *testing.T) {
	const text = `(use-modules (gnu) ((mine net) #:select (a)) (mine disk))
;; (load "comment.scm")
(load "here.scm")
(define keys (local-file "keys/me.pub"))
(load (string-append "computed" ".scm"))
(load "/share/guest.scm")
'(load "quoted.scm")
(define (f) (include "deep/er.scm"))
`
	if got, want := Loads(text), []Loaded{{3, "here.scm", true}, {4, "keys/me.pub", false}, {8, "deep/er.scm", true}}; !slices.Equal(got, want) {
		t.Errorf("loads %v, want %v", got, want)
	}
	if got, want := Modules(text), []string{"gnu", "mine/net", "mine/disk"}; !slices.Equal(got, want) {
		t.Errorf("uses %q, want %q", got, want)
	}
	if got, want := Modules("(define-module (mine net)\n #:use-module (mine disk)\n #:use-module ((mine swap) #:prefix s:))"), []string{"mine/disk", "mine/swap"}; !slices.Equal(got, want) {
		t.Errorf("a module uses %q, want %q", got, want)
	}
}

// Any text that can be read can still be read with a service more, which is found again.
func FuzzAddService(f *testing.F) {
	for _, text := range []string{
		"(operating-system (services (cons* a b)))", "#;#;a b(operating-system (x))", "(operating-system (services '(a)))", "(use-modules)(operating-system (services `,a))",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := AddService(text, "(service new-type)", "(new)")
		if err != nil {
			return
		}
		if _, err := readStore(got); err != nil {
			t.Fatalf("%q became %q: %v", text, got, err)
		}
		if !Uses(got, "new-type") {
			t.Fatalf("%q became %q, in which the service isn't found", text, got)
		}
	})
}
