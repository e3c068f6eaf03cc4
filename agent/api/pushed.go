package api

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
)

// Pushed is what the hook of a repository on this machine shows of a push.
type Pushed struct {
	Says string `json:"says"`
	Done bool   `json:"done"` // there is no more to come: else it is asked again
}

// ServePushes answers the hook of a repository on this machine, on a socket of its own, and nothing else: who may push
// isn't in the group collie. pushed is asked what there is to say of a ref that is at a commit now.
func ServePushes(ctx context.Context, l net.Listener, pushed func(ctx context.Context, ref, commit string) (Pushed, error), log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/pushed", answer(func(r *http.Request) (any, error) {
		return pushed(r.Context(), r.URL.Query().Get("ref"), r.URL.Query().Get("commit"))
	}))
	return answerOn(ctx, []net.Listener{l}, http.TimeoutHandler(mux, answerLimit, "the agent didn't answer in time\n"), log)
}

// Pushed asks what there is to say of a ref that was pushed. Socket is that of ServePushes.
func (c Client) Pushed(ctx context.Context, ref, commit string) (p Pushed, err error) {
	return p, c.do(ctx, "GET", "/v1/pushed?"+url.Values{"ref": {ref}, "commit": {commit}}.Encode(), "", &p)
}
