// Package bootstrap brings a running Guix System to where Collie follows a repository that describes it.
//
// It knows the commands of git, Guix and OpenSSH, and where a machine has its configuration. It doesn't know how the agent
// decides: it asks one for its status. Each step looks first whether it is done, so all of it can be repeated, and
// nothing is overwritten.
//
//	step           what it leaves behind
//	repository     a bare repository, where the URL is a path
//	access         a token, or a key and the server's host keys, in /var/lib/collie/keys
//	clone          the folder in which one works from now on
//	channels.scm   which Guix it is
//	system.scm     what the running system was made from, the files that it loads, and the service
//	service        nothing: it says where the line goes, if that isn't certain
//	home.scm       the home of the pod user, if there is one
//	derive         nothing: Guix evaluates system and home
//	commit, push   a commit of these files, in the repository
//	reconfigure    Collie's service, which runs
//	verdict        nothing: it waits until the newest revision is good or bad
//	pods           a commit of the pods that were made by hand, and its verdict
package bootstrap
