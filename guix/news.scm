;; What `guix pull --news' tells those who have Collie as a channel, the newest first.
(channel-news
 (version 0)
 (entry
  (commit "596ef30a24ef0b643bd4ddd389656401d5d25f11")
  (title (en "Windows"))
  (body (en "The new field @code{windows} of @code{collie-configuration} says at which times of the week new commits may
be switched to.  They are prepared before; @command{collie sync --now} doesn't wait."))))
