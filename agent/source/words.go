package source

import (
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
)

// mostWords is how many bytes of an author or a subject are read; both are shown in a line.
const mostWords = 4 << 10

// words is a text of a commit in UTF-8. name is the encoding in the commit's header; bytes that it doesn't have, and those of an
// encoding that isn't known, become U+FFFD.
func words(text, name string) string {
	text = text[:min(len(text), mostWords)]
	if decoded, err := encodingNamed(name).NewDecoder().String(text); err == nil {
		text = decoded
	}
	return plain(strings.ToValidUTF8(text, "\ufffd"))
}

// encodingNamed knows the names of HTML's encodings, and what iconv, and so git, calls them besides.
func encodingNamed(name string) encoding.Encoding {
	name = strings.ToLower(strings.TrimSpace(name))
	if also := alsoNamed[name]; also != "" {
		name = also
	}
	if known, err := htmlindex.Get(name); err == nil && known != encoding.Replacement {
		return known
	}
	return unicode.UTF8
}

var alsoNamed = map[string]string{
	"eucjp": "euc-jp", "cp932": "shift_jis", "euckr": "euc-kr", "cp949": "euc-kr", "uhc": "euc-kr", "euccn": "gbk", "euc-cn": "gbk",
	"cp936": "gbk", "cp950": "big5", "latin9": "iso-8859-15", "latin-9": "iso-8859-15",
	"utf-16": "utf-8", "utf-16le": "utf-8", "utf-16be": "utf-8", // git writes no commit in these: it would end at the first zero
}
