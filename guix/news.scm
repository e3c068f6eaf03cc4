;; What `guix pull --news' tells those who have Collie as a channel, the newest first.
(channel-news
 (version 0)
 (entry
  (commit "daaebcb5c4c9037de973f056f0b70d40cad7e54c")
  (title (en "What runs keeps running, and a package that works"))
  (body (en "A Collie that Guix's build system built answered 404 to every command; that is mended.

A port can move between a service and a pod in one commit.  After a roll-back all of the last good revision is checked, and
started again where it doesn't run; what then isn't well makes the roll-back @code{incomplete}, in @command{collie status}
and @command{collie history}.  A commit waits while another program has the port of one of its pods.  A full disk, lost or
damaged state, a killed Shepherd of a user, and a dead @command{pasta} or @command{aardvark-dns} are problems that
@command{collie status} shows, and the last two are healed.  Services that require each other are a mistake that is found
before anything is switched.  @command{collie retry} takes back what someone else switched.

Files under @file{pods/} that belong to editors, and all whose name begins with a dot, are left out: a pod in such a file
leaves the machine with the next commit.")))
 (entry
  (commit "596ef30a24ef0b643bd4ddd389656401d5d25f11")
  (title (en "Windows"))
  (body (en "The new field @code{windows} of @code{collie-configuration} says at which times of the week new commits may
be switched to.  They are prepared before; @command{collie sync --now} doesn't wait."))))
