package guix

import (
	"reflect"
	"strings"
	"testing"
)

const (
	atFirst  = "1111111111111111111111111111111111111111"
	atSecond = "2222222222222222222222222222222222222222"
	atThird  = "3333333333333333333333333333333333333333"
)

const twoChannels = `;; Pinned; was (commit "4444444444444444444444444444444444444444")
(list (channel
        (name 'guix)
        (url "https://git.guix.gnu.org/guix.git")
        (branch "master")
        (commit
          "` + atFirst + `")
        (introduction
          (make-channel-introduction
            "` + atFirst + `"
            (openpgp-fingerprint "BBB0 2DDF 2CEA F6A8 0D1D  E643 A2A0 6DF2 A33A 54FA"))))
      (channel (name 'mine) (url "file:///srv/mine") (commit "` + atSecond + `"))) ; mine
`

func TestChannelsAreReadAndPinned(t *testing.T) {
	channels, err := Channels(twoChannels)
	want := []Channel{{"guix", "https://git.guix.gnu.org/guix.git", "master", atFirst}, {"mine", "file:///srv/mine", "master", atSecond}}
	if err != nil || !reflect.DeepEqual(channels, want) {
		t.Errorf("%+v (%v), want %+v", channels, err, want)
	}
	next, err := PinChannels(twoChannels, map[string]string{"guix": atThird})
	if want := strings.Replace(twoChannels, `(commit
          "`+atFirst, `(commit
          "`+atThird, 1); err != nil || next != want {
		t.Errorf("%v\n%s\nwant\n%s", err, next, want)
	}
	if same, err := PinChannels(twoChannels, nil); err != nil || same != twoChannels {
		t.Errorf("without commits: %v\n%s", err, same)
	}
	twice := strings.ReplaceAll(twoChannels, atSecond, atFirst)
	if _, err := PinChannels(twice, map[string]string{"guix": atThird}); err == nil || !strings.Contains(err.Error(), "mine") {
		t.Errorf("two channels at one commit, of which one moves: %v", err)
	}
	if next, err := PinChannels(twice, map[string]string{"guix": atThird, "mine": atThird}); err != nil || strings.Contains(next, `(commit "`+atFirst) {
		t.Errorf("two channels at one commit that move together: %v\n%s", err, next)
	}
	for _, text := range []string{"", "(list", "(list (channel (name 'guix)))", "%default-channels"} {
		if _, err := PinChannels(text, nil); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestNewsOfAChannel(t *testing.T) {
	const text = `;; a comment
(channel-news
 (version 0)
 (entry (commit "` + atFirst + `")
        (title (de "Neu") (en "New \x1b[1mbold"))
        (body (en "It is @code{new}.

More.")))
 (entry (tag "v1.0") (title (en "A tag")) (body (en "x")))
 (entry (tag "--upload-pack=x") (title (en "No tag")) (body (en "x")))
 (entry (commit "` + atSecond + `") (title (de "Nur deutsch"))))`
	got, err := ReadNews(text)
	if err != nil || len(got) != 3 || got[0].Commit != atFirst || !strings.HasPrefix(got[0].Title, "New ") || strings.ContainsRune(got[0].Title, 0x1b) ||
		!strings.HasPrefix(got[0].Body, "It is @code{new}.") || got[1] != (News{"v1.0", "A tag", "x"}) || got[2].Title != "Nur deutsch" {
		t.Errorf("%+v (%v)", got, err)
	}
	for text, want := range map[string]string{
		`(channel (version 0) (news-file "news.scm"))`: "news.scm", `(channel (version 0))`: "", `(channel (news-file "../x"))`: "", `(channel`: "",
	} {
		if got := NewsFile(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
