// Package forward forwards connections from ports of the machine to where pods are reached, so that no connection is refused
// while one state of a pod takes the place of another.
//
// A [Server] is a process of its own, with the rights of the pods' user. A [Client] is the agent's side: it sends the whole
// table, at any time again. Neither knows pods: a [Table] has addresses alone.
package forward
