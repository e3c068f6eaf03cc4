;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; What `guix pull --news' shows to those who have Collie as a channel, the
;;; newest first.  An entry names the commit that brought what it is about;
;;; guix/channel replaces that by the release.  Each option is in an entry.
;;;
;;; Code:

(channel-news
 (version 0)
 (entry
  (commit "a1f739a4bd59015978d2005f4a6c7758d112ecfa")
  (title (en "Substitutes of an update"))
  (body (en "@command{collie update} first asks @command{guix weather} of the
new channels how much of the new system the substitute servers have, and what
remains to be built on this machine.  If no clone of a channel is on the
machine, its news come from the repository of the channel.")))
 (entry
  (commit "c4c25ec2313ae4930981447125b54f4ff7fd1029")
  (title (en "The exit code 5 says that there is no verdict yet"))
  (body (en "@command{collie sync --wait} exits with 5 if there is no verdict
yet: the time is up, or the machine waits or is stuck.  It was 1 before, as if
something were broken.  With @code{--json}, an error is one JSON object on
standard error.  @command{collie sync} and @command{collie restart} have
@code{--json}, too, and @command{collie help} groups its commands.")))
 (entry
  (commit "81f8628e93d3ab9d7f9b4ce6e560a3439334ad97")
  (title (en "A commit that failed was rejected or rolled back"))
  (body (en "@command{collie history}, @command{collie status} and their
JSON have two words for a commit that failed, in place of @code{bad} and
@code{returned}: it was @code{rejected}, and never switched to, or it was
@code{rolled back}.  The phase @code{returning} is @code{rolling back}.  In
the status, @code{bad} is @code{failed}, with an @code{outcome} for each
commit, and a problem is @code{transient} or @code{unrelated}, no longer
@code{passing} or @code{apart}.  In a plan, @code{bad} is @code{rejected}.
Programs that read these words need the new ones.
@command{collie uninstall} is the new name of @command{collie forget}.")))
 (entry
  (commit "4df73908470d99f1cea458b1f1a2ab46153d6bbd")
  (title (en "Modules at the top of a repository"))
  (body (en "A module may lie at the top of the repository, as
@file{my/thing.scm}, and not only in @file{modules/}: if its first form is
@code{(define-module (my thing) ...)}, as its name says, it is on the load
path.  @command{collie bootstrap} makes an SSH key without OpenSSH, and
shells complete the layers of @command{collie sync --only}.")))
 (entry
  (commit "7de893ad4fb9881fa8477af9eb71153e5d2848d9")
  (title (en "Scheme is evaluated without root's rights"))
  (body (en "The service makes two accounts, @code{collie-build} and
@code{collie-plan}, without a shell, and the group @code{collie-build}.
@command{guix system build} runs as the first while a commit of the followed
branch is prepared, and all of a branch @code{plan/NAME} is evaluated as the
second.  So who may push only plans isn't root, and a mistake in Scheme
changes nothing before it is deployed.  @command{guix system reconfigure}
still runs as root.  A @file{system.scm} that reads what only root may read,
such as @code{(local-file \"/root/key\")}, is refused, with file and line.
What is in the store all can read: let all read that file, or encrypt what is
secret in @file{secrets/}.")))
 (entry
  (commit "ecadce31e6d02fa12de0be28af38473657838104")
  (title (en "The agent has limits of memory"))
  (body (en "When memory runs out, the kernel ends pods and other programs
before the agent.  The agent keeps to 512 MiB, by @code{GOMEMLIMIT}, and where
the kernel controls memory, it has a control group with a limit of twice that;
what it starts, as Guix, hasn't.  @code{environment-variables} of
@code{collie-configuration} may have another @code{GOMEMLIMIT}.  The forwarder
has one of 256 MiB, and no more connections than it may have files open.

What a user makes fail of Podman's API or the forwarder is a problem of the
pods, and blames no commit that didn't change them.")))
 (entry
  (commit "778a51ec2c9da11c65da06fc54d855e1ac92517b")
  (title (en "A state that can't be read stops deployments"))
  (body (en "While @file{state.json}, @file{jobs.json} or
@file{inventory.json} in @file{/var/lib/collie} is there and can't be read,
nothing is deployed or healed, and the file stays as it is.  It was set aside
before, and what was suspended was forgotten.  Status and @command{collie
doctor} name the file: put back a copy, or move it away.  What Podman and
other programs say is bounded before it is kept, so nobody can make the state
grow until it can't be read.")))
 (entry
  (commit "8a1017acb984f0889e2db8fd3be6ac0c77b8c29e")
  (title (en "No layer holds the others"))
  (body (en "A user's layer that can't be prepared or looked at, as Podman
doesn't answer, and a @command{guix home} that the user runs, no longer hold
the machine.  After a while the commit is deployed without that layer, which
follows once it can.  @command{collie status} and @command{collie history}
name it.  @command{collie sync --only system} doesn't wait at all.  A look
that hangs is a problem in the status, and a plan shows all other layers.")))
 (entry
  (commit "093e1c74dac7db0b3ba13451e235bf3b295e7988")
  (title (en "The boot menu after a roll-back, and generations"))
  (body (en "A roll-back brings the boot menu back as the good system's
@code{bootloader-configuration} made it, with its time-out, terminal and
theme, for GRUB and extlinux.  Entries name the commit that made their system,
and none leads to a generation that is gone.  A system or home that was rolled
back stays until another commit is good; @command{collie generations} lists
Guix's generations with commit, author, subject and verdict.")))
 (entry
  (commit "c84542c3d2d2cb6366f23f5532dd63935ebada28")
  (title (en "Links in a repository, and what Guix says"))
  (body (en "A symbolic link in the repository that is relative and stays in
it is read as what it leads to.  Files of editors are left out at the top
level, too, and @file{.guix-authorizations} makes a note.

Of what Guix says the reason comes first.  Where it names no place, the
files of the repository are searched for it: a file that isn't there, a module
that nobody has, with the channel that has it.  While a layer that a commit
leaves alone can't be looked at, the commit waits.")))
 (entry
  (commit "11adbe4a8df15d2230461045fb3c3532c5a52d75")
  (title (en "One service line"))
  (body (en "@code{collie-service-type} brings what pods need:
@code{rootless-podman-service-type}, @code{elogind-service-type} and
@code{iptables-service-type}, unless the system has them.  A system with
@code{seatd-service-type}, which can't be beside elogind, now takes the type
@code{(remove-service-extensions collie-service-type (list
elogind-service-type))}.  The new @code{collie-system-service-type} is for
machines without pods: nothing comes along with it.

@code{source} may be a URL.  @code{user} may be @code{#f}, for no pods, in a
home and with @code{collie-system-service-type}.  @code{homes} are by default
that of @code{user}.  Other services add @code{services}, @code{homes},
@code{mirrors}, @code{windows} and @code{environment-variables} by a
@code{collie-extension}.  @code{home-service?} is what @code{for-home}
says.")))
 (entry
  (commit "dedccf99d8a4e05528350a02a64e73ac4c363a97")
  (title (en "Channels go back to where they were good, and no further"))
  (body (en "@code{downgrades?} of @code{collie-configuration} is @code{#f} by
default now.  A commit may take channels back to where they were in a good
revision that is kept, as @command{git revert} of an update does.  All other
ways back are refused; with @code{(downgrades? #t)} they are taken, as
before.")))
 (entry
  (commit "9f0339c2d02b46a4ba2a091f1f74070801b237c0")
  (title (en "Guix evaluates only what changed"))
  (body (en "A commit that changes no file that an evaluation read of the
repository takes the system, or the home, as it is.
@command{collie sync --evaluate} evaluates all the same.

Plans show by how much the system and the homes grow.  @command{collie update}
proposes newer commits of the channels as the branch @code{plan/update}.")))
 (entry
  (commit "6c69114910bc6910ebdb51141cfe3e416e0727b8")
  (title (en "One command for a machine that runs"))
  (body (en "@command{collie bootstrap URL} has a Guix System machine follow a
repository: it writes the machine's own configuration with Collie's service in
it, its channels, the home of the pod user and the pods that were made by
hand, pushes that, reconfigures, and waits for the verdict.  It can be
repeated, and @option{--dry-run} shows its steps.

@command{collie init} writes an example into which the keys in @file{~/.ssh}
may log in and push.  The key of the examples is refused, by
@command{collie validate} and by @code{collie-repository-service-type}.")))
 (entry
  (commit "daaebcb5c4c9037de973f056f0b70d40cad7e54c")
  (title (en "What runs keeps running, and a package that works"))
  (body (en "A Collie that Guix's build system built answered 404 to every
command; that is mended.

A port can move between a service and a pod in one commit.  After a roll-back
all of the last good revision is checked, and started again where it doesn't
run; what then isn't well makes the roll-back @code{incomplete}, in
@command{collie status} and @command{collie history}.  A commit waits while
another program has the port of one of its pods.  A full disk, lost or damaged
state, a killed Shepherd of a user, and a dead @command{pasta} or
@command{aardvark-dns} are problems that @command{collie status} shows, and
the last two are healed.  Services that require each other are a mistake that
is found before anything is switched.  @command{collie retry} takes back what
someone else switched.

Files under @file{pods/} that belong to editors, and all whose name begins
with a dot, are left out: a pod in such a file leaves the machine with the
next commit.")))
 (entry
  (commit "616a3294cfce0680a708e78cd51171f188627e3a")
  (title (en "The wait for other programs that run Guix"))
  (body (en "The new field @code{others-timeout} of
@code{collie-configuration} limits how long a switch waits for a
@command{guix} that someone else runs.")))
 (entry
  (commit "7dedfa83ad16deeeafe6a8d93a114a6b8a0b3024")
  (title (en "Reboots"))
  (body (en "With the new field @code{reboots?} of
@code{collie-configuration} Collie reboots the machine, once a commit is good,
for what only a boot puts into force.")))
 (entry
  (commit "596ef30a24ef0b643bd4ddd389656401d5d25f11")
  (title (en "Windows"))
  (body (en "The new field @code{windows} of @code{collie-configuration} says
at which times of the week new commits may be switched to.  They are prepared
before; @command{collie sync --now} doesn't wait.")))
 (entry
  (commit "2c5b257ac8108833f64e90708887a47b1df4b54a")
  (title (en "Private repositories and mirrors"))
  (body (en "@code{collie-source} has the new fields @code{token-file},
@code{token-user} and @code{ca-file} for a repository over @code{https}, and
@code{key-file} and @code{known-hosts} for one over @code{ssh}.  Its
@code{mirrors}, each a @code{collie-mirror}, are asked when the repository
doesn't answer or is behind.")))
 (entry
  (commit "946b3aad6b08687885d311dc1af4bbcd81cea0e3")
  (title (en "Tags of images"))
  (body (en "The new field @code{images} of @code{collie-configuration} is a
@code{collie-images}: its @code{interval} says how often registries are asked
whether a tag moved, @code{require-digest?} refuses images without a digest,
and @code{auth-file} has credentials.")))
 (entry
  (commit "848b5cc3185228b032ef6a8b36afcb679869a89e")
  (title (en "What is kept of former revisions"))
  (body (en "The new field @code{keep} of @code{collie-configuration} is a
@code{collie-keep}: @code{revisions} and @code{age} say which former revisions
stay, and below @code{free} Collie runs @command{guix gc}.")))
 (entry
  (commit "e9d76810b2916885671804f46d935297864a59e8")
  (title (en "Drift"))
  (body (en "The new field @code{drift} of @code{collie-configuration} says
whether a system or home that someone else switched is reported or switched
back.")))
 (entry
  (commit "a4312a99af0180bb85d78624376db50e22f4257f")
  (title (en "Policies of services, and limits of builds"))
  (body (en "@code{collie-configuration} has new fields: @code{services} says
what happens to a service whose definition changed, @code{service-timeout} how
long one may take to stop or start, and @code{max-builds} how much may be
built on the machine.")))
 (entry
  (commit "144a08fecdbf6d9ee26fa620a0d55c5545ce2682")
  (title (en "The services"))
  (body (en "@code{collie-service-type} runs the agent, by a
@code{collie-configuration}.  @code{source} is a @code{collie-source} with
@code{url}, @code{branch}, @code{interval} and @code{owner}.  @code{host},
@code{system?} and @code{homes} say what is followed, @code{user},
@code{create-user?} and @code{subordinate-ids} who runs the pods,
@code{downgrades?} whether channels may go back, @code{soak} how long all must
be well.  @code{collie} and @code{podman} are packages.  @code{state},
@code{grace-period}, @code{pod-grace-period}, @code{respawn-delay} and
@code{environment-variables} are about the agent's process."))))
