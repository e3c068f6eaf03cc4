package source

import (
	"os/exec"
	"strings"
	"testing"
)

// Who commits may have git say in which encoding, and git doesn't look whether that is true.
func TestWordsOfACommitKeepTheirLetters(t *testing.T) {
	const long = "\x83\x65\x83\x58\x83\x67" // テスト in Shift_JIS
	tests := []struct{ encoding, author, subject, wantAuthor, wantSubject string }{
		{"", "Zo\u00eb", "na\u00efve \u20ac", "Zoë", "naïve €"},
		{"utf-8", "Zo\u00eb", "na\u00efve", "Zoë", "naïve"},
		{"ISO-8859-1", "J\xfcrgen", "\xfcber Stra\xdfe", "Jürgen", "über Straße"},
		{"latin1", "J\xfcrgen", "gr\xf6\xdfer", "Jürgen", "größer"},
		{"ISO8859-15", "\xc9ric", "5 \xa4", "Éric", "5 €"},
		{"windows-1250", "\xd8eho\xf8", "\x9elu\x9d", "Řehoř", "žluť"},
		{"CP1251", "\xc8\xe2\xe0\xed", "\xef\xf0\xe8\xe2\xe5\xf2", "Иван", "привет"},
		{"KOI8-R", "\xe9\xd7\xc1\xce", "\xd0\xd2\xc9\xd7\xc5\xd4", "Иван", "привет"},
		{"SHIFT_JIS", "\x91\xbe\x98\x59", "\x95\x5c\x8e\xa6 " + long, "太郎", "表示 テスト"},
		{"SJIS", "\x91\xbe\x98\x59", long, "太郎", "テスト"},
		{"CP932", "\x91\xbe\x98\x59", long, "太郎", "テスト"},
		{"EUC-JP", "\xc2\xc0\xcf\xba", "\xa5\xc6\xa5\xb9\xa5\xc8", "太郎", "テスト"},
		{"eucJP", "\xc2\xc0\xcf\xba", "\xa5\xc6\xa5\xb9\xa5\xc8", "太郎", "テスト"},
		{"EUC-KR", "\xb1\xe8", "\xbd\xc3\xc7\xe8", "김", "시험"},
		{"GB18030", "\xcd\xf5", "\xb2\xe2\xca\xd4", "王", "测试"},
		{"Big5", "\xa4\xfd", "\xb4\xfa\xb8\xd5", "王", "測試"},
		{"", "J\xfcrgen", "gr\xf6\xdfer", "Jürgen", "größer"},                                  // git takes what isn't UTF-8 for Latin 1
		{"x-martian", "J\xfcrgen", "plain", "J\ufffdrgen", "plain"},                            // that nobody knows
		{"UTF-16", "J\xfcrgen", "plain", "J\ufffdrgen", "plain"},                               // that no commit can have
		{"EUC-JP", "\xc2", "\xa5\xc6\xff", "\ufffd", "テ\ufffd"},                                // cut off
		{"ISO-8859-1", "a\x1b[31m", "b\x1b]0;title\x07\x9b31m", "a[31m", "b]0;title\u203a31m"}, // a terminal obeys nothing of it
	}
	o := newOps(t)
	s := open(t, o.bare)
	for _, tt := range tests {
		t.Run(tt.encoding, func(t *testing.T) {
			args := []string{"commit", "-q", "--allow-empty", "-F", "-"}
			if tt.encoding != "" {
				args = append([]string{"-c", "i18n.commitEncoding=" + tt.encoding}, args...)
			}
			cmd := exec.Command("git", args...)
			cmd.Dir, cmd.Stdin = o.work, strings.NewReader(tt.subject+"\n\nMore.\n")
			cmd.Env = append(gitEnv(), "GIT_AUTHOR_NAME="+tt.author)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			git(t, o.work, "push", "-q", o.bare, "HEAD:main")
			rev, err := s.Poll(t.Context())
			must(t, err)
			if rev.Author != tt.wantAuthor || rev.Subject != tt.wantSubject {
				t.Errorf("%q by %q, want %q by %q", rev.Subject, rev.Author, tt.wantSubject, tt.wantAuthor)
			}
		})
	}
}

// Other programs than git write commits as well, and no header says what their bytes are.
func TestWordsOfNoEncoding(t *testing.T) {
	o, first := pushedOps(t)
	tree := o.git("rev-parse", "HEAD^{tree}")
	cmd := exec.Command("git", "hash-object", "-t", "commit", "-w", "--stdin")
	cmd.Dir, cmd.Env = o.work, gitEnv()
	cmd.Stdin = strings.NewReader("tree " + tree + "\nparent " + first + "\nauthor J\xfcrgen <j@example.org> 1715000000 +0000\n" +
		"committer J\xfcrgen <j@example.org> 1715000000 +0000\n\ngr\xf6\xdfer\n")
	out, err := cmd.Output()
	must(t, err)
	git(t, o.work, "push", "-q", o.bare, strings.TrimSpace(string(out))+":main")
	rev, err := open(t, o.bare).Poll(t.Context())
	must(t, err)
	if rev.Author != "J\ufffdrgen" || rev.Subject != "gr\ufffd\ufffder" {
		t.Errorf("%q by %q", rev.Subject, rev.Author)
	}
}
